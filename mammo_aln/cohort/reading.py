"""Tables and YAML as text: every cell a string, every fault collected."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import yaml

from mammo_aln.errors import BadCell
from mammo_aln.spreadsheet.text_table import read_text_table

__all__ = ["read_text_table", "read_text_yaml", "split_numbers"]

Yaml: TypeAlias = "str | list[Yaml] | dict[str, Yaml]"


def read_text_yaml(path: Path, faults: list[BadCell]) -> dict[str, Yaml]:
    """Read a YAML mapping whose scalars all stay strings (`no`, `007`, `1.0` as they stand)."""
    try:
        # BaseLoader builds strings, lists and mappings only: safe, and the level `no` does not become False.
        content = yaml.load(path.read_bytes().decode("utf-8-sig"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the file"
        faults.append(BadCell(path.name, None, where, getattr(error, "problem", type(error).__name__), "YAML in UTF-8"))
        return {}
    if content in (None, ""):
        return {}
    if not isinstance(content, dict):
        faults.append(BadCell(path.name, None, "content", type(content).__name__, "a mapping of keys to values"))
        return {}
    return content


def split_numbers(cell: object) -> tuple[float, ...]:
    """Read the numbers of a cell such as `0.6 0.6 2.0`; empty where one of them is none."""
    try:
        return tuple(map(float, str(cell).replace(";", " ").split()))
    except ValueError:
        return ()
