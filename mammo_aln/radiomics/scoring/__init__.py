"""Patients of another centre scored by a saved signature."""
