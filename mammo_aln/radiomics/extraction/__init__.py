"""Features of volumes and mammograms."""
