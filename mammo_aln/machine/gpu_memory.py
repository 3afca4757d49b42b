"""Memory of CUDA devices: what is free, and what this process gives back between two trainings."""

from __future__ import annotations

import gc


def free_gpu_memory_gb(device: str) -> float:
    """Gigabytes (1e9 bytes) that are free on a device.

    Args:
        device: its entry in CUDA_VISIBLE_DEVICES, as `hardware.visible_gpus` names it.
    """
    import torch

    from mammo_aln.machine.hardware import visible_gpus

    free, _ = torch.cuda.mem_get_info(visible_gpus().index(device))
    return free / 1e9


def release_gpu_memory() -> None:
    """Give back what torch keeps of ended trainings: the cache of one process is what another one lacks."""
    import torch

    gc.collect()  # a trainer, its module and its loops refer to one another
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
