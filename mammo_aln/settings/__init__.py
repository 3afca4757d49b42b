"""Every setting, with its unit in its name; jsonargparse reads them from YAML files and the command line.

>>> from mammo_aln.settings import CropConfig, Settings
>>> Settings(crop=CropConfig(strategy="lesion_margin")).crop.size_px
256
"""

from mammo_aln.settings.cluster import ClusterConfig
from mammo_aln.settings.images import STRATEGIES, CropConfig, PixelConfig, Strategy
from mammo_aln.settings.learning import (
    BACKBONES,
    INPUTS,
    DataConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    Precision,
    PretrainConfig,
    PretrainSettings,
    Settings,
    TrackerName,
    TrainerConfig,
    TrainingSettings,
    reads_images,
)
from mammo_aln.settings.signatures import FitConfig, RadiomicsConfig

__all__ = [
    "BACKBONES",
    "INPUTS",
    "STRATEGIES",
    "ClusterConfig",
    "CropConfig",
    "DataConfig",
    "FitConfig",
    "LogConfig",
    "ModelConfig",
    "OptimConfig",
    "PixelConfig",
    "Precision",
    "PretrainConfig",
    "PretrainSettings",
    "RadiomicsConfig",
    "Settings",
    "Strategy",
    "TrackerName",
    "TrainerConfig",
    "TrainingSettings",
    "reads_images",
]
