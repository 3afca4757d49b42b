"""A run's id sees the code of a training by `LEARNING_VERSION` alone: it must be raised when draws or rates change.

python tests/runs/test_learning_version.py      # after raising it: what to write into KEPT
"""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from mammo_aln.model.backbones import Backbone, LearningNetwork
from mammo_aln.model.optim import learning_rate_factor, parameter_groups
from mammo_aln.model.windows import LearntWindows
from mammo_aln.runs import identity
from mammo_aln.runs.identity import LEARNING_VERSION, run_identity
from mammo_aln.settings import DataConfig, ModelConfig, OptimConfig, Settings, TrainerConfig
from mammo_aln.training.data.draws import Ranges, draw, hiding_draws

KEPT: dict[str, list[float]] = {
    "version": [4],
    "augmentation": [1.0, 1.0, 11.778859, -0.025105374, 0.0054735127, 1.000742, 1.1334029, -0.031994987, 0.84807056],
    "hidden inputs": [0.204539, 0.8913787, 0.7673068],
    "layer decay": [0.8**12, 0.8**9, 0.8**6, 0.8**3, 1.0],
    "schedule": [0.5, 0.96193977, 0.38889256, 0.22221488],
    "windows": [8, 9, 10, 7, 6, 5, 4],
}


def figures() -> dict[str, list[float]]:
    """A few numbers of all that a training takes from the code: draws, rates, windows."""
    unit = np.array([1])
    network = LearningNetwork()
    network.backbone = Backbone("resnet50", {"layers": (1, 1, 1, 1), "channels": (4, 4, 4, 4)}, 64)
    network.backbone.loaded = True
    rates = {group["lr"] for group in parameter_groups(network, OptimConfig(lr=1.0, layer_decay=0.8))}
    rate = {"total_steps": 20, "warmup_fraction": 0.2, "released_at": 8}
    return {
        "version": [LEARNING_VERSION],
        "augmentation": [float(v[0]) for v in astuple(draw(Ranges.of(DataConfig()), 1, 2, unit, np.array([1]), 50.0))],
        "hidden inputs": hiding_draws(1, 2, unit, 3)[0].tolist(),
        "layer decay": sorted(rates),
        "schedule": [learning_rate_factor(step, **rate) for step in (1, 6, 9, 15)],
        "windows": [float(window) for window in LearntWindows(256, 8, (8, 8, 8, 8)).preferred(320)],
    }


def test_draws_rates_and_windows_change_only_with_the_version() -> None:
    now = figures()
    for name, kept in KEPT.items():
        assert now[name] == pytest.approx(kept, abs=1e-6), f"{name}: raise LEARNING_VERSION, then keep the new figures"
    assert list(now) == list(KEPT)


@pytest.mark.parametrize(
    ("inputs", "crops", "former"), [(("primary",), ["k"], "090cf0d17aa0"), (("clinical",), [], "238f8ac383c0")]
)
def test_a_run_of_another_version_of_the_learning_is_another_run(inputs, crops, former, monkeypatch) -> None:
    settings = Settings(model=ModelConfig(inputs=inputs), trainer=TrainerConfig(accelerator="cpu", precision="32-true"))
    ours = run_identity(settings, "c", crops).run_id
    assert ours != former  # id of the version before the first that had a number
    monkeypatch.setattr(identity, "LEARNING_VERSION", LEARNING_VERSION + 1)
    assert run_identity(settings, "c", crops).run_id != ours


if __name__ == "__main__":
    print(figures())
