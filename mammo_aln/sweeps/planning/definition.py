"""A sweep's YAML file, read: a base configuration and the lists that span the grid.

    base: configs/base.yaml               # one file or several; settings may stand beside it
    crop: {size_px: 128}
    grid:
      crop.strategy: [lesion_box, fixed_5cm]          # any setting, as a list of its values
      config: [configs/backbones/swinv2_small.yaml]   # or whole files of settings
    steps:                                # or settings that change together, each with a name
      primary: {model: {inputs: [primary]}}
    seeds: 3                              # 0, 1, 2, or a list
    folds: 5                              # each cell once per fold of data.folds

Later wins: base, settings beside it, grid, steps, the command line.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias, cast

from mammo_aln.errors import InputError, shortened
from mammo_aln.settings import Settings
from mammo_aln.settings.messages import unknown_key
from mammo_aln.settings.shipped import find_config, read_yaml
from mammo_aln.sweeps.planning.dealt import read_folds, read_seeds, refuse_dealt
from mammo_aln.sweeps.planning.pruner import EPOCHS, Pruner, read_pruner
from mammo_aln.sweeps.planning.space import Space, read_block

Nested = dict[str, Any]
"""Settings as they stand in YAML: `{section: {key: value}}`."""
Label: TypeAlias = str | int | float | bool | None
"""A value as one cell of a table."""
Seeds: TypeAlias = int | Sequence[int]
"""Seeds of every cell: a count, or the list of them."""
SECTIONS = tuple(section.name for section in fields(Settings))
OWN_KEYS = ("base", "grid", "steps", "seeds", "folds", "pretrain", "search", "pruner", "test")
OF_COMMAND = ("cluster", "cohort", "executor", "out", "pretrained", "retries", "slots", "store")
"""Flags of `sweep run` that a sweep's file has no key for: they say where cells are trained."""
MOST_CELLS = 10_000
FROM_SWEEP = "sweep"
"""`model.pretrained: sweep` asks for the weights that `--pretrained` names or the `pretrain` step makes."""


@dataclass(frozen=True)
class Choice:
    """One value on an axis.

    Attributes:
        label: how tables name it.
        settings: what it sets, `{section: {key: value}}`.
    """

    label: Label
    settings: Nested


@dataclass(frozen=True)
class Axis:
    """One direction of the grid: a setting's name, `config` or `step`, and its choices."""

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Definition:
    """A sweep as its file and the command line describe it.

    Attributes:
        base: settings of every cell.
        axes: what spans the grid, without seeds and folds.
        over: settings of the command line, which win.
        seeds: seeds of every cell.
        folds: 0, or folds of every cell.
        pretrain: settings of a pre-training that the sweep makes first, if any.
        search: what Optuna searches, if anything.
        pruner: which of Optuna's stops cells before their last epoch, if any.
        opens_test: the plan, declared beforehand, that every cell of a finished sweep is judged on the test splits.
    """

    base: Nested
    axes: tuple[Axis, ...]
    over: Nested
    seeds: tuple[int, ...]
    folds: int = 0
    pretrain: Nested | None = None
    search: Space | None = None
    pruner: Pruner | None = None
    opens_test: bool = False


@dataclass(frozen=True)
class Point:
    """One cell before it has an identity: its place in the grid and its settings."""

    axes: dict[str, Label] = field(default_factory=dict)
    shown: dict[str, Label] = field(default_factory=dict)
    settings: Nested = field(default_factory=dict)


