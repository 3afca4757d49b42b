"""Settings as they are stored: nested plain values, and the dataclasses made of them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast, get_origin, get_type_hints

from mammo_aln.files import json_ready
from mammo_aln.settings import Settings

Kind = TypeVar("Kind")

BEFORE_THEIR_SETTING: Mapping[str, Mapping[str, float]] = {
    "optim": {"unimodal_weight": 0.0},
    "data": {"augment_ramp_epochs": 0},
}
"""What runs did that are older than a setting, where that is not today's default."""


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Put all settings into nested plain values, as YAML and JSON hold them."""
    return dict(json_ready(asdict(settings)))


def as_they_ran(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Add to stored settings what their version did where it did not know a setting yet."""
    return {**plain, **{name: {**values, **plain.get(name, {})} for name, values in BEFORE_THEIR_SETTING.items()}}


def stored_settings(kind: type[Kind], plain: Mapping[str, Any]) -> Kind:
    """Make settings of nested plain values that `plain_settings` wrote; a setting that they lack has its default.

    Raises:
        TypeError: a name that is no setting of this version.
    """
    hints = _hints(cast(Any, kind))
    if unknown := set(plain) - {field.name for field in fields(cast(Any, kind))}:
        raise TypeError(f"unknown setting {sorted(unknown)[0]}")
    return kind(**{name: _stored(hints[name], value) for name, value in plain.items()})


@cache
def _hints(kind: type[Any]) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _stored(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return stored_settings(cast(type[Any], hint), value)
    return tuple(value) if get_origin(hint) is tuple else value
