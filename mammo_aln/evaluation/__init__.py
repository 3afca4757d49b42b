"""Judging: from tables of predictions to figures that a reviewer accepts. Knows no image and no network.

`evaluate.evaluate_files` and `compare.compare_files` are the doors; `statistics` holds plain functions of arrays:

>>> from mammo_aln.evaluation.statistics.discrimination import auc
>>> auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
0.75
"""
