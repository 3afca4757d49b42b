"""Tell this machine's GPUs and the arithmetic that `auto` means on it, and refuse what it cannot compute."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from shutil import which
from typing import TypeVar

import torch

from mammo_aln.errors import InputError
from mammo_aln.settings import Precision, Settings, TrainerConfig

AnySettings = TypeVar("AnySettings", bound=Settings)

BF16_FROM = (8, 0)
"""CUDA compute capability of the first cards that multiply in bfloat16, and in TF32: Ampere."""


def computes_on_gpu(trainer: TrainerConfig) -> bool:
    """True where a training with these settings computes on CUDA devices of this machine."""
    return trainer.accelerator != "cpu" and torch.cuda.is_available() and torch.cuda.device_count() > 0


def visible_gpus() -> list[str]:
    """Name the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them; none where it hides all."""
    return gpu_names(os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())


def gpu_names(listed: str | None, count: int) -> list[str]:
    """Name `count` devices: the first entries of CUDA_VISIBLE_DEVICES, or numbers where it is not set.

    CUDA reads its list up to the first entry that is no device (`-1`, `NoDevFiles`), so that `count` may be less than
    the entries.
    """
    names = [str(number) for number in range(count)] if listed is None else listed.split(",")
    return [name.strip() for name in names[:count]]


def resolved_precision(trainer: TrainerConfig) -> Precision:
    """Arithmetic of a training on this machine: `trainer.precision`, or what `auto` means here.

    `auto` is bf16-mixed where every GPU in use has bfloat16, else 32-true.
    """
    if trainer.precision != "auto":
        return trainer.precision
    return "bf16-mixed" if computes_on_gpu(trainer) and not _gpus_without_bf16(trainer) else "32-true"


def resolved(settings: AnySettings, *, here: bool = True) -> AnySettings:
    """The settings with the arithmetic that `auto` means on this machine in its place.

    Args:
        settings: all settings.
        here: they compute on this machine; else on nodes of a cluster that this machine plans for.

    Raises:
        InputError: they compute elsewhere, maybe on a GPU, and this machine has none that tells what `auto` means.
    """
    trainer = settings.trainer
    if not here and trainer.precision == "auto" and trainer.accelerator != "cpu" and not computes_on_gpu(trainer):
        raise InputError(
            "trainer.precision=auto: this machine has no GPU, so that it cannot tell the arithmetic of the nodes; "
            "expected --trainer.precision=bf16-mixed (A100, H100 and younger), 16-mixed (older cards) or 32-true; or "
            "--trainer.accelerator=cpu"
        )
    return replace(settings, trainer=replace(trainer, precision=resolved_precision(trainer)))


def require_hardware(trainer: TrainerConfig) -> None:
    """`InputError` where this machine lacks what the settings ask for."""
    gpus = torch.cuda.device_count()
    on_gpu = computes_on_gpu(trainer)
    if (trainer.accelerator == "gpu" or on_gpu) and trainer.devices > gpus:
        has = f"{gpus} CUDA device{'' if gpus == 1 else 's'}"
        raise InputError(
            f"trainer.accelerator={trainer.accelerator}, trainer.devices={trainer.devices}: this machine has {has}; "
            f"expected --trainer.devices={max(1, gpus)}{'' if gpus else ' and --trainer.accelerator=cpu'}"
        )
    if trainer.precision == "16-mixed" and not on_gpu:
        raise InputError("trainer.precision=16-mixed needs a GPU; auto, 32-true and bf16-mixed run on a CPU")
    if trainer.precision == "bf16-mixed" and on_gpu and (cards := _gpus_without_bf16(trainer)):
        raise InputError(
            f"trainer.precision=bf16-mixed: {', '.join(cards)} has no bfloat16 and would imitate it slowly; expected "
            "auto, 16-mixed or 32-true"
        )
    if trainer.compile and (lacks := compiler_lacks(on_gpu=on_gpu)):
        raise InputError(f"trainer.compile=true {lacks}; set it to false")


def _gpus_without_bf16(trainer: TrainerConfig) -> list[str]:
    """Name the GPUs in use that do not multiply in bfloat16."""
    used = range(min(trainer.devices, torch.cuda.device_count()))
    return [
        torch.cuda.get_device_name(number)
        for number in used
        if not has_bf16(torch.cuda.get_device_capability(number), amd=torch.version.hip is not None)
    ]


def has_bf16(capability: tuple[int, int], *, amd: bool = False) -> bool:
    """True where a card of this compute capability multiplies in bfloat16; torch's AMD cards all do."""
    return amd or capability >= BF16_FROM


def compiler_lacks(*, on_gpu: bool) -> str:
    """Say which compiler torch.compile lacks on this machine, empty where none: Triton for a GPU, C++ for a CPU."""
    if on_gpu and find_spec("triton") is None:
        return "on a GPU needs triton, which is not installed"
    if not on_gpu and not any(which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name):
        return "on a CPU needs a C++ compiler (g++ or clang++)"
    return ""
