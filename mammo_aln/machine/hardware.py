"""Refuse settings of a training that this machine cannot carry out."""

from __future__ import annotations

import os
from importlib.util import find_spec
from shutil import which

import torch

from mammo_aln.errors import InputError
from mammo_aln.settings import TrainerConfig


def require_hardware(trainer: TrainerConfig) -> None:
    """`InputError` where this machine lacks what the settings ask for."""
    gpus = torch.cuda.device_count()
    if trainer.accelerator == "gpu" and trainer.devices > gpus:
        has = f"{gpus} CUDA device{'' if gpus == 1 else 's'}"
        raise InputError(f"trainer.accelerator=gpu, trainer.devices={trainer.devices}: this machine has {has}")
    if trainer.precision == "16-mixed" and (trainer.accelerator == "cpu" or not gpus):
        raise InputError("trainer.precision=16-mixed needs a GPU; 32-true and bf16-mixed run on a CPU")
    if trainer.compile:
        _require_compiler(on_gpu=trainer.accelerator != "cpu" and gpus > 0)


def _require_compiler(*, on_gpu: bool) -> None:
    """torch.compile writes C++ for a CPU and Triton for a GPU; without their compilers it fails in the first step."""
    if on_gpu and find_spec("triton") is None:
        raise InputError("trainer.compile=true on a GPU needs triton, which is not installed; set it to false")
    if not on_gpu and not any(which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name):
        raise InputError("trainer.compile=true on a CPU needs a C++ compiler (g++ or clang++); set it to false")
