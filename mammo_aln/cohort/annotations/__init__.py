"""Regions drawn in any tool become rows of `regions.csv`: one reader per format, one geometry, one matching of images.

Start in `regions.py` (the verb's work); `record.py` holds the record that every reader gives, `formats.py` their table.
"""
