"""Frozen runs: opened, scored on a cohort, several averaged as one model.

>>> import pandas as pd
>>> from mammo_aln.inference.ensemble import mean_of_members
>>> seeds = [pd.DataFrame({"unit_id": ["P1"], "split": ["val"], "logit": [logit]}) for logit in (0.2, 0.6)]
>>> mean_of_members(seeds)["logit"].round(3).tolist()
[0.4]
"""
