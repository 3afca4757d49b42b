"""One file: display values, millimetres of breast, orientation, and everything that had to be guessed.

Beside a cohort that `mammo-aln phantom --out COHORT` wrote:

>>> from pathlib import Path
>>> from mammo_aln.dicom.read import read_image
>>> image = read_image(min(Path("COHORT/dicom").rglob("*_MLO.dcm")))
>>> image.view, image.pixels.dtype.name, bool(0 <= image.pixels.min() <= image.pixels.max() <= 1)
('MLO', 'float32', True)
"""
