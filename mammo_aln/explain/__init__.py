"""Why a run says what it says: heat maps, the share of each input, and how far the score follows a moved box.

>>> import numpy as np
>>> from mammo_aln.explain.contributions import shapley_values
>>> nobody, first, second, both = [0.0], [1.0], [2.0], [4.0]
>>> shapley_values(np.array([nobody, first, second, both])).ravel().tolist()
[1.5, 2.5]
"""
