"""The room that a sweep's networks take: disk of their checkpoints, memory of a slot, time of a forward pass."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mammo_aln.errors import InputError
from mammo_aln.machine.memory import free_memory_gb
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.progress import counted, say
from mammo_aln.settings import TrainerConfig

WEIGHT_GB = 4e-9
"""A weight in a checkpoint, float32. `best.ckpt` holds one network."""

PROCESS_GB = 1.0
"""Memory of a slot's process before its network: the libraries and a batch of crops."""


@dataclass(frozen=True)
class Network:
    """A cell's network, built once.

    Attributes:
        fault: why it cannot be built, or None.
        parameters: number of its weights.
        step_s: processor time of one forward pass of two crops.
        keeps_optimiser: `last.ckpt` of a finished run keeps AdamW's moments.
    """

    fault: str | None
    parameters: int = 0
    step_s: float = 0.0
    keeps_optimiser: bool = False

    @property
    def checkpoint_gb(self) -> float:
        """Weights, their moving average and AdamW's two moments."""
        return 4 * WEIGHT_GB * self.parameters

    def finished_gb(self, *, pruned: bool) -> float:
        """Disk of a finished run: `best.ckpt`, and `last.ckpt` (moments only on request) unless it is pruned."""
        last = 0 if pruned else 4 if self.keeps_optimiser else 2
        return (1 + last) * WEIGHT_GB * self.parameters

    @property
    def running_gb(self) -> float:
        """Disk of a run that trains: `last.ckpt` and `best.ckpt`, each twice while it is written anew."""
        return 2 * self.checkpoint_gb + 2 * WEIGHT_GB * self.parameters

    @property
    def memory_gb(self) -> float:
        """Memory of one slot: the checkpoint's content, gradients and activations of as much again, its snapshot."""
        return PROCESS_GB + 3 * self.checkpoint_gb


def disk_of(network: Network, trainer: TrainerConfig) -> Network:
    """Give a network whose files are those that a cell's trainer keeps."""
    return replace(network, keeps_optimiser=trainer.keep_optimiser)


def require_room(waiting: Sequence[tuple[Network, bool]], out: Path, slots: int, elsewhere: int = 0) -> None:
    """Tell what a sweep takes of the disk, and refuse one that this machine has no room for.

    Args:
        waiting: of each cell that is to be trained, its network and whether its checkpoints are pruned.
        out: folder of the sweep.
        slots: cells that train at once on this machine; 0 where they train elsewhere.
        elsewhere: so many train at once there; 0 where it may be all of them.

    Raises:
        InputError: the disk cannot hold the checkpoints, or memory not that many slots.
    """
    networks = [network for network, _ in waiting]
    at_once = min(slots or elsewhere or len(waiting), len(waiting))
    needed_gb = disk_gb(waiting, at_once)
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free_gb = shutil.disk_usage(there).free / 1e9
    if needed_gb > free_gb:
        pruned_gb = disk_gb([(network, True) for network in networks], at_once)
        raise InputError(
            f"--out {out}: the checkpoints of {counted(len(waiting), 'cell')} need about {needed_gb:.3g} GB, "
            f"{free_gb:.3g} GB are free; choose another disk"
            + (f", or --trainer.prune=true: {pruned_gb:.3g} GB" if pruned_gb < free_gb else "")
        )
    if waiting:
        left_gb = sum(network.finished_gb(pruned=pruned) for network, pruned in waiting)
        say(
            f"checkpoints of {counted(len(waiting), 'cell')}: about {left_gb:.2g} GB when all are completed, at most"
            f" {needed_gb:.2g} GB meanwhile; {free_gb:.3g} GB are free"
        )
    memory_gb = max((network.memory_gb for network in networks), default=0.0)
    has_gb = free_memory_gb()
    if slots > 1 and slots * memory_gb > has_gb and not torch.cuda.is_available():
        fits = max(1, int(has_gb / memory_gb))
        raise InputError(
            f"--slots {slots}: each needs about {memory_gb:.1f} GB of memory, {has_gb:.1f} GB are free; "
            f"--slots {fits} fits"
        )


def disk_gb(waiting: Sequence[tuple[Network, bool]], at_once: int) -> float:
    """Disk that cells need at most: the largest train at once while the others have left what they leave."""
    cells = sorted(waiting, key=lambda cell: cell[0].parameters, reverse=True)
    running = sum(network.running_gb for network, _ in cells[:at_once])
    return running + sum(network.finished_gb(pruned=pruned) for network, pruned in cells[at_once:])


def blank_batch(module: AxillaryClassifier, size_px: int, patients: int = 2, crops: int = 1) -> dict[str, Tensor]:
    """Make a batch of black crops.

    Args:
        module: the network that reads it; one that reads no image gets no crop.
        size_px: side of a crop.
        patients: number of patients.
        crops: primary crops of each patient.
    """
    reads = "primary" in module.hparams["model"]["inputs"]
    unit = torch.arange(patients).repeat_interleave(crops if reads else 0)
    return {
        "crops": torch.zeros(len(unit), 1, size_px, size_px),
        "unit": unit,
        "region": torch.zeros(len(unit), dtype=torch.long),
        "view": torch.zeros(len(unit), dtype=torch.long),
        "clinical": torch.zeros(patients, len(module.hparams["clinical_columns"])),
        "label": torch.zeros(patients),
        "index": torch.arange(patients),
    }


def forward_s(module: AxillaryClassifier, size_px: int) -> float:
    """Processor time of one forward pass of two patients with one primary crop each."""
    batch = blank_batch(module, size_px)
    begun = time.process_time()
    with torch.no_grad():
        module.eval()(batch)
    return time.process_time() - begun
