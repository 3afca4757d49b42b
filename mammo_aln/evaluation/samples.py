"""Rows that are judged together: scores, outcomes and patients as arrays."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo_aln.evaluation.statistics import discrimination as disc

LEARNT_FROM = ("train", "val")


@dataclass(frozen=True)
class Sample:
    """Labelled rows that are judged together.

    Attributes:
        name: of the split, or `center:` and the centre.
        scores: shape (n,).
        labels: shape (n,), 1 = with the outcome.
        patients: shape (n,), the patient of each row.
        n_unlabelled: rows left out because their outcome is unknown.
        seen: the model was fitted on these rows.
    """

    name: str
    scores: disc.Floats
    labels: disc.Floats
    patients: np.ndarray
    n_unlabelled: int
    seen: bool

    @property
    def clusters(self) -> np.ndarray | None:
        """The patient of each row where a patient has several (both sides), else None."""
        return disc.repeated(self.patients)

    @property
    def one_class(self) -> str | None:
        """Why nothing that needs both outcomes can be known, or None."""
        positives = int(self.labels.sum())
        if 0 < positives < self.labels.size:
            return None
        return f"both outcomes are needed; {positives} of {self.labels.size} labelled patients are positive"

    @property
    def not_probabilities(self) -> str | None:
        """Why calibration cannot be judged, or None."""
        outside = int(((self.scores < 0) | (self.scores > 1)).sum())
        if outside == 0:
            return None
        return f"{outside} of {self.scores.size} scores lie outside [0, 1]: judged for discrimination alone"


def sample_of(rows: pd.DataFrame, name: str, *, seen: bool = False) -> Sample:
    """Labelled rows of a predictions table as arrays."""
    labelled = rows[rows["aln_status"].notna()]
    patients = patients_of(labelled).to_numpy()
    scores, labels = labelled["score"].to_numpy(float), labelled["aln_status"].to_numpy(float)
    return Sample(name, scores, labels, patients, len(rows) - len(labelled), seen)


def patients_of(rows: pd.DataFrame) -> pd.Series:
    """The patient of each row: two centres may use one number."""
    return rows["center"] + "\n" + rows["patient_id"] if "center" in rows else rows["patient_id"]


def seed_of(seed: int, name: str) -> int:
    """A seed per split that does not depend on which other splits were given."""
    return zlib.crc32(f"{seed}:{name}".encode())