def read_definition(file: Path, over: Nested | None = None, seeds: Seeds | None = None) -> Definition:
    """Read a sweep's YAML file.

    Args:
        file: the file, or the name of a shipped one.
        over: settings of the command line.
        seeds: in place of the file's, and read as it is.

    Raises:
        InputError: no such file, no mapping, an unknown key, or a list that is none.
    """
    path = find_config(str(file), "")
    text = read_yaml(path)
    unknown = sorted(set(text) - set(OWN_KEYS) - set(SECTIONS))
    if of_command := [key for key in unknown if key in OF_COMMAND]:
        raise InputError(
            f"{path.name}: {of_command[0]}: a sweep's file says what is trained, not where; give it by --config FILE,"
            f" a file that holds {of_command[0]}:, or as a flag (`mammo-aln sweep run --help`)"
        )
    if unknown:
        raise InputError(f"{path.name}: {unknown_key(unknown[0], (*OWN_KEYS, *SECTIONS))}")
    _refuse_shapes(path.name, text)
    base: Nested = {}
    named = text.get("base") or []
    for name in [named] if isinstance(named, str) else named:
        base = merged(base, read_yaml(find_config(str(name), f"{path.name}, base: ", beside=path)))
    base = merged(base, {key: text[key] for key in text if key in SECTIONS})
    over = over or {}
    axes = [_without_overridden(axis, over) for axis in _axes(path, text.get("grid") or {})]
    steps = text.get("steps") or {}
    if steps:
        step = Axis("step", tuple(Choice(str(name), value or {}) for name, value in steps.items()))
        _refuse_steps_beside(path.name, step, axes)
        axes.insert(0, step)
    if not any((base, axes, *(text.get(key) for key in OWN_KEYS))):
        raise InputError(
            f"{path.name}: it says nothing, and would be one training of all defaults;"
            " expected settings, grid:, steps:, seeds: or folds:"
        )
    if nothing := [key for key in OWN_KEYS if key in text and text[key] is None and key != "search"]:
        raise InputError(f"{path.name}: {nothing[0]}: nothing stands under it; fill it in, or leave it out")
    _refuse_many(path.name, axes)
    _refuse_twice(path.name, axes)
    folds = read_folds(path.name, text.get("folds") or 0, base, over)
    for axis in axes:
        for choice in axis.choices:
            refuse_dealt(path.name, _key(axis), choice.settings, folds)
    several = read_seeds(path.name, text.get("seeds") if seeds is None else seeds, base, over)
    _refuse_many(path.name, axes, len(several) * max(folds, 1))
    return Definition(
        base,
        tuple(axis for axis in axes if axis.choices),
        over,
        several,
        folds,
        text.get("pretrain"),
        _search(path.name, text["search"], axes, over) if "search" in text else None,
        _pruner(path.name, text, axes),
        bool(text.get("test", False)),
    )


def points(definition: Definition) -> Iterator[Point]:
    """Yield every cell: axes in the file's order, the last fastest, then folds, then seeds."""
    folds: Sequence[int | None] = range(definition.folds) if definition.folds else [None]
    for chosen in itertools.product(*(axis.choices for axis in definition.axes)):
        settings = definition.base
        axes: dict[str, Label] = {}
        shown: dict[str, Label] = {}
        for axis, choice in zip(definition.axes, chosen, strict=True):
            settings = merged(settings, choice.settings)
            axes[axis.name] = choice.label
            shown |= {axis.name: choice.label} | _columns(choice.settings)
        settings = merged(settings, definition.over)
        for fold, seed in itertools.product(folds, definition.seeds):
            own: Nested = {"seed": seed}
            if fold is not None:
                own["data"] = {"folds": definition.folds, "fold": fold}
            yield Point(axes, shown, merged(settings, own))


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Nested:
    """Settings of `second` over those of `first`, setting by setting; a setting that is a mapping is replaced whole."""
    result = dict(first)
    for name, value in second.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = {**result[name], **value} if both else value
    return result


def nested(key: str, value: Any) -> Nested:
    """`crop.size_px`, 96 as {"crop": {"size_px": 96}}."""
    section, dot, name = key.partition(".")
    return {section: {name: value}} if dot else {section: value}


def label_of(value: Any) -> Label:
    """Label a value: plain ones as they are, lists joined by +, mappings as JSON."""
    if isinstance(value, list | tuple):
        return "+".join(str(item) for item in value)
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else cast(Label, value)


def _columns(settings: Nested) -> dict[str, Label]:
    """Label what a choice sets, by column; mappings (a network's own arguments) are left to config.yaml."""
    columns: dict[str, Label] = {}
    for section, values in settings.items():
        if not isinstance(values, Mapping):
            columns[section] = label_of(values)
            continue
        columns |= {f"{section}.{key}": label_of(v) for key, v in values.items() if not isinstance(v, Mapping)}
    return columns


def _search(where: str, block: object, axes: Sequence[Axis], over: Nested) -> Space:
    by_command = [
        f"{section}.{key}" for section, values in over.items() if isinstance(values, Mapping) for key in values
    ]
    varied = [name for axis in axes for choice in axis.choices for name in settings_set(choice.settings)]
    try:
        return read_block(block, over=by_command, varied=varied, axes=len(axes))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _pruner(where: str, text: Mapping[str, Any], axes: Sequence[Axis]) -> Pruner | None:
    """Read the pruner, which stands beside `search:` or in it."""
    search = text.get("search")
    in_search = search.get("pruner") if isinstance(search, Mapping) else None
    beside = text.get("pruner")
    if in_search is None and beside is None:
        return None
    if in_search is not None and beside is not None:
        raise InputError(f"{where}: pruner: stands there twice, beside search: and in it; write it once")
    varied = {name for axis in axes for choice in axis.choices for name in settings_set(choice.settings)}
    varied |= set((search or {}).get("space") or {})
    try:
        if EPOCHS in varied:
            raise InputError(f"pruner: cells are compared epoch by epoch; expected one {EPOCHS} for all of them")
        return read_pruner(beside if in_search is None else in_search)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def settings_set(settings: Nested) -> Iterator[str]:
    """Name the settings, `section.key`, that a choice sets."""
    for section, values in settings.items():
        yield from (f"{section}.{key}" for key in values) if isinstance(values, Mapping) else (section,)


