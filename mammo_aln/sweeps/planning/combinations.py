"""Every combination of settings that a sweep asks for, looked at before the first crop, pre-training or download."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mammo_aln.errors import InputError
from mammo_aln.machine.hardware import require_hardware
from mammo_aln.settings import Settings
from mammo_aln.settings.steps import step_shape
from mammo_aln.sweeps.plan import name_of, names_in_words
from mammo_aln.sweeps.planning.definition import Point
from mammo_aln.sweeps.planning.preflight import Planner, settings_of
from mammo_aln.training.checkpoints import refuse_kept_and_pruned
from mammo_aln.training.trackers import require_trackers


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
        name = name_of(point.axes, point.settings.get("seed", 0))
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
    _require_wandb_key(settings)
    fault = planner.network_for(settings).fault
    if fault is not None:
        raise InputError(fault)


def _require_wandb_key(settings: Settings) -> None:
    """`InputError` where runs are to be uploaded to W&B, and it would ask who is there."""
    if settings.log.wandb != "online" or "wandb" not in settings.log.tracker or _has_wandb_key():
        return
    raise InputError(
        "log.wandb=online: W&B has no API key here; expected one by `wandb login` or in WANDB_API_KEY, or"
        " --log.wandb=offline"
    )


def _has_wandb_key() -> bool:
    """Look where W&B looks: in the environment and in the user's netrc file."""
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    try:
        return any(file.is_file() and netrc(file).authenticators(host) is not None for file in files)
    except NetrcParseError as error:
        raise InputError(
            f"log.wandb=online: {error}; expected a readable netrc file, or --log.wandb=offline"
        ) from error
