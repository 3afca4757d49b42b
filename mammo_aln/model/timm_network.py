"""A network as timm builds it: one channel in, pooled features out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from torch import Tensor, nn


def as_arguments(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments as timm takes them: tuples for the lists of YAML and JSON."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}


@dataclass(frozen=True)
class TimmNetwork:
    """A network of timm before it is built.

    Args:
        name: its name in timm.
        args: its arguments, handed to timm as they are.
    """

    name: str
    args: Mapping[str, Any]

    def create(self) -> nn.Module:
        """Build it with weights at random."""
        return timm.create_model(self.name, pretrained=False, in_chans=1, num_classes=0, **self.args)

    def layout(self) -> dict[str, Tensor]:
        """Name timm's own weights, in their order, of three channels and with a classifier."""
        return timm.create_model(self.name, pretrained=False, **self.args).state_dict()

    def released_weights(self, source: str | Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Weights of timm's release, of a file in its layout, or by its names, as timm makes them for one channel."""
        overlay: dict[str, Any] = {}
        if source is not None:
            overlay = {"file": source} if isinstance(source, str) else {"state_dict": dict(source)}
        network = timm.create_model(
            self.name, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=0, **self.args
        )
        return network.state_dict()
