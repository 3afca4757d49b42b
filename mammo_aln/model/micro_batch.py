"""The largest number of patients computed at once: halved where memory does not suffice, and the step repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import Metric

from mammo_aln.errors import InputError
from mammo_aln.model.backbones import LearningNetwork
from mammo_aln.model.batch_statistics import FeatureNorm
from mammo_aln.model.ranks import global_rank, world_size
from mammo_aln.settings.steps import StepShape

SMALLER = "--model.grad_checkpointing=true, a smaller --crop.size_px, or a smaller --data.batch_size"


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
"""Words of the errors of torch's allocators, of cuDNN and cuBLAS."""


class MicroBatch:
    """A rank's patients of a step, and how many of them are computed at once.

    Args:
        step: the step as the settings deal it out.
        at_once: patients at once to begin with, no more than the step's.
        remember: called with the number of patients when it was halved.
    """

    def __init__(self, step: StepShape, at_once: int, remember: Callable[[int], None]) -> None:
        self.step, self.remember = step, remember
        self.at_once = min(at_once, step.at_once)
        self._applied = 0

    @property
    def parts(self) -> int:
        """Number of parts that a rank's patients are computed in."""
        return -(-self.step.per_rank // self.at_once)

    def within_memory(self, closure: Callable[[], Any], module: pl.LightningModule, again: Callable[[], None]) -> Any:
        """Compute a step's gradients, with ever fewer patients at once until memory suffices; returns the loss.

        Args:
            closure: computes loss and gradients.
            module: what the closure trains.
            again: called before the step is repeated.
        """
        while True:
            if self._applied != self.parts:
                self._applied = self.parts
                for network in [each for each in module.modules() if isinstance(each, LearningNetwork)]:
                    network.parts = self.parts
            state = StepState(module) if self.step.may_halve else None
            hook = module._current_fx_name
            try:
                return closure()
            except RuntimeError as error:
                if not any(words in str(error) for words in OUT_OF_MEMORY):
                    raise
                self._halve(error)
            # Behind the handler: what the error's frames hold is free by now.
            module._current_fx_name = hook
            if state is not None:
                state.put_back()
            again()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()

    def _halve(self, error: RuntimeError) -> None:
        """Take half as many patients from now on.

        Raises:
            InputError: another number is another result, or one patient alone is too much.
            torch.OutOfMemoryError: other ranks are within the step, which cannot be repeated.
        """
        first = str(error).splitlines()[0]
        if self.at_once == 1:
            raise InputError(f"out of memory with one patient at a time: {SMALLER} ({first})") from error
        half = -(-self.at_once // 2)
        if not self.step.may_halve:
            raise InputError(
                f"out of memory with {self.at_once} patients at once; fewer may give another result, as the backbone"
                f" may have batch normalisation, or data.micro_batch is set: --data.micro_batch={half} says that you"
                f" want that; or {SMALLER} ({first})"
            ) from error
        self.at_once = half
        self.remember(half)
        if world_size() > 1:
            raise torch.OutOfMemoryError(
                f"out of memory on rank {global_rank()}, while other ranks were within the step; the same command goes"
                f" on with {half} patients at once ({first})"
            ) from error


class StepState:
    """Whatever a step changes before its gradients are complete, to be put back where it is to be repeated.

    Running statistics inside backbones are not among it: a backbone that has any is never halved.
    """

    def __init__(self, module: pl.LightningModule) -> None:
        self._draws = torch.get_rng_state()
        self._device_draws = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        network: torch.nn.Module = module.network  # type: ignore[assignment]
        norms = [norm for norm in network.modules() if isinstance(norm, FeatureNorm)]
        own = [buffer for norm in norms for buffer in norm.buffers()]
        own += [buffer for _, buffer in module.named_buffers(recurse=False)]
        self._buffers = [(buffer, buffer.clone()) for buffer in own]
        metrics = [child for child in module.children() if isinstance(child, Metric)]
        self._metrics: list[tuple[Any, str, Tensor]] = [
            (metric, name, value.clone())
            for metric in metrics
            for name, value in metric.metric_state.items()
            if isinstance(value, Tensor)
        ]

    def put_back(self) -> None:
        """Make all of it what it was."""
        torch.set_rng_state(self._draws)
        if self._device_draws is not None:
            torch.cuda.set_rng_state(self._device_draws)
        for buffer, before in self._buffers:
            buffer.copy_(before)
        for metric, name, before in self._metrics:
            setattr(metric, name, before)
