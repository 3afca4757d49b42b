"""Tables of public data sets as cohort folders; the images stay where they are."""
