"""From surveyed files to rows of a cohort: patients, exams, the private key, and words for the terminal."""
