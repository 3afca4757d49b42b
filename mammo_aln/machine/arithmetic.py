"""Float32 products in TF32 and deterministic kernels: settings of a process, held for one block and put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mammo_aln.errors import InputError
from mammo_aln.machine.hardware import computes_on_gpu
from mammo_aln.settings import TrainerConfig

NO_KERNEL = "does not have a deterministic implementation"
"""Words of torch's error where an operation has no deterministic kernel."""


@contextmanager
def arithmetic(trainer: TrainerConfig, *, on_gpu: bool | None = None) -> Iterator[None]:
    """Compute in this block as the settings say.

    A GPU multiplies float32 matrices in TF32 (10 bits of mantissa), as torch's convolutions there do anyway; a CPU is
    left as it is: "high" may choose other kernels there too. A process trains several cells, so that all is put back.

    Args:
        trainer: the settings; `deterministic` has torch refuse every kernel whose sums come in a changing order.
        on_gpu: whether the block computes on CUDA; by default as `trainer` does on this machine.

    Raises:
        InputError: `trainer.deterministic`, and an operation of the block has no deterministic kernel.
    """
    products, strict = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    on_gpu = computes_on_gpu(trainer) if on_gpu is None else on_gpu
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    if trainer.deterministic:
        # cuBLAS adds in one order only with this; it is read when a process first multiplies on a GPU.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if trainer.deterministic and NO_KERNEL in str(error):
            operation = str(error).split(NO_KERNEL)[0].strip()
            raise InputError(
                f"trainer.deterministic=true: {operation} has no deterministic kernel on this device; expected false, "
                "or a network without it"
            ) from error
        raise
    finally:
        if on_gpu:
            torch.set_float32_matmul_precision(products)
        if trainer.deterministic:
            torch.use_deterministic_algorithms(strict, warn_only=warns)
