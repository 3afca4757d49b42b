"""The untrained network that all settings of a run describe."""

from __future__ import annotations

from dataclasses import asdict

import torch

from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.settings import Settings
from mammo_aln.training.data.datamodule import MammoDataModule


def build_model(settings: Settings, data: MammoDataModule) -> AxillaryClassifier:
    """The untrained network for these settings and this cohort; its weights depend on `settings.seed` alone."""
    torch.manual_seed(settings.seed)
    return AxillaryClassifier(
        asdict(settings.model),
        asdict(settings.optim),
        regions=list(data.regions),
        clinical_columns=list(data.clinical_columns),
        size_px=settings.crop.size_px,
    )
