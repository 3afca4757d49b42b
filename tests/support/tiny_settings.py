"""Networks so small that a test trains them in a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig

TINY: dict[str, dict[str, Any]] = {
    "swinv2": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
    "convnextv2": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    "efficientnetv2": {"channel_multiplier": 0.1, "depth_multiplier": 0.1},
    "resnet50": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_width": 8},
    "densenet121": {"growth_rate": 4, "block_config": [1, 1, 1, 1]},
}


def tiny_settings(
    backbone: str = "resnet50", *, epochs: int = 1, strategy: str = "fixed_5cm", **model: Any
) -> Settings:
    return Settings(
        crop=CropConfig(strategy=strategy, size_px=64, auxiliary=("axilla",)),
        model=replace(ModelConfig(backbone=backbone, backbone_args=TINY[backbone], embed_dim=8), **model),
        data=DataConfig(batch_size=8),
        trainer=TrainerConfig(max_epochs=epochs, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
        seed=1,
    )
