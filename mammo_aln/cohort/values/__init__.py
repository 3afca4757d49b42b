"""Values of `patients.csv` as `cohort.yaml` declares them, and those that look like codes for missing."""
