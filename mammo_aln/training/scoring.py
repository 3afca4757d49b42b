"""From a trained network to rows of predictions.csv, and what a reader must know of them in predictions.json."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from mammo_aln.config import TrainerConfig
from mammo_aln.evaluation.calibration import apply_calibration
from mammo_aln.files import write_csv, write_json
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.training.datamodule import MammoDataModule


def predict_logits(
    module: AxillaryClassifier, data: MammoDataModule, trainer: TrainerConfig, device_count: int = 1
) -> pd.DataFrame:
    """Rows of the patients table of every split of `data`, in order, with a column `logit` (before calibration)."""
    with lightning_hushed():
        runner = pl.Trainer(
            accelerator=trainer.accelerator,
            devices=device_count,
            precision=trainer.precision,
            logger=False,
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
        with lightning_hushed():
            batches: Any = runner.predict(module, dataloaders=data.loader(split))
        index = np.concatenate([batch["index"].cpu().numpy() for batch in batches])
        logit = np.concatenate([batch["logit"].float().cpu().numpy() for batch in batches]).astype(float)
        tables.append(patients.iloc[index].assign(logit=logit))
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
            for notice in ("does not have many workers", "srun", "LeafSpec", "in eval mode at the start of training"):
                warnings.filterwarnings("ignore", message=f".*{notice}.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def prediction_table(scored: pd.DataFrame, run_id: str, calibration: dict[str, Any]) -> pd.DataFrame:
    """predictions.csv: one row per treated axilla; `score` is the calibrated probability of residual disease."""
    columns = ["patient_id", *(["side"] if "side" in scored else []), "center", "split"]
    table = scored[columns].copy()
    table.insert(0, "run_id", run_id)
    table["aln_status"] = scored["aln_status"].astype("Int64")
    table["score"] = apply_calibration(scored["logit"].to_numpy(float), calibration)
    table["logit"] = scored["logit"].to_numpy(float)
    return table


def write_predictions(path: Path, table: pd.DataFrame, about: dict[str, Any]) -> None:
    """Write PATH and, beside it, the same name with `.json`: threshold, calibration, recipe, fallbacks, cohort flow."""
    write_json(path.with_suffix(".json"), {"schema_version": 1, **about})
    write_csv(path, table)
