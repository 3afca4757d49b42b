"""Signatures learnt from tables of features, selection repeated in every fold."""
