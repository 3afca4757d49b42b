"""Single checks of a cohort, and the fact that each of them tells."""
