"""Configuration files that come with the product, found by name."""

from __future__ import annotations

from pathlib import Path

from mammo_aln.errors import InputError

CONFIG_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
"""Where they lie: inside an installed package, or beside a checkout."""


def find_config(name: str, told_as: str = "--config ") -> Path:
    """The file as named, or the shipped configuration of that name (`configs/NAME` or `NAME`)."""
    candidates = [Path(name), *(folder / Path(name) for folder in CONFIG_FOLDERS)]
    parts = Path(name).parts
    if parts and parts[0] == "configs":
        candidates += [folder / Path(*parts[1:]) for folder in CONFIG_FOLDERS]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(f"{told_as}{name}: no such file, here or among the shipped configurations")
