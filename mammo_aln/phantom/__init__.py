"""Cohorts with a known truth: synthetic mammograms and MRI whose best possible AUC is known.

Two kinds of patients, as many of each, with disease in 20 % and 80 %: no score can do better than

>>> import numpy as np
>>> from mammo_aln.phantom.truth import weighted_auc
>>> round(weighted_auc(np.array([0.2, 0.8]), np.array([0.5, 0.5])), 3)
0.8
"""
