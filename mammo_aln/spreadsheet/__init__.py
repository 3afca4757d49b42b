"""Tables as people save them: CSV of any spreadsheet, workbooks, decimal commas, words for missing. One reader for all.

>>> from mammo_aln.spreadsheet.written_numbers import numbers
>>> import pandas as pd
>>> numbers(pd.Series(["51,5", "1.234,5", "7"], dtype=object)).tolist()
[51.5, 1234.5, 7.0]
"""
