"""Tables and YAML as text: every cell a string, every fault collected."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias, cast

from mammo_aln.errors import BadCell
from mammo_aln.settings.bounded_yaml import UnreadableYaml, yaml_texts
from mammo_aln.spreadsheet.text_table import read_text_table

__all__ = ["read_text_table", "read_text_yaml", "split_numbers"]

Yaml: TypeAlias = "str | list[Yaml] | dict[str, Yaml]"


def read_text_yaml(path: Path, faults: list[BadCell]) -> dict[str, Yaml]:
    """Read a YAML mapping whose scalars all stay strings (`no`, `007`, `1.0` as they stand)."""
    try:
        content = cast("Yaml | None", yaml_texts(path))
    except UnreadableYaml as error:
        where = f"line {error.line}" if error.line else "the file"
        faults.append(BadCell(path.name, None, where, error.problem, "YAML in UTF-8"))
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
