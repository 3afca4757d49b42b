"""The W&B sweep that corresponds to a sweep's file, for those who would rather run W&B's agents."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mammo_aln.errors import InputError
from mammo_aln.files import write_text
from mammo_aln.settings import LogConfig
from mammo_aln.sweeps.planning.definition import Choice, Definition, Nested
from mammo_aln.sweeps.planning.space import Range

LISTED = 32
"""Whole numbers of a logarithmic scale that are listed at most."""


def write_wandb_sweep(definition: Definition, cohort: Path, out: Path, file: Path) -> Path:
    """Write a W&B sweep file and the configurations that it names; returns the file.

    Bundles of settings (`config`, `step`) become files of their own in a folder beside it, and the base one more; each
    agent's trial is one `mammo-aln train`, so that runs are the same ones, with the same ids, that `sweep run` trains.

    Raises:
        InputError: the sweep begins with a pre-training, has a pruner, or searches over several seeds or folds.
    """
    if definition.pretrain is not None:
        raise InputError("--wandb-sweep: a pre-training step has no equivalent in a W&B sweep file")
    if definition.pruner is not None:
        raise InputError("--wandb-sweep: pruner: W&B's agents know none of Optuna's; leave it out of the sweep's file")
    search = definition.search
    if search is not None and (len(definition.seeds) > 1 or definition.folds):
        raise InputError(
            "--wandb-sweep: a trial of W&B's is one training; expected a search of one seed and no folds:, as"
            " several of them would be searched like a setting"
        )
    file = file.absolute()
    folder = file.with_suffix(".configs")
    base = folder / "base.yaml"
    log = {"log": {"wandb": "online", **definition.base.get("log", {}), **definition.over.get("log", {})}}
    _write(base, {**definition.base, **log})
    parameters: dict[str, dict[str, Any]] = {}
    for axis in definition.axes:
        if all(_sets_one(axis.name, choice) for choice in axis.choices):
            section, _, key = axis.name.partition(".")
            parameters[axis.name] = {"values": [_flag(choice.settings[section][key]) for choice in axis.choices]}
            continue
        if "config" in parameters:
            raise InputError(
                "--wandb-sweep: only one axis of the grid may set several settings at once (config, steps)"
            )
        files = []
        for number, choice in enumerate(axis.choices):
            files.append(folder / f"{axis.name}_{number}.yaml")
            _write(files[-1], choice.settings)
        parameters["config"] = {"values": [str(path) for path in files]}
    if search is not None:
        parameters |= {name: _distribution(values) for name, values in search.ranges.items()}
    if definition.folds:
        parameters["data.fold"] = {"values": list(range(definition.folds))}
    parameters["seed"] = {"values": list(definition.seeds)}
    fixed = [f"--data.folds={definition.folds}"] if definition.folds else []
    fixed += [
        f"--{section}.{key}={_flag(value)}"
        for section, values in definition.over.items()
        if isinstance(values, dict)
        for key, value in values.items()
    ]
    command = ["${env}", "mammo-aln", "train", f"--cohort={cohort}", f"--out={out / 'runs'}", f"--config={base}"]
    content = {
        "name": file.stem,
        "project": (definition.base.get("log", {}) | definition.over.get("log", {})).get("project", LogConfig.project),
        "program": "mammo-aln",
        "method": "grid" if search is None else "bayes",
        **({} if search is None else {"run_cap": search.trials}),
        "metric": {"name": "val_auc", "goal": "maximize"},
        "command": [*command, "${args}", *fixed],
        "parameters": parameters,
    }
    write_text(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return file


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


def _write(path: Path, settings: Nested) -> None:
    write_text(path, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
