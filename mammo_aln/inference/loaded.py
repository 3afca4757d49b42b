"""A trained run in Python: `load(run).predict(cohort)` is a table with one row per treated axilla."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo_aln.inference.ensemble import ensemble_of, read_member
from mammo_aln.inference.predict import score_cohort
from mammo_aln.training.prediction_facts import OperatingPoint


@dataclass(frozen=True)
class LoadedRun:
    """A frozen model: one completed run, or several averaged as one.

    Attributes:
        runs: run directories.
        operating: frozen threshold and calibration.
    """

    runs: tuple[Path, ...]
    operating: OperatingPoint

    @property
    def threshold(self) -> float:
        """Frozen threshold of the score, chosen on validation."""
        return float(self.operating.threshold["value"])

    def predict(
        self,
        cohort: str | Path,
        *,
        patients: str | Sequence[str] | None = None,
        split: str | None = None,
        store: Path | None = None,
        ledger: Path | None = None,
        allow_missing: bool = False,
    ) -> pd.DataFrame:
        """Score a cohort, or some of its patients; openings of a labelled test split are recorded as by `predict`.

        Args:
            cohort: cohort folder; without a column split it reads as external_test.
            patients: a patient_id, or several; None scores all.
            split: score this split only.
            store: crop store; by default `.crops` in the cohort folder.
            ledger: file that records openings; by default `openings.jsonl` in the cohort folder and the run directory.
            allow_missing: score patients who lack what the run was trained with, see `score_cohort`.

        Returns:
            The columns of predictions.csv: among them `score` (the calibrated probability of residual disease), `call`
            (1 where the score reaches the frozen threshold, 0 below) and `inputs_seen` (regions with a crop and
            `clinical`, joined by `;`).

        Raises:
            InputError: as `mammo-aln predict`, in one line.
        """
        return score_cohort(
            self.runs,
            Path(cohort),
            split=split,
            patients=[patients] if isinstance(patients, str) else patients,
            store=store,
            ledger=ledger,
            allow_missing=allow_missing,
        ).table


def load(run: str | Path | Sequence[str | Path]) -> LoadedRun:
    """Open a completed run for prediction; several are averaged as one model (many seeds, or folds).

    Args:
        run: run directory, or several.

    Raises:
        InputError: no completed run, or runs that do not go together.

    Example:
        >>> table = mammo_aln.load("runs/0123456789ab").predict("COHORT")  # doctest: +SKIP
    """
    runs = tuple(Path(path) for path in ([run] if isinstance(run, str | Path) else run))
    members = [read_member(path) for path in runs]
    operating = members[0].facts.operating if len(members) == 1 else ensemble_of(members).operating
    return LoadedRun(runs, operating)
