"""The W&B sweep that corresponds to a sweep's file, for those who would rather run W&B's agents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mammo_aln.errors import InputError
from mammo_aln.files import write_text
from mammo_aln.settings import LogConfig
from mammo_aln.sweeps.planning.combinations import readable_settings
from mammo_aln.sweeps.planning.definition import Choice, Definition, Nested, Point, merged, nested, points, settings_set
from mammo_aln.sweeps.planning.pruner import Pruner
from mammo_aln.sweeps.planning.space import Range
from mammo_aln.sweeps.planning.weights import asking_points, weighted

LISTED = 32
"""Whole numbers of a logarithmic scale that are listed at most."""
CONFIG = "config"
"""The flag by which a trial is given a bundle of settings."""
HALVING = ("hyperband", "successive_halving")
"""Pruners that W&B has an equivalent of."""
OPTUNAS_FACTOR = 3
"""Optuna's own `reduction_factor` of hyperband."""


def write_wandb_sweep(
    definition: Definition,
    cohort: Path,
    out: Path,
    file: Path,
    *,
    store: Path | None = None,
    pretrained: Path | None = None,
) -> Path:
    """Write a W&B sweep file and the configurations that it names; returns the file.

    Bundles of settings (`config`, `step`) become files of their own in a folder beside it, and the base one more; each
    agent's trial is one `mammo-aln train`, so that runs are the same ones, with the same ids, that `sweep run` trains.
    They upload whatever `log.wandb` says: W&B draws, compares and stops trials by what it is sent.

    Args:
        definition: the sweep.
        cohort: the cohort's folder.
        out: the sweep's folder; runs go to its folder `runs`.
        file: the file to write.
        store: crop store; by default the cohort's own.
        pretrained: weights for `model.pretrained: sweep`.

    Raises:
        InputError: settings that no training has, or what W&B's agents have no equivalent for: a pre-training step, a
            pruner but `hyperband` and `successive_halving`, several seeds or folds of a search or beside a pruner, one
            setting set in two ways.
    """
    if definition.pretrain is not None and pretrained is None:
        raise InputError(
            "--wandb-sweep: a pre-training step has no equivalent in a W&B sweep file; name its weights by --pretrained"
        )
    search, pruner = definition.search, definition.pruner
    if (search is not None or pruner is not None) and (len(definition.seeds) > 1 or definition.folds):
        raise InputError(
            "--wandb-sweep: a trial of W&B's is one training; expected one seed and no folds: where there is a search"
            " or a pruner, as several of them would be searched, or stopped, like a setting"
        )
    several = list(points(definition))
    asking_points(several, definition, pretrained)
    trials = readable_settings(several)
    definition = _with_paths(definition, pretrained)
    file = file.absolute()
    folder = file.with_suffix(".configs")
    files = {folder / "base.yaml": definition.base}
    parameters: dict[str, Nested] = {}
    for axis in definition.axes:
        if all(_sets_one(axis.name, choice) for choice in axis.choices):
            section, _, key = axis.name.partition(".")
            parameters[axis.name] = _values([_flag(choice.settings[section][key]) for choice in axis.choices])
            continue
        if CONFIG in parameters:
            raise InputError(
                "--wandb-sweep: only one axis of the grid may set several settings at once (config, steps)"
            )
        bundles = {folder / f"{axis.name}_{number}.yaml": choice.settings for number, choice in enumerate(axis.choices)}
        files |= bundles
        parameters[CONFIG] = _values([str(path) for path in bundles])
    _refuse_two_ways(definition)
    if search is not None:
        parameters |= {name: _distribution(values) for name, values in search.ranges.items()}
    if definition.folds:
        parameters["data.fold"] = _values(list(range(definition.folds)))
    parameters["seed"] = _values(list(definition.seeds))
    content: Nested = {
        "name": file.stem,
        "project": trials[0].log.project,
        "program": "mammo-aln",
        "method": "grid" if search is None else "bayes" if search.ranges else "random",
        **({} if search is None else {"run_cap": search.trials}),
        "metric": {"name": "val_auc", "goal": "maximize"},
        **({} if pruner is None else {"early_terminate": _early_terminate(pruner, trials[0].trainer.max_epochs)}),
        "command": [
            "${env}",
            "mammo-aln",
            "train",
            f"--cohort={cohort}",
            f"--out={out / 'runs'}",
            *([] if store is None else [f"--store={store}"]),
            f"--config={folder / 'base.yaml'}",
            "${args}",
            *_fixed_flags(definition, trials[0].log),
        ],
        "parameters": parameters,
    }
    for path, settings in (*files.items(), (file, content)):
        write_text(path, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    return file


def _with_paths(definition: Definition, pretrained: Path | None) -> Definition:
    """Give the weights, also those for `model.pretrained: sweep`, paths that hold wherever an agent stands."""

    def filled(settings: Nested) -> Nested:
        point = Point(settings=settings)
        settings = (point if pretrained is None else weighted(point, pretrained)).settings
        weights = settings.get("model", {}).get("pretrained")
        if not isinstance(weights, str):
            return settings
        return merged(settings, nested("model.pretrained", str(Path(weights).absolute())))

    axes = [
        replace(axis, choices=tuple(replace(choice, settings=filled(choice.settings)) for choice in axis.choices))
        for axis in definition.axes
    ]
    return replace(definition, base=filled(definition.base), axes=tuple(axes), over=filled(definition.over))


def _refuse_two_ways(definition: Definition) -> None:
    """Refuse a setting of two axes: the last one of the file wins, and an agent gives its flags in W&B's order."""
    seen: dict[str, str] = {}
    for axis in definition.axes:
        for name in {name for choice in axis.choices for name in settings_set(choice.settings)}:
            if name in seen:
                raise InputError(
                    f"--wandb-sweep: {name}: set by {seen[name]} and by {axis.name}, and W&B orders the flags as it"
                    " likes; leave it to one of them"
                )
            seen[name] = axis.name


def _fixed_flags(definition: Definition, log: LogConfig) -> list[str]:
    """Flags that every trial has; later ones win."""
    flags = [f"--data.folds={definition.folds}"] if definition.folds else []
    flags += [
        f"--{section}.{key}={_flag(value)}"
        for section, values in definition.over.items()
        if isinstance(values, dict)
        for key, value in values.items()
    ]
    if "wandb" not in log.tracker:
        flags.append(f"--log.tracker={_flag([*log.tracker, 'wandb'])}")
    return [*flags, "--log.wandb=online"]


def _early_terminate(pruner: Pruner, max_epochs: int) -> Nested:
    """Put a pruner as W&B stops trials: at epochs that grow by a factor, those that are not among the best 1/factor."""
    arguments = pruner.arguments(max_epochs)
    if pruner.name not in HALVING:
        raise InputError(
            f"--wandb-sweep: pruner: W&B's agents know no {pruner.name}; expected {' or '.join(HALVING)}, or none"
        )
    eta = arguments.get("reduction_factor", OPTUNAS_FACTOR)
    first = arguments["min_resource"] * eta ** arguments.get("min_early_stopping_rate", 0)
    return {"type": "hyperband", "min_iter": first, "eta": eta}


def _values(values: Sequence[Any]) -> Nested:
    return {"value": values[0]} if len(values) == 1 else {"values": list(values)}


def _flag(value: Any) -> Any:
    """Give a value as the agent must: it passes plain ones on as they are, of others only the text is read as YAML."""
    if value is None or isinstance(value, list | tuple | dict):
        return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n...\n").strip()
    return value


def _distribution(values: Range) -> dict[str, Any]:
    """Put a range as W&B draws from it; steps and whole numbers on a logarithmic scale are listed one by one."""
    if values.step is not None:
        steps = round((values.high - values.low) / values.step)
        numbers = [float(Decimal(str(values.low)) + n * Decimal(str(values.step))) for n in range(steps + 1)]
        return {"values": [int(number) for number in numbers] if values.whole else numbers}
    if values.whole and values.log:
        powers = np.geomspace(values.low, values.high, LISTED)
        return {"values": sorted({int(number) for number in np.rint(powers)})}
    kind = "int_uniform" if values.whole else "log_uniform_values" if values.log else "uniform"
    return {"distribution": kind, "min": values.low, "max": values.high}


def _sets_one(name: str, choice: Choice) -> bool:
    section, dot, key = name.partition(".")
    return bool(dot) and list(choice.settings) == [section] and list(choice.settings[section]) == [key]
