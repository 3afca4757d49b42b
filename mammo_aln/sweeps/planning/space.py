"""The `search` block of a sweep's file, read: ranges of settings, each checked by its setting's own type and limit."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import UnionType
from typing import Any, Union, get_args, get_origin

from mammo_aln.errors import InputError, shortened
from mammo_aln.runs.identity import WITHOUT_INFLUENCE
from mammo_aln.settings import Settings
from mammo_aln.settings.flags import flags_of
from mammo_aln.settings.limits import Limit
from mammo_aln.settings.messages import unknown_key
from mammo_aln.settings.parse import settings_from
from mammo_aln.sweeps.planning.dealt import DEALT

Number = int | float
KNOWN = ("trials", "space", "at_once", "storage", "seed", "pruner")
RANGE = ("low", "high", "log", "step")
MOST_TRIALS, MOST_STEPS = 100_000, 1_000_000_000
SEED_OF_SAMPLER = Limit("0 to 2^32 - 1", lambda x: 0 <= x < 2**32)
"""Seeds that numpy's older generator takes, by which Optuna draws."""
FEW = 1000
"""Whole numbers of a range that are each held against the setting's limit; of more, both ends are."""


@dataclass(frozen=True)
class Range:
    """Values that a setting may take: from `low` to `high`, both of the setting's own type.

    Attributes:
        low: least value.
        high: greatest value.
        whole: the setting is a whole number.
        log: drawn on a logarithmic scale.
        step: distance of neighbouring values; None for all of them.
    """

    low: Number
    high: Number
    whole: bool
    log: bool | None = None
    step: Number | None = None

    def to_json(self) -> dict[str, Number]:
        """Give what the sweep's file says, the bounds in the setting's type."""
        given = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True)
