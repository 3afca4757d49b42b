"""A backbone of the user's own: any module that maps one-channel crops to features."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mammo_aln.errors import InputError

OWN_BACKBONE = "own"
"""Stands in the settings of a network whose backbone was handed over as an object."""
EXPECTED = "expected features (n, features) or feature maps (n, features, h, w) of crops (n, 1, {size}, {size})"

Factory = Callable[[], nn.Module]


class OwnBackbone(nn.Module):
    """The user's module; feature maps are averaged over their places, its input normalisation is its own.

    Args:
        own: a module, of which each encoder gets a copy, or a call that makes one.
        size_px: side of the crops in pixels.

    Attributes:
        features: width of a feature vector.
        loaded: False: it learns from the first step, whatever weights it brings.

    Raises:
        InputError: the module does not map crops to features.
    """

    loaded = False

    def __init__(self, own: nn.Module | Factory, size_px: int) -> None:
        super().__init__()
        body = copy.deepcopy(own) if isinstance(own, nn.Module) else own()
        if not isinstance(body, nn.Module):
            raise InputError(f"backbone: the factory returned {type(body).__name__}, expected a torch.nn.Module")
        self.body = body
        self.features = self._probed(size_px)

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (N, 1, S, S) in [0, 1] to features (N, `features`), float32."""
        features = self.body(crops)
        return (features.mean(dim=(2, 3)) if features.ndim == 4 else features).float()

    def _probed(self, size_px: int) -> int:
        """Width of the features of two empty crops."""
        expected = EXPECTED.format(size=size_px)
        name, learning = type(self.body).__name__, self.body.training
        try:
            with torch.no_grad():
                features = self.body.eval()(torch.zeros(2, 1, size_px, size_px))
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise InputError(f"backbone {name}: {expected}; it fails on two of them: {error}") from error
        self.body.train(learning)
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        if not isinstance(features, Tensor) or features.ndim not in (2, 4) or features.shape[0] != 2:
            raise InputError(f"backbone {name}: {expected}; two of them gave {shape}")
        return int(features.shape[1])
