"""Predict axillary lymph-node status after neoadjuvant therapy from pre-treatment mammograms."""

__version__ = "0.1.0"
