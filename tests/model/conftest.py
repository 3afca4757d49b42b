"""Tiny networks and packed batches for the model room's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

TINY_ARGS = {
    "swinv2": {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "patch_size": 8, "drop_path_rate": 0.0},
    "convnextv2": {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 16]},
    "efficientnetv2": {"channel_multiplier": 0.1, "depth_multiplier": 0.1},
    "resnet50": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_width": 8},
    "densenet121": {"growth_rate": 4, "block_config": [1, 1, 1, 1]},
}
SIZE_PX = 64
NAN = float("nan")


@pytest.fixture
def tiny_args() -> dict[str, dict]:
    return {name: dict(args) for name, args in TINY_ARGS.items()}


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Tensor]]:
    """A batch from (unit, region, view) triples; every crop and clinical vector random, drawn from `seed`."""

    def make(crops: list[tuple[int, int, int]], labels: list[float], *, columns: int = 3, seed: int = 0):
        draw = torch.Generator().manual_seed(seed)
        unit, region, view = torch.tensor(crops, dtype=torch.int64).reshape(-1, 3).unbind(1)
        return {
            "crops": torch.rand(len(crops), 1, SIZE_PX, SIZE_PX, generator=draw),
            "unit": unit,
            "region": region,
            "view": view,
            "clinical": torch.randn(len(labels), columns, generator=draw),
            "label": torch.tensor(labels),
            "index": torch.arange(len(labels)),
        }

    return make


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
