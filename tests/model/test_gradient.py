"""Fused AdamW under clipped gradients, in every arithmetic, against a bare loop of torch."""

from __future__ import annotations

import copy
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.optim import binary_loss, learning_rate_factor, parameter_groups
from mammo_aln.settings import ModelConfig, OptimConfig

STEPS = 6


class Norms(pl.Callback):
    """Notes each step's gradient norm."""

    def __init__(self) -> None:
        self.each: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.each.append(float(pl_module.gradient_norm))


def clinical(clip: float) -> AxillaryClassifier:
    model = ModelConfig(inputs=("clinical",), embed_dim=8, drop_rate=0.0, modality_dropout=0.0)
    optim = OptimConfig(lr=0.02, gradient_clip_norm=clip, ema_decay=0.0, warmup_fraction=0.0)
    return AxillaryClassifier(model, optim, (), ("age", "er", "ct"), 64, total_steps=STEPS)


@pytest.fixture
def batches(make_batch):
    made = [make_batch([], [1.0, 0.0, 1.0, 0.0], seed=seed) for seed in range(STEPS)]
    for batch in made:
        batch["clinical"] = 3 * batch["clinical"]
    return made


def fitted(module: AxillaryClassifier, batches, **arguments) -> list[float]:
    norms = Norms()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(**quiet, max_epochs=1, enable_checkpointing=False, callbacks=[norms], **arguments)
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    assert trainer.optimizers[0].defaults["fused"]
    return norms.each


def bare_loop(module: AxillaryClassifier, batches, clip: float) -> list[float]:
    """Train the module's network by torch alone; returns the norms before they are clipped."""
    network, norms = module.network, []
    optimizer = torch.optim.AdamW(parameter_groups(network, module.optim_config), lr=0.02, fused=False, foreach=False)
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * learning_rate_factor(step, total_steps=STEPS, warmup_fraction=0.0)
        optimizer.zero_grad()
        binary_loss(network(batch), batch["label"], torch.ones(2), 0.0).backward()
        weights = [weight for weight in network.parameters() if weight.grad is not None]
        norms.append(math.sqrt(sum(float(weight.grad.double().square().sum()) for weight in weights)))
        if clip:
            torch.nn.utils.clip_grad_norm_(weights, clip)
        optimizer.step()
    return norms


def furthest(mine: AxillaryClassifier, other: AxillaryClassifier) -> float:
    pairs = zip(mine.network.parameters(), other.network.parameters(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("clip", [0.05, 0.0])
def test_the_step_is_that_of_a_bare_loop_and_its_norm_is_measured_before_it_is_clipped(clip: float, batches) -> None:
    mine = clinical(clip)
    other = copy.deepcopy(mine)
    norms = fitted(mine, batches)
    assert norms == pytest.approx(bare_loop(other.train(), batches, clip), rel=1e-4)
    assert min(norms) > 0.05
    assert furthest(mine, other) < 1e-6


def test_a_trainers_own_clipping_wins(batches) -> None:
    mine = clinical(0.0)
    other = copy.deepcopy(mine)
    fitted(mine, batches, gradient_clip_val=0.05)
    bare_loop(other.train(), batches, 0.05)
    assert furthest(mine, other) < 1e-6


def test_bfloat16_clips_too(batches) -> None:
    mine = clinical(0.05)
    other = copy.deepcopy(mine)
    norms = fitted(mine, batches, precision="bf16-mixed")
    assert norms[0] == pytest.approx(bare_loop(other.train(), batches, 0.05)[0], rel=0.02)


def test_float16_measures_and_clips_the_gradient_without_its_scale(batches) -> None:
    """A gradient 65,536 times too large would be clipped to the same length: only its norm tells."""
    mine = clinical(0.05)
    other = copy.deepcopy(mine)
    norms = fitted(mine, batches, plugins=[MixedPrecision("16-mixed", "cpu")])
    assert norms == pytest.approx(bare_loop(other.train(), batches, 0.05), rel=0.02)
    assert furthest(mine, other) < 5e-3  # of weights that moved by 0.07


def test_float16_skips_a_step_whose_gradient_is_too_large(batches) -> None:
    mine = clinical(1.0)
    before = copy.deepcopy(mine)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**40))
    norms = fitted(mine, batches[:1], plugins=[plugin])
    assert not math.isfinite(norms[0])
    assert furthest(mine, before) == 0
    assert plugin.scaler.get_scale() == 2.0**39
