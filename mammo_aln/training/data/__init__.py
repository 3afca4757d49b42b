"""Crops and clinical features as batches."""
