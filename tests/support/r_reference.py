"""Reference values of R: loading, comparing within the tolerances of the reference folder, and noting what was read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

FOLDER = Path(__file__).resolve().parents[1] / "data" / "r_reference"
FAMILIES: dict[str, list[str]] = {}
for _path in sorted(FOLDER.glob("*.json")):
    FAMILIES.setdefault(json.loads(_path.read_text())["family"], []).append(_path.stem)


def load(name: str) -> tuple[Any, pd.DataFrame]:
    """Results and input of a case."""
    return json.loads((FOLDER / f"{name}.json").read_text())["results"], pd.read_csv(FOLDER / f"{name}.csv")


def number(value: Any) -> float:
    words = {"Inf": math.inf, "-Inf": -math.inf, "NaN": math.nan, "NA": math.nan}
    return words[value] if isinstance(value, str) else value


def same(found: float, reference: Any, relative: float = 1e-6) -> None:
    reference = number(reference)
    if not math.isfinite(reference):
        assert found == reference or (math.isnan(found) and math.isnan(reference))
        return
    assert abs(found - reference) <= relative * max(abs(reference), 1e-3), (found, reference)


def all_same(found: Any, reference: Any, relative: float = 1e-6) -> None:
    for one, other in zip(found, reference, strict=True):
        same(float(one), other, relative)


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Every result of a case as a path, places of lists left out: `ece[].mce`. A list of numbers is one result."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for item in value:
            yield from leaves(item, f"{path}[]")
    else:
        yield path


class NotedDict(dict):
    """A JSON object that notes in `seen` which of its results a test has read."""

    def __init__(self, value: dict[str, Any], path: str, seen: set[str]) -> None:
        super().__init__({key: noted(item, f"{path}.{key}" if path else key, seen) for key, item in value.items()})
        self._path, self._seen = path, seen

    def _read(self, key: str) -> None:
        if key in self and not isinstance(dict.__getitem__(self, key), NotedDict | NotedList):
            self._seen.add(f"{self._path}.{key}" if self._path else key)

    def __getitem__(self, key: str) -> Any:
        self._read(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._read(key)
        return super().get(key, default)

    def items(self) -> Any:
        for key in self:
            self._read(key)
        return super().items()

    def values(self) -> Any:
        return dict(self.items()).values()


class NotedList(list):
    """A list of JSON objects that note what is read."""


def noted(value: Any, path: str, seen: set[str]) -> Any:
    if isinstance(value, dict):
        return NotedDict(value, path, seen)
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return NotedList(noted(item, f"{path}[]", seen) for item in value)
    return value
