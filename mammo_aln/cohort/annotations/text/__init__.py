"""Readers of the annotation tools' text formats: CSV, JSON and XML."""
