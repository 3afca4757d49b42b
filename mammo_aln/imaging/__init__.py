"""Pixels: from DICOM files to crops in millimetres. Knows no networks."""
