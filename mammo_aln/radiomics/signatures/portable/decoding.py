"""Frozen dataclasses as plain JSON, and read back by their types alone: nothing in a file names what is to be made.

A file that somebody else wrote is not trusted: its size and the number of its lists are bounded before it is parsed,
every value must have the type of its field, and every number must be finite.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from mammo_aln.errors import InputError, shortened
from mammo_aln.files import regular_bytes, write_text

Kind = TypeVar("Kind")
LARGEST_BYTES = 1 << 25
MOST_LISTS = 100_000
"""Lists and objects of a file: empty ones take twenty times the memory of their text."""
NUMBERS_IN_LINES = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")


def encoded(value: object) -> Any:
    """Plain values of a dataclass and of all that it holds; classes that stand for one another say their kind."""
    if is_dataclass(value):
        kind = {"kind": value.KIND} if hasattr(value, "KIND") else {}
        return kind | {field.name: encoded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): encoded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def write_plain(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that people can read: a line for each list of plain values."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    text = NUMBERS_IN_LINES.sub(lambda match: "[" + re.sub(r"\n\s*", " ", match[1]) + "]", text)
    if len(text.encode()) > LARGEST_BYTES:
        raise InputError(f"{path}: {len(text)} characters, more than is read again ({LARGEST_BYTES} bytes)")
    write_text(path, text)


def read_plain(path: Path) -> dict[str, object]:
    """Read a JSON object of bounded size, each name once; `InputError` where it is none."""
    content = regular_bytes(path, LARGEST_BYTES)
    if content.count(b"[") + content.count(b"{") > MOST_LISTS:
        raise InputError(f"{path}: more than {MOST_LISTS} lists and objects; no file of ours has so many")
    try:
        plain = json.loads(content, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({shortened(str(error), plain=True)})") from error
    if not isinstance(plain, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(plain).__name__}")
    return plain


def _object(pairs: list[tuple[str, Any]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return plain


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def decoded(kind: type[Kind], plain: object, name: str) -> Kind:
    """Make a dataclass of plain values.

    Raises:
        InputError: a field is missing or unknown, or its value is not of its type; `name` begins the message.
    """
    return cast(Kind, _decoded(kind, plain, name))


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _decoded(hint: Any, value: object, name: str) -> Any:
    if is_dataclass(hint):
        return _dataclass(cast(type, hint), value, name)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _either(arguments, value, name)
    if origin is np.ndarray:
        return _array(value, name, whole=np.int64 in get_args(arguments[1]))
    if origin is Literal:
        _refuse(value in arguments, value, name, f"one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        _refuse(isinstance(value, list), value, name, "a list")
        items = cast(list[object], value)
        of_each = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        _refuse(len(of_each) == len(items), value, name, f"a list of {len(of_each)}")
        return tuple(_decoded(each, item, f"{name}[{n}]") for n, (each, item) in enumerate(zip(of_each, items)))  # noqa: B905
    if origin is not None and issubclass(origin, Mapping):
        _refuse(isinstance(value, dict), value, name, "an object")
        pairs = cast(dict[str, object], value).items()
        return {key: _decoded(arguments[1], item, f"{name}.{shortened(key, plain=True)}") for key, item in pairs}
    if hint in (object, Any):
        return value
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _refuse(is_number and abs(cast(float, value)) <= 1e300, value, name, "a finite number")
        return float(cast(float, value))
    expected = {str: "a text", bool: "true or false", int: "a whole number"}[hint]
    _refuse(type(value) is hint, value, name, expected)
    return value


def _dataclass(kind: type, value: object, name: str) -> Any:
    _refuse(isinstance(value, dict), value, name, "an object")
    plain = {
        key: each for key, each in cast(dict[str, object], value).items() if key != "kind" or not hasattr(kind, "KIND")
    }
    hints = _hints(kind)
    own = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(plain) - set(own)):
        raise InputError(f"{name}: {shortened(unknown[0], plain=True)}: unknown to this version")
    needed = [key for key, field in own.items() if field.default is MISSING and field.default_factory is MISSING]
    if lacking := [key for key in needed if key not in plain]:
        raise InputError(f"{name}: holds no {lacking[0]}")
    arguments = {key: _decoded(hints[key], each, f"{name}.{key}") for key, each in plain.items()}
    try:
        return kind(**arguments)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _either(hints: tuple[Any, ...], value: object, name: str) -> Any:
    if value is None and NoneType in hints:
        return None
    others = [hint for hint in hints if hint is not NoneType]
    if len(others) == 1:
        return _decoded(others[0], value, name)
    kinds = {hint.KIND: hint for hint in others}
    kind = value.get("kind") if isinstance(value, dict) else None
    _refuse(isinstance(kind, str) and kind in kinds, kind, f"{name}.kind", f"one of {', '.join(kinds)}")
    return _decoded(kinds[cast(str, kind)], value, name)


def _array(value: object, name: str, *, whole: bool) -> np.ndarray:
    _refuse(isinstance(value, list), shortened(value), name, "a list of numbers")
    rows = cast(list[Any], value)
    nested = bool(rows) and all(isinstance(row, list) for row in rows)
    flat = [number for row in rows for number in row] if nested else rows
    is_even = not nested or len({len(row) for row in rows}) == 1
    most = 1 << 53 if whole else 1e300
    kinds = {int} if whole else {int, float}
    fits = is_even and set(map(type, flat)) <= kinds and all(-most <= number <= most for number in flat)
    _refuse(fits, "other values", name, f"a list of {'whole' if whole else 'finite'} numbers")
    return np.array(rows, dtype=np.int64 if whole else np.float64)


def _refuse(holds: bool, value: object, name: str, expected: str) -> None:
    if not holds:
        raise InputError(f"{name} = {shortened(value)}: expected {expected}")
