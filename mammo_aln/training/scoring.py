"""From a trained network to rows of predictions.csv."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from mammo_aln.evaluation.statistics.calibration import apply_calibration
from mammo_aln.machine.arithmetic import arithmetic
from mammo_aln.machine.hardware import resolved_precision
from mammo_aln.model.backbones import compile_backbones
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.progress import Progress
from mammo_aln.settings import TrainerConfig
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.prediction_facts import OperatingPoint

HUSHED = (
    "does not have many workers",
    "srun",
    "LeafSpec",
    "in eval mode at the start",
    "ended before the epoch ended",  # our sampler resumes within an epoch
    "broadcast_buffers",  # its new name is younger than the oldest torch that is allowed
    "sync_dist=True",  # what we log was gathered from all ranks before
)


class BatchProgress(pl.Callback):
    """Tells how far the scoring of a split has come."""

    def begin(self, what: str, batches: int) -> None:
        """Name the work that comes next."""
        self._progress = Progress(total=batches, what=what, unit="batch")

    def on_predict_batch_end(self, *_: Any, **__: Any) -> None:
        """One batch more."""
        self._progress.advance()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last state."""
        self._progress.end()


def predict_logits(module: AxillaryClassifier, data: MammoDataModule, trainer: TrainerConfig) -> pd.DataFrame:
    """Rows of the patients table of every split of `data`, in order, with a column `logit` (before calibration)."""
    progress = BatchProgress()
    if trainer.compile:
        compile_backbones(module.scoring_network)
    with lightning_hushed():
        runner = pl.Trainer(
            accelerator=trainer.accelerator,
            devices=1,
            precision=resolved_precision(trainer),
            logger=False,
            callbacks=[progress],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    data.setup()
    tables = []
    for split in data.splits:
        patients = data.patients(split)
        if patients.empty:
            continue
        # Without an image there is nothing to vary.
        copies = 1 + (data.loading.test_time_copies if data.reads_images else 0)
        logits = np.zeros((copies, len(patients)))
        for copy in range(copies):
            loader = data.loader(split, alone=True, copy=copy)
            progress.begin(f"scoring {split}" + (f", copy {copy}" if copy else ""), len(loader))
            with lightning_hushed(), arithmetic(trainer):
                batches: Any = runner.predict(module, dataloaders=loader)
            index = np.concatenate([batch["index"].cpu().numpy() for batch in batches])
            if not np.array_equal(index, np.arange(len(patients))):
                raise RuntimeError(f"{split}: {len(index)} of {len(patients)} patients were scored, or not in order")
            logits[copy] = np.concatenate([batch["logit"].float().cpu().numpy() for batch in batches])
        tables.append(patients.assign(logit=logits.mean(axis=0)))
    return pd.concat(tables, ignore_index=True)


@contextmanager
def lightning_hushed() -> Iterator[None]:
    """Without Lightning's notices that no reader of a log can act on."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for notice in HUSHED:
                warnings.filterwarnings("ignore", message=f".*{notice}.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def prediction_table(
    scored: pd.DataFrame, run_id: str, operating: OperatingPoint, inputs_seen: Sequence[str]
) -> pd.DataFrame:
    """Lay out predictions.csv: one row per treated axilla.

    `score` is the calibrated probability of the outcome, `call` is 1 where it reaches the frozen threshold and 0
    below it, `inputs_seen` names what the model saw of the patient (see `presence.inputs_seen`).
    """
    columns = [
        "patient_id",
        *(["side"] if "side" in scored and scored["side"].notna().any() else []),
        "center",
        "split",
    ]
    table = scored[columns].copy()
    table.insert(0, "run_id", run_id)
    table["aln_status"] = scored["aln_status"].astype("Int64")
    table["score"] = apply_calibration(scored["logit"].to_numpy(float), operating.calibration)
    table["logit"] = scored["logit"].to_numpy(float)
    call = pd.Series(table["score"] >= float(operating.threshold["value"]), table.index).astype("Int64")
    table["call"] = call.where(table["score"].notna())
    table["inputs_seen"] = list(inputs_seen)
    return table
