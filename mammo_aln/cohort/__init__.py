"""Patients: the cohort's tables, their checks, splits and clinical features. Knows no pixels."""
