"""A trained run in Python: `load(run).predict(cohort)` is a table with one row per treated axilla."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.inference.ensemble import ensemble_of, read_member
from mammo_aln.inference.exam import Box, Exam, parse_box, score_exam
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
        cohort: str | Path | None = None,
        *,
        dicom: str | Path | None = None,
        boxes: Mapping[str, Box] | Sequence[str] = (),
        regions: str | Path | None = None,
        clinical: Mapping[str, str | float] | None = None,
        side: Literal["L", "R"] | None = None,
        patients: str | Sequence[str] | None = None,
        split: str | None = None,
        store: Path | None = None,
        ledger: Path | None = None,
        allow_missing: bool = False,
    ) -> pd.DataFrame:
        """Score a cohort, some of its patients, or one exam; openings of a labelled test split are recorded.

        Args:
            cohort: cohort folder; without a column split it reads as external_test.
            dicom: in place of `cohort`, folder of one patient's DICOM files.
            boxes: of that patient's lesions: box (x_min, y_min, x_max, y_max) by image, in pixels of the stored matrix,
                or words as `predict --box` takes them.
            regions: annotation file of that patient, in place of `boxes`.
            clinical: that patient's value of each feature that is known.
            side: that patient's treated side; by default that of the boxes, or of all images.
            patients: a patient_id, or several; None scores all.
            split: score this split only.
            store: crop store; by default `.crops` in the cohort folder.
            ledger: file that records openings; by default `openings.jsonl` in the cohort folder and the run directory.
            allow_missing: score patients who lack what the run was trained with, see `score_cohort`.

        Returns:
            The columns of predictions.csv: among them `score` (the calibrated probability of the run's outcome), `call`
            (1 where the score reaches the frozen threshold, 0 below) and `inputs_seen` (regions with a crop and
            `clinical`, joined by `;`).

        Raises:
            InputError: as `mammo-aln predict`, in one line.
        """
        own = boxes or regions or clinical or side
        if dicom is not None and cohort is None:
            if patients is not None or split is not None:
                raise InputError("predict: patients and split choose rows of a cohort; dicom is one patient")
            drawn = boxes.items() if isinstance(boxes, Mapping) else map(parse_box, boxes)
            exam = Exam(
                Path(dicom),
                tuple((str(image), box) for image, box in drawn),
                Path(regions) if regions else None,
                {name: str(value) for name, value in (clinical or {}).items()},
                side,
            )
            with tempfile.TemporaryDirectory(prefix="mammo_aln_exam_") as folder:
                return score_exam(self.runs, exam, Path(folder), store=store, allow_missing=allow_missing).table
        if cohort is None or dicom is not None or own:
            raise InputError("predict: expected a cohort, or dicom=FOLDER with boxes, regions, clinical and side")
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
