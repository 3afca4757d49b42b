"""Speed of augmentation: each engine against albumentations' own pipeline with the same kinds of changes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from benchmarks.page import Section, table
from benchmarks.rounds import in_turn
from mammo_aln.crops.store.store import display_values
from mammo_aln.crops.window import surround_px
from mammo_aln.settings import DataConfig
from mammo_aln.training.data.augment import ENGINES, Augmentation, numbered
from mammo_aln.training.data.draws import Ranges

PER_UNIT = 3
"""Crops of a treated axilla, which a loader changes together."""


def augmentation(crops: int = 300, size_px: int = 256, rounds: int = 3) -> Section:
    """Changes of stored crops in one thread, from uint16 to float32, draws included.

    Args:
        crops: crops of a round, a multiple of 3.
        size_px: their side.
        rounds: rounds in turn.
    """
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rng, margin = np.random.default_rng(0), surround_px(size_px)
    side = size_px + 2 * margin
    noise = [cv2.GaussianBlur(rng.random((side, side)), (0, 0), 6) for _ in range(16)]
    kinds = [np.rint(np.clip(block * 2 - 0.5, 0, 1) * 65535).astype(np.uint16) for block in noise]
    blocks = [kinds[number % len(kinds)] for number in range(crops)]
    middle = slice(margin, margin + size_px)
    pipeline = Pipeline(Ranges.of(DataConfig()), size_mm=50.0)
    epochs = iter(range(1_000_000))

    def by_engine(name: str) -> None:
        size_mm = np.full(crops, 50.0)
        data = DataConfig(augment_engine=name)  # type: ignore[arg-type]
        change = Augmentation(data, size_px, 0, *numbered(np.full(crops // PER_UNIT, PER_UNIT)), size_mm)
        epoch, filled = next(epochs), np.empty((PER_UNIT, size_px, size_px), np.float32)
        for first in range(0, crops, PER_UNIT):
            unit = slice(first, first + PER_UNIT)
            change(blocks[unit], unit, epoch, filled)  # memory that is used again, as a loader's

    def by_pipeline() -> None:
        for number, block in enumerate(blocks):
            pipeline(display_values(block[middle, middle]), number)

    def cpu_s(work: Callable[[], None]) -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    works = [partial(cpu_s, by_pipeline), *(partial(cpu_s, partial(by_engine, name)) for name in ENGINES)]
    peer, *ours = [times.each(crops) for times in in_turn(rounds, *works)]
    rows = [["albumentations' own pipeline, flips and black where the crop ends", peer.words(1e-6, 0), "", ""]]
    for name, times in zip(ENGINES, ours, strict=True):
        goal = "at least 2.5 times as fast" if name == "warp" else ""
        rows.append([f"`{name}`", times.words(1e-6, 0), f"{peer.median / times.median:.2f} times as fast", goal])
    about = (
        f"{crops} crops of {size_px} px a round, CPU time of one thread; medians (range) of {rounds} rounds, in turn"
    )
    return Section("Training speed: augmentation", about, table(("engine", "us a crop", "against it", "goal"), rows))


class Pipeline:
    """The transforms that a user of albumentations would compose, on a crop without surround."""

    def __init__(self, ranges: Ranges, size_mm: float) -> None:
        import albumentations as A

        shift = (-ranges.shift_mm / size_mm, ranges.shift_mm / size_mm)
        self.compose = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.VerticalFlip(p=0.5),
                A.Affine(
                    translate_percent={"x": shift, "y": shift},
                    rotate=(-ranges.degrees, ranges.degrees),
                    scale=ranges.scale,
                    interpolation=cv2.INTER_LINEAR,
                    p=ranges.move_share,
                ),
                A.RandomBrightnessContrast(
                    brightness_limit=ranges.brightness, contrast_limit=ranges.contrast, p=ranges.grey_share
                ),
                A.RandomGamma(gamma_limit=ranges.gamma_percent, p=ranges.gamma_share),
            ]
        )

    def __call__(self, crop: np.ndarray, seed: int) -> np.ndarray:
        """Change one crop."""
        generator = np.random.default_rng((0, 0, seed, 0))
        self.compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return self.compose(image=crop[..., None])["image"][..., 0]
