"""Configuration files that come with the product; `python -m mammo_aln.settings.shipped` writes one of them.

`configs/base.yaml` holds every setting of a training with its default and its help, made from the dataclasses.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, write_text
from mammo_aln.settings import Settings
from mammo_aln.settings.bounded_yaml import UnreadableYaml, yaml_values

CONFIG_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
"""Where they lie: inside an installed package, or beside a checkout."""
LONGEST_NAME = 255
"""Bytes of a file's name, on any disk."""
GONE = {
    "gpu.yaml": "is gone: the defaults trainer.precision=auto and data.num_workers=auto fit the machine; leave it out "
    "(it also set data.batch_size=32)",
}
"""Shipped configurations of earlier versions, and what took their place."""
HEAD = """\
# Every setting of `mammo-aln train` with its default: copy it, keep the lines that you change, and give it as
# `--config MINE.yaml`; later files and flags win. Made by `python -m mammo_aln.settings.shipped`.
"""


def find_config(name: str, option: str = "--config ", beside: Path | None = None) -> Path:
    """Find the file as named, or the shipped configuration of that name (`configs/NAME`, `NAME`, or its last part).

    Args:
        name: of the file, from the working folder.
        option: where it was named, for the message.
        beside: the file that names it, whose folder is looked in after the working folder.

    Raises:
        InputError: no such file, or two that differ, in the working folder and beside the one that names it.
    """
    if any(len(os.fsencode(folder)) > LONGEST_NAME for folder in Path(name).parts):
        raise InputError(f"{option}{name[:60]}...: expected the name of a file, of at most {LONGEST_NAME} bytes")
    near = [Path(name)] if beside is None else [Path(name), beside.parent / name]
    there = [path for path in near if path.is_file()]
    if len(there) == 2 and there[0].read_bytes() != there[1].read_bytes():
        raise InputError(
            f"{option}{name}: there are two of that name, {there[0].absolute()} and {there[1].absolute()}, and they"
            " differ; write the whole path of the one that is meant"
        )
    candidates = [*there, *(folder / Path(name) for folder in CONFIG_FOLDERS)]
    parts = Path(name).parts
    if parts and parts[0] == "configs":
        candidates += [folder / Path(*parts[1:]) for folder in CONFIG_FOLDERS]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    for folder in CONFIG_FOLDERS:
        shipped = [path for kind in folder.glob("*") if (path := kind / name).is_file()]
        if len(parts) == 1 and len(shipped) == 1:
            return shipped[0]
    if (gone := GONE.get("/".join(parts).removeprefix("configs/"))) is not None:
        raise InputError(f"{option}{name} {gone}")
    looked = " or ".join(dict.fromkeys(str(path.parent.absolute()) for path in near))
    raise InputError(f"{option}{name}: no such file in {looked}, or among the shipped configurations")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML file, as nested plain values.

    Raises:
        InputError: no YAML (see `bounded_yaml`), a key that stands there twice, or no mapping.
    """
    try:
        content = yaml_values(path) or {}
    except UnreadableYaml as error:
        raise InputError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: expected settings, got {type(content).__name__}")
    return content


def defaults_as_yaml(settings: Settings) -> str:
    """Write settings as YAML, each with its help as a comment."""
    return HEAD + "\n".join(_lines(settings)) + "\n"


def _lines(settings: object, indent: str = "") -> Iterator[str]:
    """Yield a dataclass's values as lines of YAML, help before each."""
    helps = field_helps(type(settings))
    for field in fields(settings):  # type: ignore[arg-type]  # a dataclass, whichever
        value = getattr(settings, field.name)
        yield from textwrap.wrap(
            helps.get(field.name, ""), 118, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        if is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from _lines(value, indent + "  ")
        else:
            text = yaml.safe_dump(json_ready(value), default_flow_style=True, width=1000)
            text = text.removesuffix("...\n").strip()  # the mark of a document's end, behind a lone value
            yield f"{indent}{field.name}: {text}"


def field_helps(kind: type) -> dict[str, str]:
    """Read the help of each field from the docstrings of a dataclass and those above it."""
    from docstring_parser import parse_from_object  # the parser of the command line's help needs it too

    helps: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        entries = parse_from_object(owner).params
        helps |= {entry.arg_name: " ".join((entry.description or "").split()) for entry in entries}
    return helps


if __name__ == "__main__":
    write_text(CONFIG_FOLDERS[1] / "base.yaml", defaults_as_yaml(Settings()))
