"""Rows that are judged together, and how a figure is written down: an object with `value`, or why there is none."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.evaluation.statistics import discrimination as disc

Metric = dict[str, Any]
LEARNT_FROM = ("train", "val")


@dataclass(frozen=True)
class Sample:
    """Labelled rows that are judged together."""

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


def unknown(reason: str) -> Metric:
    """A figure that cannot be known."""
    return {"value": None, "reason": reason}


def with_interval(interval: disc.Interval, **more: Any) -> Metric:
    """A figure with its limits."""
    known = {"value": interval.value, "ci_low": interval.low, "ci_high": interval.high, "method": interval.method}
    return known | more


def sample_of(rows: pd.DataFrame, name: str, *, seen: bool = False) -> Sample:
    """Labelled rows of a predictions table as arrays."""
    known = rows[rows["aln_status"].notna()]
    who = (known["center"] + "\n" + known["patient_id"]).to_numpy()
    scores, labels = known["score"].to_numpy(float), known["aln_status"].to_numpy(float)
    return Sample(name, scores, labels, who, len(rows) - len(known), seen)


def seed_of(seed: int, name: str) -> int:
    """A seed per split that does not depend on which other splits were given."""
    return zlib.crc32(f"{seed}:{name}".encode())
