"""The pace of a training: patients per second, share of the time spent waiting for data, GPU memory."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch


class Throughput(pl.Callback):
    """Measures the training part of an epoch, validation left out.

    Waiting is the time in which this process asks its loader for a batch and moves it to the device. On a GPU the
    previous step's kernels may still run meanwhile, so that the figure is an upper bound of the GPU's idling.
    """

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self._begun = self._batch_done = self._waited_s = 0.0
        self._patients = self._ranks = 0
        self._on_gpu = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock: a run that goes on within an epoch has no start of that epoch."""
        self._ranks = trainer.world_size
        self._on_gpu = pl_module.device.type == "cuda"
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(pl_module.device)  # a slot's process trains cell after cell
        self._restart()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock anew."""
        self._restart()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Whatever passed since the last step was waiting."""
        self._waited_s += time.perf_counter() - self._batch_done

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note when the step ended."""
        self._patients += self._ranks * len(batch["index"])
        self.begin_wait()

    def begin_wait(self) -> None:
        """Count from now on as waiting for data, after a step and what followed it, such as a checkpoint."""
        self._batch_done = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Training of this epoch is over: take its figures."""
        if not trainer.sanity_checking:
            self.figures = self.so_far(complete=True)

    def so_far(self, *, complete: bool = False) -> dict[str, float]:
        """Figures of the steps of this epoch: seconds, patients per second over all ranks, seconds waited.

        With `complete`, the kernels of the last steps are waited for: at the end of an epoch, never within it.
        """
        if self._on_gpu and complete:
            torch.cuda.synchronize()
            self._batch_done = max(self._batch_done, time.perf_counter())
        seconds = self._batch_done - self._begun
        if not self._patients or seconds <= 0:
            return {}
        figures = {
            "train_s": seconds,
            "train_patients_per_s": self._patients / seconds,
            "data_wait_s": self._waited_s,
        }
        if self._on_gpu:
            figures["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        return figures

    def _restart(self) -> None:
        self._begun = self._batch_done = time.perf_counter()
        self._waited_s, self._patients = 0.0, 0


def in_words(figures: dict[str, float]) -> str:
    """Figures for a progress bar; empty where none were taken."""
    if not figures:
        return ""
    words = (
        f"{figures['train_patients_per_s']:.1f} patients/s, "
        f"{100 * figures['data_wait_s'] / figures['train_s']:.0f} % of the time waiting for data"
    )
    return words + (f", {figures['gpu_memory_gb']:.1f} GB of GPU memory" if "gpu_memory_gb" in figures else "")
