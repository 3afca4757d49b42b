"""Templates of a cohort's tables, filled from a clinical table where there is one; each guess is told."""