def _axes(file: Path, grid: Any) -> list[Axis]:
    where = file.name
    if not isinstance(grid, Mapping):
        raise InputError(f"{where}: grid: expected settings with a list of values each")
    axes = []
    for key, values in _lists(grid):
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}: grid: {key}: expected a list of values, got {values!r}")
        if key == "config":
            named = [find_config(str(name), f"{where}, grid: config: ", beside=file) for name in values]
            choices = [Choice(file.stem, read_yaml(file)) for file in named]
        elif key.partition(".")[0] in SECTIONS:
            choices = [Choice(label_of(value), nested(key, value)) for value in values]
        else:
            raise InputError(f"{where}: grid: {key}: expected a setting such as crop.strategy, or config")
        axes.append(Axis(key, tuple(choices)))
    return axes


def _refuse_shapes(where: str, text: Mapping[str, Any]) -> None:
    """Refuse a key of the file that holds something else than its kind of content."""
    named = text.get("base") or []
    if not isinstance(named, str | list):
        raise InputError(f"{where}: base: expected a file of settings or a list of files, got {shortened(named)}")
    if not isinstance(text.get("test", False), bool):
        raise InputError(f"{where}: test: expected true or false, got {shortened(text['test'])}")
    steps = text.get("steps") or {}
    if not isinstance(steps, Mapping):
        raise InputError(f"{where}: steps: expected a name and settings for each, got {shortened(steps)}")
    blocks = {"": {key: text[key] for key in text if key in SECTIONS}, "pretrain: ": text.get("pretrain") or {}}
    for of, settings in {**blocks, **{f"steps: {name}: ": value or {} for name, value in steps.items()}}.items():
        for key, values in settings.items() if isinstance(settings, Mapping) else [("", settings)]:
            if key != "seed" and not isinstance(values, Mapping):
                head = f"{of}{key}{': ' if key else ''}"
                raise InputError(f"{where}: {head}expected settings (KEY: VALUE), got {shortened(values)}")


def _refuse_many(where: str, axes: Sequence[Axis], repeats: int = 1) -> None:
    """Refuse a grid that no cluster would finish, before it is multiplied out."""
    count = math.prod([len(axis.choices) for axis in axes if axis.choices], start=repeats)
    if count > MOST_CELLS:
        raise InputError(
            f"{where}: {count} cells: expected at most {MOST_CELLS}; leave out values, seeds or folds, or use search:"
        )


def _refuse_twice(where: str, axes: Sequence[Axis]) -> None:
    """Refuse an axis that stands there twice, and two of its values that are one: by name in tables, or by settings."""
    names = [axis.name for axis in axes]
    for number, axis in enumerate(axes):
        key = _key(axis)
        if axis.name in names[:number]:
            raise InputError(f"{where}: {key}: stands there twice; write all its values in one list")
        for first, second in itertools.combinations(axis.choices, 2):
            if str(first.label) == str(second.label):
                raise InputError(f"{where}: {key}: two values are called {first.label}; name each once")
            if first.settings == second.settings:
                raise InputError(
                    f"{where}: {key}: {first.label} and {second.label} are the same; leave out one of them"
                )


def _key(axis: Axis) -> str:
    """Name an axis as the file does."""
    return "steps" if axis.name == "step" else f"grid: {axis.name}"


def _refuse_steps_beside(where: str, steps: Axis, grid: Sequence[Axis]) -> None:
    """Refuse a setting of both steps and grid: a step's cells would not be what its name says."""
    of_steps = {name for choice in steps.choices for name in settings_set(choice.settings)}
    for axis in grid:
        if both := of_steps & {name for choice in axis.choices for name in settings_set(choice.settings)}:
            raise InputError(f"{where}: {sorted(both)[0]}: steps and grid: {axis.name} set it; leave it to one of them")


def _lists(grid: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in grid.items():
        if isinstance(value, Mapping) and not prefix:
            yield from _lists(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value


def _without_overridden(axis: Axis, over: Nested) -> Axis:
    """An axis that the command line overrides has the one value that was given there."""
    section, _, key = axis.name.partition(".")
    if key and key in over.get(section, {}):
        value = over[section][key]
        return Axis(axis.name, (Choice(label_of(value), nested(axis.name, value)),))
    return axis
