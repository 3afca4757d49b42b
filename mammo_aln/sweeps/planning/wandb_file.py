"""The W&B sweep that corresponds to a sweep's file, for those who would rather run W&B's agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mammo_aln.errors import InputError
from mammo_aln.files import write_text
from mammo_aln.sweeps.planning.definition import Choice, Definition, Nested


def write_wandb_sweep(definition: Definition, cohort: Path, out: Path, file: Path) -> Path:
    """Write a W&B sweep file and the configurations that it names; returns the file.

    Bundles of settings (`config`, `step`) become files of their own in a folder beside it, and the base one more; each
    agent's trial is one `mammo-aln train`, so that runs are the same ones, with the same ids, that `sweep run` trains.

    Raises:
        InputError: the sweep begins with a pre-training, searches, or has a pruner.
    """
    if definition.search is not None or definition.pretrain is not None:
        raise InputError("--wandb-sweep: a search or a pre-training step has no equivalent in a W&B sweep file")
    if definition.pruner is not None:
        raise InputError("--wandb-sweep: pruner: W&B's agents know none of Optuna's; leave it out of the sweep's file")
    folder = file.with_suffix(".configs")
    base = folder / "base.yaml"
    log = {"log": {"wandb": "online", **definition.base.get("log", {}), **definition.over.get("log", {})}}
    _write(base, {**definition.base, **log})
    parameters: dict[str, dict[str, list[Any]]] = {}
    for axis in definition.axes:
        if all(_sets_one(axis.name, choice) for choice in axis.choices):
            section, _, key = axis.name.partition(".")
            parameters[axis.name] = {"values": [choice.settings[section][key] for choice in axis.choices]}
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
    if definition.folds:
        parameters["data.fold"] = {"values": list(range(definition.folds))}
    parameters["seed"] = {"values": list(definition.seeds)}
    fixed = [f"--data.folds={definition.folds}"] if definition.folds else []
    fixed += [
        f"--{section}.{key}={value}"
        for section, values in definition.over.items()
        if isinstance(values, dict)
        for key, value in values.items()
    ]
    command = ["${env}", "mammo-aln", "train", f"--cohort={cohort}", f"--out={out / 'runs'}", f"--config={base}"]
    content = {
        "method": "grid",
        "metric": {"name": "val_auc", "goal": "maximize"},
        "command": [*command, "${args}", *fixed],
        "parameters": parameters,
    }
    write_text(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return file


def _sets_one(name: str, choice: Choice) -> bool:
    section, dot, key = name.partition(".")
    return bool(dot) and list(choice.settings) == [section] and list(choice.settings[section]) == [key]


def _write(path: Path, settings: Nested) -> None:
    write_text(path, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
