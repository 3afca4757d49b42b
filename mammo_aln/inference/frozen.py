"""A completed run, opened on a cohort: its weights, threshold, calibration and pixel recipe as they were frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.declaration import Outcome
from mammo_aln.cohort.tables import with_split
from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.calibration import apply_calibration
from mammo_aln.inference.ensemble import read_member
from mammo_aln.inference.opened import check_needs, open_members
from mammo_aln.inference.predict import chosen_splits, scored_here
from mammo_aln.machine.arithmetic import arithmetic
from mammo_aln.machine.hardware import computes_on_gpu, resolved_precision
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.runs.record import read_settings
from mammo_aln.runs.seal import NOT_A_TEST, require_unchanged
from mammo_aln.settings import Settings
from mammo_aln.training.data.base import read_for
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.test_time import TestTimeCopy
from mammo_aln.training.prediction_facts import PredictionFacts

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class CropBlocks:
    """Crops of a batch with their surround, of which test-time copies are made.

    Attributes:
        pixels: uint16 (S', S') each.
        size_mm: side of each crop, without its surround.
    """

    pixels: Sequence[NDArray[np.uint16]]
    size_mm: NDArray[np.float64]


@dataclass(frozen=True)
class FrozenRun:
    """A run and the patients it is asked about.

    Attributes:
        run_id: identity of the run.
        weights_sha256: of the checkpoint that predicts.
        settings: the run's settings.
        facts: the run's `predictions.json`: threshold, calibration, ...
        module: the network, in evaluation mode, on `device`.
        data: the cohort's patients as the run reads them.
        device: where the network computes.
        outcome: what the run learnt to tell; None where it does not say.
        run: its directory.
        own_cohort: it learnt from this cohort.
    """

    run_id: str
    weights_sha256: str
    settings: Settings
    facts: PredictionFacts
    module: AxillaryClassifier
    data: MammoDataModule
    device: torch.device
    outcome: Outcome | None = None
    run: Path | None = None
    own_cohort: bool = False

    def tests(self, split: str) -> bool:
        """Tell whether a split is a test of the run: in its own cohort `train` and `val` are none."""
        return not (self.own_cohort and split in NOT_A_TEST)

    @property
    def threshold(self) -> float:
        """Frozen threshold of the score."""
        return float(self.facts.operating.threshold["value"])

    def scores(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities of logits of any shape; NaN stays NaN."""
        logits = np.asarray(logits, np.float64)
        scores = np.full(logits.shape, np.nan)
        there = ~np.isnan(logits)
        scores[there] = apply_calibration(logits[there], self.facts.operating.calibration)
        return scores

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """The precision that `predict` uses on this machine, for use as a context."""
        trainer = scored_here(self.settings.trainer)
        kind = HALF.get(resolved_precision(trainer))
        with (
            arithmetic(trainer, on_gpu=self.device.type == "cuda"),
            nullcontext() if kind is None else torch.autocast(self.device.type, dtype=kind),
        ):
            yield

    def to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch where the network computes."""
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    @property
    def test_time_copies(self) -> int:
        """Number of copies of each crop that a prediction averages beside the crop itself."""
        return self.data.loading.test_time_copies if self.data.reads_images else 0

    def blocks(self, batch: dict[str, Tensor], split: str) -> CropBlocks:
        """The crops of a split's batch with their surround, in its order; none where no copy is made of them."""
        if not self.test_time_copies:
            return CropBlocks([], np.zeros(0))
        units, store = self.data.units(split), self.data.crop_set.open_store()
        rows = list(chain(*(range(units.first[unit], units.first[unit + 1]) for unit in batch["index"].tolist())))
        return CropBlocks([store.read_surround(str(units.keys[row])) for row in rows], units.size_mm[rows])

    def copies(self, batch: dict[str, Tensor], blocks: CropBlocks) -> Iterator[dict[str, Tensor]]:
        """A batch and the run's test-time copies of it, made of its `blocks`; their mean logit is the prediction."""
        yield batch
        for copy in range(1, 1 + self.test_time_copies):
            change = TestTimeCopy(self.data.loading, self.data.crop.size_px, blocks.size_mm, copy)
            yield {**batch, "crops": torch.from_numpy(change(blocks.pixels, slice(None), 0))[:, None]}

    def logits(self, batch: dict[str, Tensor], blocks: CropBlocks) -> NDArray[np.float64]:
        """Logits (B,) of a packed batch and its crops with their surround, as `predict` computes them."""
        with torch.inference_mode(), self.arithmetic():
            every = [self.module(self.to_device(copy)).float().cpu().numpy() for copy in self.copies(batch, blocks)]
        return np.stack(every).astype(np.float64).mean(axis=0)


def open_run(
    run: Path,
    cohort_folder: Path,
    *,
    split: str | None = None,
    patients: Sequence[str] | None = None,
    store: Path | None = None,
    fits: Callable[[AxillaryClassifier, MammoDataModule], object] | None = None,
) -> FrozenRun:
    """Open a completed run on a cohort (or one split, or some patients of it); missing crops are built.

    Args:
        run: run directory.
        cohort_folder: the cohort.
        split: this split only.
        patients: these patients only.
        store: crop store; by default `.crops` in the cohort folder.
        fits: refuses, by an `InputError`, a network that the caller can do nothing with, before any crop is built.

    Raises:
        InputError: `run` is no completed run or changed since, its pixels were made by other code, a patient is
            unknown, or nothing is left to read.
    """
    member = read_member(run)
    digests = require_unchanged(member.run)
    settings = read_settings(member.run)
    cohort = with_split(read_for(settings.model.inputs, cohort_folder, store))
    splits = chosen_splits(cohort, split)
    (opened,) = open_members([member], cohort, splits, store, patients)
    module, data = opened.module, opened.data
    if fits is not None:
        fits(module, data)
    check_needs([opened], cohort, splits, allow_missing=True)
    opened.prepare()
    if not any(len(data.patients(name)) for name in splits):
        raise InputError(f"{cohort.name}: no eligible patient of {', '.join(splits)} has an input that the run reads")
    device = torch.device("cuda" if computes_on_gpu(settings.trainer) else "cpu")
    return FrozenRun(
        member.run_id,
        digests["weights"],
        settings,
        member.facts,
        module.to(device),
        data,
        device,
        opened.outcome,
        member.run,
        member.cohort == cohort_content(cohort),
    )