class Space:
    """Ranges that a search varies.

    Attributes:
        ranges: by setting.
        trials: trials in all, over all commands on one storage.
        storage: URL of the storage; empty for a file in the sweep's folder.
        seed: seeds the sampler.
        at_once: trials in training at once, over all commands; None as many as the executor has room for, on SLURM a
            fifth of them.
    """

    ranges: Mapping[str, Range]
    trials: int
    storage: str
    seed: int = 0
    at_once: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Give what plan.json keeps."""
        return {"trials": self.trials, "space": {name: values.to_json() for name, values in self.ranges.items()}}


def read_block(block: object, *, over: Collection[str] = (), varied: Collection[str] = (), axes: int = 0) -> Space:
    """Read a `search` block.

    Args:
        block: the block as YAML gives it.
        over: settings of the command line, `section.key`: a range of one of them is left out.
        varied: settings that the grid or the steps set.
        axes: number of the grid's axes, which are searched as well.

    Raises:
        InputError: an unknown key, a count that is none, a range that its setting does not allow, or nothing to search.
    """
    if not isinstance(block, Mapping):
        raise InputError(f"search: expected trials: and space:, got {block!r}")
    if unknown := sorted(str(key) for key in set(block) - set(KNOWN)):
        raise InputError(f"search: {unknown[0]}: unknown key; allowed: {', '.join(KNOWN)}")
    trials, seed, storage = block.get("trials", 20), block.get("seed", 0), block.get("storage") or ""
    at_once = block.get("at_once")
    for key, count in (("trials", trials), ("at_once", 1 if at_once is None else at_once)):
        if type(count) is not int or not 1 <= count <= MOST_TRIALS:
            expected = f"a count of 1 or more, at most {MOST_TRIALS}"
            raise InputError(f"search: {key}: expected {expected}, got {shortened(count)}")
    if type(seed) is not int or not SEED_OF_SAMPLER.allows(seed):
        raise InputError(f"search: seed: expected a whole number, {SEED_OF_SAMPLER.text}, got {shortened(seed)}")
    if not isinstance(storage, str):
        raise InputError(f"search: storage: expected the URL of a database, got {storage!r}")
    space = block.get("space") or {}
    if not isinstance(space, Mapping):
        raise InputError(f"search: space: expected settings with low and high each, got {space!r}")
    ranges = {str(name): _read_range(str(name), values) for name, values in space.items()}
    if twice := sorted(set(ranges) & set(varied)):
        raise InputError(f"search: space: {twice[0]}: the grid or the steps set it too; leave it to one of them")
    ranges = {name: values for name, values in ranges.items() if name not in over}
    if not ranges and not axes:
        why = "the command line sets all of space" if space else "space has no setting, and there is no grid"
        raise InputError(f"search: nothing to search: {why}")
    return Space(ranges, trials, storage, seed, at_once)


def _read_range(name: str, given: object) -> Range:
    where = f"search: space: {name}"
    whole = _is_whole(where, name)
    if not isinstance(given, Mapping) or not {"low", "high"} <= set(given):
        raise InputError(f"{where}: expected {{low: ..., high: ...}} (and maybe log, step), got {given!r}")
    if unknown := sorted(str(key) for key in set(given) - set(RANGE)):
        raise InputError(f"{where}: {unknown[0]}: unknown key; allowed: {', '.join(RANGE)}")
    low, high = (_number(f"{where}: {key}", given[key], whole=whole) for key in ("low", "high"))
    log, step = given.get("log"), given.get("step")
    if low >= high:
        raise InputError(f"{where}: expected low below high, got low {low}, high {high}")
    if log is not None and type(log) is not bool:
        raise InputError(f"{where}: log: expected true or false, got {log!r}")
    if log and low <= 0:
        raise InputError(f"{where}: log: a logarithmic scale has no 0; expected low above 0, got {low}")
    if step is not None:
        step = _number(f"{where}: step", step, whole=whole)
        if log:
            raise InputError(f"{where}: step: a logarithmic scale has no steps; leave out step or log")
        few = step > 0 and (high - low) / step <= MOST_STEPS
        if not few or (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
            raise InputError(f"{where}: step: expected steps that lead from low {low} to high {high}, got {step}")
    steps = step or 1
    ends_alone = not whole or (high - low) / steps > FEW
    for value in (low, high) if ends_alone else range(int(low), int(high) + 1, int(steps)):
        section, _, key = name.partition(".")
        settings_from(Settings, {section: {key: value}}, "search: space")
    return Range(low, high, whole, log, step)


def _is_whole(where: str, name: str) -> bool:
    """Tell whether a setting is a whole number, by its own type."""
    types = flags_of(Settings)
    if name in DEALT:
        raise InputError(f"{where}: the sweep deals it to its cells; write {DEALT[name]}: beside search:")
    if name not in types:
        raise InputError(f"search: space: {unknown_key(name, types)}")
    section, _, key = name.partition(".")
    if key in WITHOUT_INFLUENCE.get(section, ()):
        raise InputError(
            f"{where}: says where or how fast a run is computed, not what it learns: no trial would differ"
        )
    hint = types[name]
    kinds = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    if float in kinds:
        return False
    if int in kinds:
        return True
    raise InputError(f"{where}: no number, so that it has no low and high; list its values under grid:")


def _number(where: str, value: object, *, whole: bool) -> Number:
    """Read a bound in its setting's type."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            pass
        else:
            raise InputError(f"{where}: YAML reads {value} as text; write {_as_yaml(value)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: expected a number, got {value!r}")
    if whole and value != int(value):
        raise InputError(f"{where}: expected a whole number, as the setting is one, got {value!r}")
    return int(value) if whole else float(value)


def _as_yaml(number: str) -> str:
    """Write a number as YAML reads it: an exponent has a sign, and a point before it."""
    digits, exponent, power = number.lower().strip().partition("e")
    return f"{digits}{'' if '.' in digits else '.0'}e{int(power):+d}" if exponent else f"{digits}, without quotes"
