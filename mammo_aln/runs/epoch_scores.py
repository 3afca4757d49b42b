"""`validation_scores.npz` of a run: the validation patients' logits at the end of each epoch.

The run's weights are those of the epoch with the highest AUC on these patients; how much that choice flatters the AUC
can only be told by who may choose the epoch anew.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammo_aln.errors import InputError
from mammo_aln.files import written_whole

EPOCH_SCORES = "validation_scores.npz"


@dataclass(frozen=True)
class EpochScores:
    """Scores of validation patients by epoch.

    Attributes:
        logits: (epochs, n) float32, patients in the order of the validation rows of predictions.csv.
        labels: (n,) their outcomes, 0 or 1.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.bool_]


def write_epoch_scores(run: Path, scores: EpochScores) -> None:
    """Write a run's scores by epoch, whole or not at all."""
    with written_whole(run / EPOCH_SCORES) as unfinished, unfinished.open("wb") as stream:
        np.savez_compressed(stream, logits=scores.logits, labels=scores.labels)


def read_epoch_scores(run: Path) -> EpochScores | None:
    """Read a run's scores by epoch; None where it kept none.

    Raises:
        InputError: the file is not what a training writes.
    """
    path = run / EPOCH_SCORES
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            scores = EpochScores(arrays["logits"], arrays["labels"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected the logits and labels of a training's validation, got {error}") from error
    if scores.logits.ndim != 2 or scores.labels.shape != scores.logits.shape[1:]:
        raise InputError(
            f"{path}: expected logits (epochs, n) and labels (n,), got {scores.logits.shape} and {scores.labels.shape}"
        )
    return scores
