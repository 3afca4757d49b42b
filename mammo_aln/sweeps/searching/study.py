"""The study of a search in Optuna's storage: its name, its sampler, and the drawing of a trial."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammo_aln.errors import InputError
from mammo_aln.runs.identity import learning_code
from mammo_aln.sweeps.planning.definition import Definition, Label
from mammo_aln.sweeps.planning.space import Space

FOLDER = "folder"
"""Attribute of a trial on a storage that several folders may share: the folder whose commands train it."""


@dataclass(frozen=True)
class Trial:
    """A trial that Optuna has asked for: its number, and its value on each axis and range."""

    number: int
    params: dict[str, Label]


def optuna() -> Any:
    """Import Optuna, with its warnings alone to be heard.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("search, pruner: need Optuna: pip install 'mammo-aln[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def study_name(definition: Definition, space: Space, content: str) -> str:
    """Name the study of this definition and cohort; another base, range, label or code has another name."""
    axes = {axis.name: [choice.label for choice in axis.choices] for axis in definition.axes}
    about = [
        definition.base,
        definition.over,
        axes,
        space.to_json()["space"],
        definition.seeds,
        definition.folds,
        content,
        learning_code(),
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:12]


def open_study(name: str, space: Space, out: Path) -> Any:
    """Open the study of a name, in the sweep's folder or where `space` says; begin it where there is none."""
    storages = optuna().storages
    url = space.storage or f"sqlite:///{out.absolute() / 'search.db'}"
    storage = storages.RDBStorage(url, engine_kwargs=_patient(url))
    return optuna().create_study(
        study_name=name, storage=storage, sampler=sampler_of(space, 0), direction="maximize", load_if_exists=True
    )


def sampler_of(space: Space, number: int) -> Any:
    """Draw a trial from a seed of its own number, which the storage gives to one command: no two ask alike by seed."""
    from optuna.samplers import TPESampler

    seed = int(np.random.SeedSequence([space.seed, number]).generate_state(1)[0])
    return TPESampler(seed=seed, constant_liar=True)


def _patient(storage: str) -> dict[str, dict[str, int]]:
    """Have SQLite wait: it makes others wait while one writes."""
    return {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}


def ask(study: Any, definition: Definition, space: Space, folder: str = "") -> Trial:
    """Ask Optuna for a trial: a value on each axis of the grid and in each range.

    Args:
        study: Optuna's.
        definition: the sweep.
        space: the ranges.
        folder: the sweep's, where the storage may be shared with others.
    """
    trial = study.ask()
    if folder:
        trial.set_user_attr(FOLDER, folder)
    study.sampler = sampler_of(space, trial.number)
    draw(trial, definition, space)
    return Trial(trial.number, dict(trial.params))


def draw(trial: Any, definition: Definition, space: Space) -> None:
    """Give one of Optuna's trials its value on each axis and in each range, by its study's sampler."""
    for axis in definition.axes:
        trial.suggest_categorical(axis.name, [str(choice.label) for choice in axis.choices])
    for name, given in space.ranges.items():
        scale = {key: value for key, value in given.to_json().items() if key in ("log", "step")}
        (trial.suggest_int if given.whole else trial.suggest_float)(name, given.low, given.high, **scale)


def is_drawn(params: Collection[str], definition: Definition, space: Space) -> bool:
    """Tell whether a trial has a value on every axis and range: a command may be killed while it draws."""
    return set(params) == set(space.ranges) | {axis.name for axis in definition.axes}


def tell_failed(study: Any, number: int) -> None:
    """Tell Optuna that a trial cannot be trained."""
    study.tell(number, state=optuna().trial.TrialState.FAIL, skip_if_finished=True)


def tell_pruned(study: Any, number: int, epoch: int, auc: float) -> None:
    """Tell Optuna at which epoch a trial was pruned, and its AUC there: its sampler learns from that."""
    (frozen,) = [trial for trial in study.trials if trial.number == number]
    if not frozen.state.is_finished():
        optuna().trial.Trial(study, frozen._trial_id).report(auc, epoch)
        study.tell(number, state=optuna().trial.TrialState.PRUNED, skip_if_finished=True)
