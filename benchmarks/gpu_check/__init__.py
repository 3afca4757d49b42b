"""Thirteen checks of one GPU machine in one run of about ten minutes: `bash scripts/gpu_check.sh`."""
