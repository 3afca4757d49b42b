"""A run's identity: a hash of the settings that shape the result, of what the cohort holds and of the code's versions.

Workers, devices, paths, file times and W&B do not enter, so that the same cell never trains twice, wherever it runs.
Where a step is computed on several devices or in parts, that enters as far as it shapes the result (`shaping_step`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mammo_aln import __version__
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready
from mammo_aln.settings import DataConfig, PretrainSettings, Settings
from mammo_aln.settings.steps import shaping_step

LEARNING_VERSION = 4
"""Raise this when a training of the same settings, tables and crops learns otherwise: other draws, rates or windows."""


WITHOUT_INFLUENCE: dict[str, tuple[str, ...]] = {
    # settings that change where or how fast a run is computed, not what it computes beyond `shaping_step`
    "pixels": ("max_pixels", "decode_timeout_s"),
    "data": ("num_workers", "micro_batch", "device_gb", "stage"),
    "optim": ("accumulate",),
    "trainer": (
        "accelerator",
        "devices",
        "num_nodes",
        "sync_batchnorm",
        "compile",
        "deterministic",
        "save_every_s",
        "prune",
        "keep_optimiser",
    ),
    "log": ("wandb", "project", "tracker", "pictures"),
}


AUXILIARY_ONLY = ("auxiliary", "auxiliary_strategy", "auxiliary_size_mm", "peritumoral_scale")


FOLDS_ONLY = ("folds", "fold", "fold_seed")


YOUNGER_THAN_RUN_IDS = ("augment_engine", "flip_horizontal", "flip_vertical")
"""Settings of the data that enter where they are not the default."""


OUTCOME_ONLY = ("fusion", "shared_backbone", "modality_dropout")
"""Settings of the network that a pre-training does not build."""


def shaping_settings(settings: Settings) -> dict[str, Any]:
    """The settings that shape a run's result, as plain nested dicts in one canonical form."""
    plain = json_ready(asdict(settings))
    for section, keys in WITHOUT_INFLUENCE.items():
        for key in keys:
            plain[section].pop(key)
    if settings.trainer.precision == "auto":
        from mammo_aln.machine.hardware import resolved_precision  # torch takes seconds to import

        plain["trainer"]["precision"] = resolved_precision(settings.trainer)
    if step := shaping_step(settings):
        plain["step"] = step
    inputs = plain["model"]["inputs"] = sorted(plain["model"]["inputs"])
    if inputs == ["clinical"]:
        del plain["crop"], plain["pixels"]
    elif "auxiliary" not in inputs:
        for key in AUXILIARY_ONLY:
            plain["crop"].pop(key)
    if len(inputs) == 1:
        plain["optim"]["unimodal_weight"] = 0.0
    if settings.optim.loss != "focal":
        plain["optim"].pop("focal_gamma")
    for key in YOUNGER_THAN_RUN_IDS:
        if getattr(settings.data, key) == getattr(DataConfig, key):
            plain["data"].pop(key)
    if not settings.data.folds:
        for key in FOLDS_ONLY:
            plain["data"].pop(key)
    if isinstance(settings, PretrainSettings):
        for key in OUTCOME_ONLY:
            plain["model"].pop(key)
        plain["optim"].pop("unimodal_weight")
    if isinstance(plain["model"]["pretrained"], str):
        plain["model"]["pretrained"] = "sha256:" + file_digest(settings.model.pretrained)
    return plain


@dataclass(frozen=True)
class RunIdentity:
    """All that a run id is made from.

    Args:
        package_version: version of this package.
        learning_version: see `LEARNING_VERSION`.
        settings: see `shaping_settings`.
        cohort: digest of the cohort's tables.
        crops: digest of the content keys of every crop that the run may read.
    """

    package_version: str
    learning_version: int
    settings: Mapping[str, Any]
    cohort: str
    crops: str

    @property
    def run_id(self) -> str:
        """12 hex digits."""
        return hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()[:12]


def learning_code() -> str:
    """Name what a run's id knows of the code: version of the package and of its learning."""
    return f"version {__version__}, learning {LEARNING_VERSION}"


def run_identity(settings: Settings, cohort_content: str, crop_keys: list[str]) -> RunIdentity:
    """Identify a run.

    Args:
        settings: all settings.
        cohort_content: digest of the cohort's tables.
        crop_keys: content keys of every crop that the run may read; each covers file content, pixel recipe and window.
    """
    crops = hashlib.sha256("\n".join(sorted(crop_keys)).encode()).hexdigest()
    return RunIdentity(__version__, LEARNING_VERSION, shaping_settings(settings), cohort_content, crops)


def file_digest(path: str | Path | bool) -> str:
    """SHA-256 of a file's bytes; `InputError` where it does not exist."""
    try:
        with Path(str(path)).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; a readable file was expected") from error
