"""Judging: from tables of predictions to every reported number. Imports no other room."""
