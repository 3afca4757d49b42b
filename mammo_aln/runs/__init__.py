"""Run directories: identity, record, lock, and the seal of the test.

>>> from mammo_aln.runs.identity import run_identity
>>> from mammo_aln.settings import LogConfig, Settings
>>> plain, _ = run_identity(Settings(), "digest of the tables", ["crop"])
>>> tracked, _ = run_identity(Settings(log=LogConfig(wandb="disabled")), "digest of the tables", ["crop"])
>>> relabelled, _ = run_identity(Settings(), "digest of other tables", ["crop"])
>>> plain == tracked, plain == relabelled
(True, False)
"""
