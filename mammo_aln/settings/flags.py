"""Flags of a verb: the parameters of its function, and the fields of those that are settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mammo_aln.settings import TrainingSettings

GIVEN = "given"
"""Parameter that is no flag: it gets what the words gave, as nested plain values without defaults."""


def settings_of(function: Callable[..., Any]) -> tuple[str, type[TrainingSettings]] | None:
    """Find the parameter that holds a training's settings, whose sections are flags without its name before them."""
    hints = get_type_hints(function)
    return next((item for item in hints.items() if isinstance(item[1], type) and issubclass(item[1], TrainingSettings)),
                None)  # fmt: skip


def flags_of(function: Callable[..., Any]) -> dict[str, Any]:
    """List the flags of a function, `name` or `section.key`, each with its type."""
    hints = {name: hint for name, hint in get_type_hints(function).items() if name not in ("return", GIVEN)}
    flat = settings_of(function)
    if flat is not None:
        del hints[flat[0]]
        hints |= get_type_hints(flat[1])
    flags: dict[str, Any] = {}
    for name, hint in hints.items():
        if is_dataclass(hint):
            flags |= {f"{name}.{key}": kind for key, kind in get_type_hints(hint).items()}
        else:
            flags[name] = hint
    return flags


def choices_of(hint: Any) -> tuple[str, ...]:
    """List the words that a flag of this type may take, where they can be listed."""
    if hint is bool:
        return ("true", "false")
    if get_origin(hint) is Literal:
        return tuple(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (UnionType, Union, tuple):
        return tuple(dict.fromkeys(choice for kind in get_args(hint) for choice in choices_of(kind)))
    return ()
