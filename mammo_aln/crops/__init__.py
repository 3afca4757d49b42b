"""Windows of the breast in millimetres: planned, cut, kept once in a store, and shown on proof sheets.

>>> from mammo_aln.crops.window import crop_window
>>> from mammo_aln.dicom.spacing import Spacing
>>> from mammo_aln.settings import CropConfig
>>> window = crop_window("fixed_5cm", (100, 100, 300, 200), Spacing(0.1, 0.1, "user"), None, CropConfig())
>>> window.width, window.height
(500.0, 500.0)
"""
