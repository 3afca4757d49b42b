"""From volumes and masks, crops, or a table of features, to the clinical, radiomics, deep and DLR signatures.

>>> import numpy as np
>>> from mammo_aln.radiomics.extraction.features import radiomic_features
>>> from mammo_aln.settings import RadiomicsConfig
>>> image, mask = np.arange(64.0).reshape(8, 8), np.ones((8, 8), bool)
>>> features = radiomic_features(image, mask, (0.1, 0.1), RadiomicsConfig(filters=("original",)))
>>> float(features["original_stat_mean"])
31.5
"""
