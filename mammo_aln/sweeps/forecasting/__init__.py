"""`sweep run --dry_run`: what a sweep would train, for how long, on which disk and memory, and what it would open."""
