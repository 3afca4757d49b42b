"""A run's outcome as trackers are sent it: epochs, frozen numbers, curves of its validation, a sheet of crops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from mammo_aln.evaluation.report.curves import calibration_rows, precision_recall_rows, roc_rows
from mammo_aln.evaluation.samples import sample_of
from mammo_aln.evaluation.statistics.operating import PROPORTIONS, Counts, count, ratio
from mammo_aln.files import read_own_table
from mammo_aln.training.summary import Summary

Row = Mapping[str, float]
"""An epoch of metrics.csv, by column."""
SHEET = "augmented.png"


@dataclass(frozen=True)
class Outcome:
    """The epochs, numbers, curves and pictures that a run's files tell a tracker.

    Args:
        rows: epochs of metrics.csv; a column that an epoch lacks is left out.
        numbers: of a completed training: `Summary`, and at the frozen threshold the validation's counts and
            proportions; only finite ones.
        confusion: counts of the validation patients at the frozen threshold, where there is one.
        curves: of the validation: `roc`, `precision_recall` and `calibration`, as the report's tables.
        sheet: picture of training crops, captioned by region and view alone.
    """

    rows: tuple[Row, ...]
    numbers: Row = field(default_factory=dict)
    confusion: Counts | None = None
    curves: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    sheet: Path | None = None

    @classmethod
    def of_run(cls, run: Path) -> Outcome:
        """Read a run's files: of one that has no predictions yet, or none at all (a pre-training), the epochs."""
        rows = read_rows(run)
        sheet = run / SHEET
        pictured = sheet if sheet.is_file() else None
        if not (run / "predictions.csv").is_file():
            return cls(rows, sheet=pictured)
        summary = Summary.of_run(run)
        table = read_own_table(run / "predictions.csv", "aln_status", "score", dtype={"patient_id": str})
        sample = sample_of(table[table["split"] == "val"], "val", seen=True)
        numbers = dict(summary.numbers())
        if sample.one_class is not None:
            return cls(rows, numbers, sheet=pictured)
        confusion = count(sample.scores, sample.labels, summary.threshold)
        numbers |= {f"val_{name}": float(value) for name, value in asdict(confusion).items()}
        numbers |= finite({f"val_{name}": ratio(*confusion.proportion(name)) for name in PROPORTIONS})
        curves = {"roc": roc_rows(sample), "precision_recall": precision_recall_rows(sample)}
        if sample.not_probabilities is None:
            curves["calibration"] = calibration_rows(sample)
        return cls(rows, numbers, confusion, curves, pictured)


def read_rows(run: Path) -> tuple[Row, ...]:
    """Read the epochs of metrics.csv; none where there is no such file."""
    path = run / "metrics.csv"
    if not path.is_file():
        return ()
    table = read_own_table(path, "*")
    return tuple(finite(dict(zip(table.columns, row, strict=True))) for row in table.itertuples(index=False))


def finite(row: Mapping[str, float]) -> Row:
    """Leave out what is no number: an epoch's AUC of one class, a pace that was not measured."""
    return {str(name): float(value) for name, value in row.items() if math.isfinite(value)}
