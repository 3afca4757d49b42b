"""What numbers a setting may take; told in one line before any work begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mammo_aln.errors import InputError

Limit = tuple[str, Callable[[float], bool]]
FROM_0: Limit = ("0 or more", lambda x: x >= 0)
FROM_1: Limit = ("1 or more", lambda x: x >= 1)
FROM_2: Limit = ("2 or more", lambda x: x >= 2)
ABOVE_0: Limit = ("a number above 0", lambda x: x > 0)
SHARE: Limit = ("a number from 0 to 1", lambda x: 0 <= x <= 1)
BELOW_1: Limit = ("a number from 0 to below 1", lambda x: 0 <= x < 1)
PERCENTILE: Limit = ("a number from 0 to 100", lambda x: 0 <= x <= 100)

LIMITS: dict[str, Limit] = {
    "pixels.percentile_low": PERCENTILE,
    "pixels.percentile_high": PERCENTILE,
    "pixels.max_pixels": FROM_1,
    "crop.size_px": ("8 or more", lambda x: x >= 8),
    "crop.size_mm": ABOVE_0,
    "crop.margin": FROM_0,
    "crop.auxiliary_size_mm": ABOVE_0,
    "crop.peritumoral_scale": ABOVE_0,
    "model.embed_dim": FROM_1,
    "model.drop_rate": BELOW_1,
    "model.modality_dropout": BELOW_1,
    "model.drop_path_rate": BELOW_1,
    "model.freeze_epochs": FROM_0,
    "optim.lr": ABOVE_0,
    "optim.weight_decay": FROM_0,
    "optim.warmup_fraction": SHARE,
    "optim.ema_decay": BELOW_1,
    "optim.label_smoothing": BELOW_1,
    "optim.focal_gamma": FROM_0,
    "optim.gradient_clip_norm": FROM_0,
    "optim.layer_decay": ("a number above 0, at most 1", lambda x: 0 < x <= 1),
    "data.batch_size": FROM_1,
    "data.augment_strength": ("a number from 0 to 3", lambda x: 0 <= x <= 3),
    "data.num_workers": FROM_0,
    "data.max_shift_mm": FROM_0,
    "data.test_time_copies": ("0 to 8", lambda x: 0 <= x <= 8),
    "data.folds": ("0 (the split column), or 2 or more", lambda x: x == 0 or x >= 2),
    "data.fold": FROM_0,
    "data.fold_seed": FROM_0,
    "trainer.max_epochs": FROM_1,
    "trainer.patience": FROM_0,
    "trainer.devices": FROM_1,
    "trainer.num_nodes": FROM_1,
    "pretrain.val_share": ("a number above 0 and below 1", lambda x: 0 < x < 1),
    "pretrain.style_strength": SHARE,
    "pretrain.cross_view_share": SHARE,
    "pretrain.temperature": ABOVE_0,
    "pretrain.projection_dim": FROM_1,
    "pretrain.contrastive_weight": ABOVE_0,
    "fit.alpha": ("a number above 0, at most 1", lambda x: 0 < x <= 1),
    "fit.rho_max": ("a number above 0, at most 1", lambda x: 0 < x <= 1),
    "fit.lasso_folds": ("3 or more", lambda x: x >= 3),
    "fit.icc_min": SHARE,
    "fit.folds": FROM_2,
    "fit.inner_folds": FROM_2,
    "fit.repeats": FROM_1,
    "fit.stability_resamples": FROM_0,
    "fit.bootstrap_resamples": FROM_2,
    "radiomics.bins": ("2 or more", lambda x: x >= 2),
    "radiomics.bin_width": FROM_0,
    "radiomics.deep_size_px": ("64 or more", lambda x: x >= 64),
    "radiomics.seed": FROM_0,
    "seed": FROM_0,
    "workers": FROM_1,
    "slots": FROM_1,
    "slurm": FROM_1,
    "retries": FROM_0,
    "cluster.time_min": FROM_1,
    "cluster.mem_gb": FROM_1,
    "cluster.cpus_per_task": FROM_1,
    "cluster.gpus_per_node": FROM_0,
    "cluster.max_jobs": FROM_1,
    "cluster.requeues": FROM_0,
    "audit": SHARE,
    "drawn": FROM_0,
    "resamples": ("2 or more", lambda x: x >= 2),
    "patients": FROM_1,
    "centers": FROM_1,
    "max_epochs": FROM_1,
}


def refuse_outside_limits(arguments: Mapping[str, Any]) -> None:
    """Check a verb's arguments, those inside dataclasses as `section.key`; what is no number (None, a list) passes.

    Raises:
        InputError: names every number that is outside its limits, and what is allowed.
    """
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        if is_dataclass(value):
            flat |= {f"{name}.{field.name}": getattr(value, field.name) for field in fields(value)}
        else:
            flat[name] = value
    wrong = [
        f"{name}: expected {LIMITS[name][0]}, got {value}"
        for name, value in flat.items()
        if name in LIMITS and isinstance(value, int | float) and not LIMITS[name][1](value)
    ]
    if wrong:
        raise InputError("; ".join(wrong))
