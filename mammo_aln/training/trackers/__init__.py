"""Mirrors of a run on W&B, TensorBoard, MLflow or in CSV, written from its own files: those are the truth.

What a mirror lacks of `metrics.csv` it is sent, so that a run which was killed and resumed is whole in it. A mirror
never ends a training: one that cannot be written says so in one line.

>>> from mammo_aln.settings import LogConfig, Settings
>>> from mammo_aln.training.trackers.registry import active_trackers
>>> active_trackers(Settings(log=LogConfig(tracker=("csv", "wandb"), wandb="disabled")))
('csv',)
"""
