"""Regions that DICOM objects hold: structured reports, presentation states, segmentations and structure sets.

Each names its images by SOPInstanceUID. `objects.py` opens the file, `shapes.py` knows the graphic types.
"""
