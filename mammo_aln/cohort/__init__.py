"""Patients: the cohort's tables, their checks, splits and clinical features. Knows no pixels.

Beside a cohort that `mammo-aln phantom --out COHORT` wrote:

>>> from mammo_aln.cohort.tables import read_cohort
>>> cohort = read_cohort("COHORT")
>>> sorted(cohort.patients["split"].unique())
['external_test', 'internal_test', 'train', 'val']
>>> list(cohort.clinical)
['age', 'er', 'her2', 'ct']
"""
