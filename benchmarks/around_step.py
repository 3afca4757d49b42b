"""Work around a training's steps: how long the loop waits for checkpoints, and for a crop's style in pre-training."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import OUT, Section, table
from benchmarks.rounds import clocked, in_turn


def around_step(backbone: str = "swinv2", size_px: int = 256, crops: int = 60, rounds: int = 3) -> Section:
    """Checkpoints of a network with two encoders as the loop waits for them, and style changes of crops, one thread.

    Args:
        backbone: of both encoders.
        size_px: side of the crops.
        crops: crops of a round.
        rounds: rounds in turn.
    """
    import torch
    from lightning_fabric.plugins import TorchCheckpointIO

    from mammo_aln.crops.store.store import display_values
    from mammo_aln.training.checkpoints import RunCheckpoints
    from mammo_aln.training.pretraining.style import randomise_style

    torch.set_num_threads(1)
    last, best = _states(backbone, size_px)
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        lightning, ours = TorchCheckpointIO(), RunCheckpoints(Path(folder), save_every_s=0.0)
        path = Path(folder) / "last.ckpt"

        def by_lightning() -> float:
            seconds = clocked(partial(lightning.save_checkpoint, last, Path(folder) / "theirs.ckpt"))
            return seconds + clocked(partial(lightning.save_checkpoint, last, Path(folder) / "theirs_too.ckpt"))

        def copies() -> float:
            ours.wait()  # the thread's writing does not count, nor shall it slow the next
            return clocked(partial(ours.keep_best, best)) + clocked(partial(ours.save_checkpoint, last, path))

        peer, waited = in_turn(rounds, by_lightning, copies)
        ours.wait()
        sizes = [(Path(folder) / name).stat().st_size / 1e6 for name in ("theirs.ckpt", "last.ckpt", "best.ckpt")]
    levels = (np.random.default_rng(0).random((size_px, size_px)) ** 2 * 65535).astype(np.uint16)
    levels[:, : size_px // 4] = 0
    crop = display_values(levels)

    def styled(change: Any) -> None:
        for seed in range(crops):
            change(crop, 1.0, np.random.default_rng(seed))

    definition, styles = (
        times.each(crops)
        for times in in_turn(
            rounds, *(partial(clocked, partial(styled, work)) for work in (bent_by_definition, randomise_style))
        )
    )
    rows = [
        [
            f"the loop waits for `last.ckpt` and `best.ckpt`, {backbone}, two encoders",
            f"{waited.words(1e-3, 0)} ms; {sizes[1]:.0f} and {sizes[2]:.0f} MB, written beside it",
            f"{peer.words(1e-3, 0)} ms; twice {sizes[0]:.0f} MB, both whole, by Lightning's own writer",
            f"{peer.median / waited.median:.1f} times as fast",
            "",
        ],
        [
            f"style of a crop, {size_px} px",
            f"{styles.words(1e-6, 0)} us",
            f"{definition.words(1e-6, 0)} us by numpy's histogram and interp",
            f"{definition.median / styles.median:.1f} times as fast",
            "at least 3 times as fast",
        ],
    ]
    about = f"medians (range) of {rounds} rounds, in turn; 1 thread"
    return Section("Training speed: around the step", about, table(("measure", "ours", "peer", "ratio", "goal"), rows))


def _states(backbone: str, size_px: int) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Content of `last.ckpt` within a training, and of `best.ckpt`."""
    import torch

    from mammo_aln.model.classifier import AxillaryClassifier
    from mammo_aln.settings import ModelConfig, OptimConfig

    model = ModelConfig(backbone=backbone, inputs=("primary", "auxiliary"))
    module = AxillaryClassifier(model, OptimConfig(), ["primary", "axilla"], [], size_px)
    optimizer = torch.optim.AdamW(module.network.parameters())
    for weight in module.network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    weights = module.state_dict()
    scored = {name: value for name, value in weights.items() if name.startswith("average.network.")}
    return {"state_dict": weights, "optimizer_states": [optimizer.state_dict()]}, {"epoch": 0, "state_dict": scored}


def bent_by_definition(crop: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Bend grey values step by step: numpy's histogram of what is not air, its interpolation of each pixel."""
    grey = np.linspace(0.0, 1.0, 256)
    share = rng.uniform(0.0, 0.5 * strength)
    counts = np.histogram(crop[crop > 0], bins=255, range=(0.0, 1.0))[0]
    curve = (1.0 - share) * grey + share * np.concatenate([[0.0], np.cumsum(counts) / max(1, counts.sum())])
    low, high = rng.uniform(0.0, 0.15 * strength), 1.0 - rng.uniform(0.0, 0.15 * strength)
    curve = np.clip((curve - low) / (high - low), 0.0, 1.0) ** np.exp(rng.uniform(-0.7, 0.7) * strength)
    knots = np.concatenate([[0.0], np.cumsum(rng.dirichlet(np.full(6, 2.0)))])
    lut_share = rng.uniform(0.0, 0.6 * strength)
    bent = (1.0 - lut_share) * curve + lut_share * np.interp(curve, np.linspace(0.0, 1.0, 7), knots)
    return np.interp(crop, grey, np.clip(bent, 0.0, 1.0)).astype(np.float32)
