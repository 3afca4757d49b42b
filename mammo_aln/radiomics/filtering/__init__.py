"""Filtered images, beside the original, that features are computed on."""
