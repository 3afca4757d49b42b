"""Run directories: identity, record, lock, and the seal of the test.

>>> from mammo_aln.runs.identity import run_identity
>>> from mammo_aln.settings import LogConfig, Settings
>>> plain = run_identity(Settings(), "digest of the tables", ["crop"])
>>> untracked = run_identity(Settings(log=LogConfig(wandb="disabled")), "digest of the tables", ["crop"])
>>> relabelled = run_identity(Settings(), "digest of other tables", ["crop"])
>>> plain.run_id == untracked.run_id, plain.run_id == relabelled.run_id
(True, False)
"""
