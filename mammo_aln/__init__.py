"""Predict axillary lymph-node status after neoadjuvant therapy from pre-treatment mammograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mammo_aln.model.classifier import AxillaryClassifier
    from mammo_aln.training.data.datamodule import MammoDataModule

__version__ = "0.1.0"
__all__ = ["AxillaryClassifier", "MammoDataModule", "__version__"]

_HOMES = {
    "AxillaryClassifier": "mammo_aln.model.classifier",
    "MammoDataModule": "mammo_aln.training.data.datamodule",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `mammo-aln --help` must not wait for torch.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mammo_aln' has no attribute {name!r}")
