"""The exact steps from stored to display pixels: ordered, plain JSON, with a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TypeAlias

from mammo_aln.files import json_ready

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Step: TypeAlias = "tuple[str, dict[str, Json]]"


@dataclass(frozen=True)
class PixelRecipe:
    """Ordered steps from stored values to display values.

    Args:
        steps: pairs of a step's name and its parameters.
    """

    steps: tuple[Step, ...] = ()

    def then(self, name: str, **parameters: object) -> PixelRecipe:
        """Return a recipe with one more step."""
        return PixelRecipe((*self.steps, (name, json_ready(parameters))))

    def cards(self) -> list[dict[str, Json]]:
        """The steps as `[{"name": ..., "parameters": {...}}, ...]`."""
        return [{"name": name, "parameters": parameters} for name, parameters in self.steps]

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, no spaces, so that equal recipes are equal texts."""
        return json.dumps(self.cards(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]
