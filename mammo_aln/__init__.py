"""Predict axillary lymph-node status after neoadjuvant therapy from pre-treatment mammograms.

In Python: `index` and `evaluate` are the verbs of that name, `load(run).predict(cohort)` scores a cohort,
`MammoDataModule` and `AxillaryClassifier` go into an own Lightning `Trainer`, and the settings are frozen dataclasses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mammo_aln.inference.loaded import load
    from mammo_aln.model.classifier import AxillaryClassifier
    from mammo_aln.settings import (
        CropConfig,
        DataConfig,
        LogConfig,
        ModelConfig,
        OptimConfig,
        PixelConfig,
        Settings,
        TrainerConfig,
    )
    from mammo_aln.training.data.datamodule import MammoDataModule
    from mammo_aln.verbs import evaluate, index

__version__ = "0.1.0"
__all__ = [
    "AxillaryClassifier",
    "CropConfig",
    "DataConfig",
    "LogConfig",
    "MammoDataModule",
    "ModelConfig",
    "OptimConfig",
    "PixelConfig",
    "Settings",
    "TrainerConfig",
    "__version__",
    "evaluate",
    "index",
    "load",
]

_HOMES = {
    "AxillaryClassifier": "mammo_aln.model.classifier",
    "MammoDataModule": "mammo_aln.training.data.datamodule",
    "evaluate": "mammo_aln.verbs",
    "index": "mammo_aln.verbs",
    "load": "mammo_aln.inference.loaded",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `mammo-aln --help` must not wait for torch.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOMES.get(name, "mammo_aln.settings")), name)
    raise AttributeError(f"module 'mammo_aln' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
