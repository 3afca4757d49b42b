"""Seconds of a training step, timed on black crops: of a cell's network, and of a pre-training's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from mammo_aln.machine.hardware import computes_on_gpu
from mammo_aln.settings import PretrainSettings, Settings
from mammo_aln.sweeps.planning.room import blank_batch
from mammo_aln.training.build import build_model
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.pretraining.module import PretrainNetwork


def step_seconds(settings: Settings, data: MammoDataModule, patients: int, crops: int, threads: int) -> float:
    """Time a step of a cell's network: forward, backward, optimiser.

    Args:
        settings: of a cell.
        data: its data module.
        patients: patients of the step.
        crops: crops of each.
        threads: on the CPU.
    """
    device = _device(settings)
    module = build_model(settings, data).to(device).train()
    batch = {k: v.to(device) for k, v in blank_batch(module, settings.crop.size_px, patients, crops).items()}
    return _seconds_of_second(module.network, lambda: module(batch).sum(), device, threads)


def pretraining_step_seconds(settings: PretrainSettings, crops: int, threads: int) -> float:
    """Time a step of a pre-training's network on so many crops, with an output for each label."""
    device = _device(settings)
    model = replace(settings.model, pretrained=False)
    outputs = max(1, len(settings.pretrain.labels))
    network = PretrainNetwork(model, settings.pretrain, outputs, settings.crop.size_px).to(device).train()
    batch = torch.zeros(crops, 1, settings.crop.size_px, settings.crop.size_px, device=device)

    def forward() -> Tensor:
        return torch.stack([values.sum() for values in network(batch) if values is not None]).sum()

    return _seconds_of_second(network, forward, device, threads)


def _device(settings: Settings) -> torch.device:
    return torch.device("cuda" if computes_on_gpu(settings.trainer) else "cpu")


def _seconds_of_second(network: nn.Module, forward: Callable[[], Tensor], device: torch.device, threads: int) -> float:
    """Time the second of two steps; the first one makes the optimiser's moments, and warms up."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    seconds = math.nan
    try:
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
        for _ in range(2):
            begun = time.perf_counter()
            forward().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begun
    finally:
        torch.set_num_threads(before)
    return seconds
