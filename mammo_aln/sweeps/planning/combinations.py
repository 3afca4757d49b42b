"""Every combination of settings that a sweep asks for, looked at before the first crop, pre-training or download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mammo_aln.errors import InputError
from mammo_aln.machine.hardware import require_hardware
from mammo_aln.settings import Settings
from mammo_aln.settings.steps import step_shape
from mammo_aln.sweeps.plan import name_of_point, names_in_words
from mammo_aln.sweeps.planning.definition import Point
from mammo_aln.sweeps.planning.preflight import Planner, settings_of
from mammo_aln.training.checkpoints import refuse_kept_and_pruned
from mammo_aln.training.trackers.registry import require_trackers
from mammo_aln.training.trackers.wandb_key import require_wandb_key


def readable_settings(points: Sequence[Point]) -> list[Settings]:
    """Read every point's settings, with no weights to begin from.

    Raises:
        InputError: names every cell that has a key or value that no setting has.
    """
    return _all_sound(points, lambda point: settings_of(unweighted(point)))


def refuse_combinations(points: Sequence[Point], planner: Planner) -> None:
    """Build each distinct network of the points, from no weights: a file that does not load is its cell's fault.

    Raises:
        InputError: names every cell that its settings, the cohort or this machine do not allow, with the reason.
    """
    _all_sound(points, lambda point: _refuse(settings_of(unweighted(point)), planner))


def _all_sound(points: Sequence[Point], look: Callable[[Point], Any]) -> list[Any]:
    faults: dict[str, list[str]] = {}
    seen = []
    for point in points:
        name = name_of_point(point)
        try:
            seen.append(look(point))
        except InputError as error:
            faults.setdefault(str(error).removeprefix(f"{name}: "), []).append(name)
    if faults:
        lines = [f"  {fault} ({names_in_words(names)})" for fault, names in faults.items()]
        count = sum(len(names) for names in faults.values())
        raise InputError("\n".join([f"{count} of {len(points)} cells cannot be trained; nothing was begun:", *lines]))
    return seen


def unweighted(point: Point) -> Point:
    """A point whose network begins from no weights."""
    model = point.settings.get("model", {})
    return replace(point, settings={**point.settings, "model": {**model, "pretrained": False}})


def _refuse(settings: Settings, planner: Planner) -> None:
    if planner.here:
        require_hardware(settings.trainer)
    step_shape(settings)
    require_trackers(settings)
    refuse_kept_and_pruned(settings.trainer)
    require_wandb_key(settings)
    fault = planner.network_for(settings).fault
    if fault is not None:
        raise InputError(fault)
