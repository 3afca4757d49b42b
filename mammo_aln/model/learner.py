"""The learning of any network: AdamW on a schedule, clipped gradients, averaged weights, loaded backbones frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from mammo_aln.errors import InputError
from mammo_aln.model.backbones import LearningNetwork
from mammo_aln.model.micro_batch import MicroBatch
from mammo_aln.model.optim import WeightAverage, learning_rate_factor, parameter_groups
from mammo_aln.settings import OptimConfig


class Learner(pl.LightningModule):
    """The LightningModule behind all others; each sets the attributes below.

    Attributes:
        network: what learns; it tells `frozen` and `loaded_backbones`.
        average: the moving average of `network`, or None.
        optim_config: settings of the optimiser.
        micro_batch: how many patients of a step are computed at once; None computes all.
        gradient_norm: norm of the last step's gradient before it was clipped, (); None before the first.
    """

    network: LearningNetwork
    average: WeightAverage | None
    optim_config: OptimConfig
    micro_batch: MicroBatch | None = None
    gradient_norm: Tensor | None = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, with linear warm-up and cosine decay per step; frozen weights warm up once they are freed."""
        total = self.hparams["total_steps"] or self.trainer.estimated_stepping_batches
        if not 0 < total < float("inf"):
            raise InputError("the learning-rate schedule needs an end: give the Trainer max_epochs or max_steps")
        # One kernel for all weights, and no wait for the GPU where a loss scaler decides whether to step.
        optimizer = torch.optim.AdamW(
            parameter_groups(self.network, self.optim_config), lr=self.optim_config.lr, fused=True
        )
        factor = partial(
            learning_rate_factor, total_steps=int(total), warmup_fraction=self.optim_config.warmup_fraction
        )
        freed = partial(factor, released_at=self._frozen_steps())
        loaded = {id(weight) for backbone in self.network.loaded_backbones for weight in backbone.parameters()}
        each: list[Callable[[int], float]] = [
            freed if id(group["params"][0]) in loaded else factor for group in optimizer.param_groups
        ]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, each)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _frozen_steps(self) -> int:
        """Number of optimiser steps before loaded weights are freed; 0 where nothing is frozen.

        Raises:
            InputError: the loader does not know its length.
        """
        epochs: int = self.hparams["model"].get("freeze_epochs", 0) if "model" in self.hparams else 0
        if not epochs or not self.network.loaded_backbones:
            return 0
        _ = self.trainer.estimated_stepping_batches  # makes the loader
        batches = self.trainer.num_training_batches
        if batches == float("inf"):
            raise InputError("model.freeze_epochs: the training data must know its length, to tell when an epoch ends")
        return epochs * -(-int(batches) // self.trainer.accumulate_grad_batches)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep frozen weights from any step, decay included."""
        if self.network.frozen:
            for backbone in self.network.loaded_backbones:
                for weight in backbone.parameters():
                    weight.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Measure the gradient, and clip it by `optim.gradient_clip_norm` or as the Trainer says; 0 clips nothing.

        By torch's own functions: Lightning refuses to clip for a fused optimiser, because one may unscale 16-mixed's
        gradients itself. Here they are unscaled before they are measured.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
        self.gradient_norm = nn.utils.get_total_norm([weight.grad for weight in weights])
        if gradient_clip_val is None:
            gradient_clip_val, gradient_clip_algorithm = self.optim_config.gradient_clip_norm, "norm"
        if gradient_clip_val <= 0:
            return
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(weights, gradient_clip_val)
        else:
            nn.utils.clip_grads_with_norm_(weights, gradient_clip_val, self.gradient_norm)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, then move the average: before any callback may save a checkpoint."""
        closure = optimizer_closure
        if self.micro_batch is not None and optimizer_closure is not None:
            closure = partial(self.micro_batch.within_memory, optimizer_closure, self, optimizer.zero_grad)
        super().optimizer_step(epoch, batch_idx, optimizer, closure)
        if self.average is not None:
            self.average.update(self.network)

    def freeze_loaded(self, frozen: bool) -> None:
        """Freeze or free the backbones that began from loaded weights."""
        if frozen != self.network.frozen:
            self.network.frozen = frozen
            for backbone in self.network.loaded_backbones:
                backbone.train(not frozen)


def averaged(network: LearningNetwork, optim: OptimConfig) -> WeightAverage | None:
    """The moving average of a network that is yet to learn; None where the settings switch it off."""
    return WeightAverage(network, optim.ema_decay) if optim.ema_decay > 0 else None


def plain_settings(settings: Any) -> dict[str, Any]:
    """Settings as plain dicts, lists, strings and numbers, which checkpoints may hold."""
    values = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else dict(settings)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
