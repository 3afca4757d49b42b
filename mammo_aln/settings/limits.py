"""Limits of numbers and of lists, written on the setting or flag that they bound; and their check, and that of text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mammo_aln.errors import InputError, shortened

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that end a line of a job's script, a name or an encoding, and that nobody sees."""


@dataclass(frozen=True)
class Limit:
    """A limit of a number, or of a list of names.

    Attributes:
        text: what is allowed, as messages and help say it.
        allows: whether a number is within it, or a tuple of names.
    """

    text: str
    allows: Callable[[Any], bool]


def within(low: float, high: float, unit: str = "") -> Limit:
    """Make the limit of numbers from `low` to `high`, both included, in a unit."""
    return Limit(f"{low:.12g} to {high:.12g}{unit and ' '}{unit}", lambda x: low <= x <= high)


def each(limit: Limit) -> Limit:
    """Make the limit of a list whose every number is within one."""
    return Limit(f"each {limit.text}", lambda numbers: all(map(limit.allows, numbers)))


# Every number has an upper limit: beyond it stands a slip of the keyboard, infinity or what no machine can do.
EPOCHS_FROM_0 = within(0, 100_000)
EPOCHS = within(1, 100_000)
DEVICES = within(1, 1024)
PROCESSES = within(1, 4096)
JOBS = within(1, 100_000)
PATIENTS = within(1, 1_000_000)
RETRIES = within(0, 1000)
MOST_FOLDS = 1000
FOLDS = within(2, MOST_FOLDS)
RESAMPLES = within(2, 1_000_000)
ABOVE_0_TO_1 = Limit("a number above 0, at most 1", lambda x: 0 < x <= 1)
SHARE = Limit("a number from 0 to 1", lambda x: 0 <= x <= 1)
BELOW_1 = Limit("a number from 0 to below 1", lambda x: 0 <= x < 1)
SEED = Limit("0 to 2^63 - 1", lambda x: 0 <= x < 2**63)
"""Seeds that torch and numpy take."""
SEED_OF_ESTIMATES = Limit("0 to 2^31 - 1", lambda x: 0 <= x < 2**31)
"""Seeds that scikit-learn takes too."""
NO_FOLDS_OR_FOLDS = Limit(f"0 (the split column), or {FOLDS.text}", lambda x: x == 0 or FOLDS.allows(x))
EACH_ONCE = Limit("each name once", lambda names: len(set(names)) == len(names))
PERCENTILE = Limit("a number from 0 to 100", lambda x: 0 <= x <= 100)


@cache
def limits_of(owner: Callable[..., object]) -> Mapping[str, Limit]:
    """Collect the limits that stand on a dataclass's fields or on a function's parameters, by name."""
    hints = get_type_hints(owner, include_extras=True)
    return {
        name: limit
        for name, hint in hints.items()
        for limit in getattr(hint, "__metadata__", ())
        if isinstance(limit, Limit)
    }


@cache
def never_null(owner: Callable[..., object]) -> frozenset[str]:
    """Collect the fields or parameters whose type has no None: a line of YAML without a value is none for them."""
    hints = get_type_hints(owner)
    return frozenset(name for name, hint in hints.items() if hint is not Any and type(None) not in get_args(hint))


def refuse_outside_limits(owner: Callable[..., object], values: Mapping[str, object]) -> None:
    """Check a function's arguments or a dataclass's values, and those of the dataclasses among them.

    Raises:
        InputError: names every value that is missing, every number that is outside its limit, and what is allowed.
    """
    if wrong := list(_outside(owner, values)):
        raise InputError("; ".join(wrong))


def _outside(owner: Callable[..., object], values: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    limits, filled = limits_of(owner), never_null(owner)
    for name, value in values.items():
        if value is None and name in filled:
            yield f"{prefix}{name}: expected a value, got null; leave the line out for the default"
        for text in control_texts(value):
            yield f"{prefix}{name}: expected text without control characters, got {shortened(text)}"
        if isinstance(value, Mapping):
            for number in odd_numbers(value):
                yield f"{prefix}{name}: expected finite numbers, got {number}"
        if is_dataclass(value) and not isinstance(value, type):
            inner = {field.name: getattr(value, field.name) for field in fields(value)}
            # the sections of a verb's settings are flags without the parameter's name
            yield from _outside(type(value), inner, "" if name == "settings" else f"{prefix}{name}.")
        elif name in limits and isinstance(value, int | float | tuple) and not limits[name].allows(value):
            got = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            yield f"{prefix}{name}: expected {limits[name].text}, got {shortened(got, plain=True)}"


def odd_numbers(value: object) -> Iterator[float]:
    """List the numbers of a setting, at any depth, that are infinite or none: JSON has no word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        yield value
    elif isinstance(value, Mapping):
        yield from odd_numbers(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from odd_numbers(item)


def control_texts(value: object) -> Iterator[str]:
    """List the texts of a setting, at any depth, that hold a control character; of a path, NUL alone is one."""
    if isinstance(value, Path):
        if "\0" in str(value):
            yield str(value)
    elif isinstance(value, str):
        if CONTROL.search(value):
            yield value
    elif isinstance(value, Mapping):
        yield from control_texts([*value, *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from control_texts(item)
