"""Names of runs: beside the id, which says what a run is, a word of its user's choice that nothing is computed from.

A name stands in the run's state.json and is given once in a folder of runs. RUNS/NAME is RUNS/RUN_ID, for a run and for
the files in it, wherever a command asks for one.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mammo_aln.errors import InputError
from mammo_aln.files import read_object
from mammo_aln.machine.locks import Lock, await_lock
from mammo_aln.runs.identity import shaping_settings
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.record import State, read_state, write_state
from mammo_aln.settings import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)

NAME = re.compile(r"[^\W_][\w.+=-]{0,79}")
RUN_ID = re.compile(r"[0-9a-f]{12}")


def require_name(name: str) -> None:
    """Refuse a word that is no name of a run.

    Raises:
        InputError: it could not be a folder's name everywhere, or it looks like a run's id.
    """
    if not NAME.fullmatch(name) or RUN_ID.fullmatch(name):
        raise InputError(
            f"--name {name}: expected up to 80 letters, digits, or . _ + = - behind the first of them, and not the 12"
            " hex digits of a run's id; such as --name baseline-5cm"
        )


def run_named(runs: Path, name: str) -> Path | None:
    """Find the run of a folder that has a name; None where none has."""
    for path in sorted(runs.glob("*/state.json")):
        try:
            state = State.from_json(read_object(path))
        except (InputError, TypeError):
            continue  # no run, or one that is being removed: nothing there has the name
        if state.name == name:
            return path.parent
    return None


def called(run: Path) -> str:
    """Write a run's id, with its name behind it where it has one."""
    name = read_state(run).name
    return f"{run.name} ({name})" if name else run.name


def run_path(path: str | Path) -> Path:
    """Find what RUNS/NAME, or a file below it, stands for; a path that exists, or that no name explains, is itself."""
    path = Path(path)
    missing = [each for each in (path, *path.parents) if not each.exists()]
    if not missing or not missing[-1].parent.is_dir():
        return path
    run = run_named(missing[-1].parent, missing[-1].name)
    return path if run is None else run / path.relative_to(missing[-1])


def with_weights_of_named(settings: AnySettings) -> AnySettings:
    """Put the path of a run's own folder where `model.pretrained` gives its name: names may change."""
    pretrained = settings.model.pretrained
    if not isinstance(pretrained, str) or (path := run_path(pretrained)) == Path(pretrained):
        return settings
    return replace(settings, model=replace(settings.model, pretrained=str(path)))


def refuse_taken(runs: Path, name: str | None, settings: Settings, run_id: str | None = None) -> None:
    """Refuse a name that a run cannot get, before anything is written for it.

    Args:
        runs: folder of runs.
        name: the name; nothing is refused without one.
        settings: of the run.
        run_id: its id; None while its crops, and so its id, are not known: whoever has the name is another run for
            certain where its settings are others.

    Raises:
        InputError: it is no name, that of another run, or that of a file.
    """
    if not name:
        return
    require_name(name)
    _refuse_file(runs, name)
    run = run_named(runs, name)
    if run is None:
        return
    if run.name != run_id if run_id is not None else _settings_of(run) not in (None, shaping_settings(settings)):
        raise _taken(run, name)


def _settings_of(run: Path) -> object:
    """Read what a run's id was made from of its settings; None before its first attempt."""
    path = run / "environment.json"
    identity = read_object(path).get("identity") if path.is_file() else None
    return identity.get("settings") if isinstance(identity, dict) else None


def record_name(run: Path, name: str | None) -> None:
    """Keep a run's name in its record; the caller holds the run.

    Args:
        run: its directory, which has a state.
        name: the name; an empty one takes it away, None leaves it as it is.

    Raises:
        InputError: it is no name, or another run of the folder, or a file there, is called so.
    """
    if name is None or read_state(run).name == (name or None):
        return
    if name:
        require_name(name)
    with _locked(run.parent):
        if name:
            _refuse_file(run.parent, name)
            other = run_named(run.parent, name)
            if other is not None and other.name != run.name:
                raise _taken(other, name)
        write_state(run, read_state(run).state, name=name or None)


def name_run(run: Path, name: str | None) -> None:
    """Name a run that nobody trains now; see `record_name`.

    Raises:
        InputError: it is no run, it is being trained, or it cannot be named so.
    """
    if name is None:
        return
    if not (run / "state.json").is_file():
        raise InputError(f"--name {name}: {run} is not a run directory (no state.json); expected RUNS/RUN_ID or a name")
    with held_alone(run):
        record_name(run, name)


def _locked(runs: Path) -> Lock:
    """One command at a time gives names in a folder of runs; the lock ends with its process."""
    try:
        return await_lock(runs / ".names.lock")
    except OSError as error:
        raise InputError(f"{runs}: cannot be written ({error.strerror}); expected a folder of your own") from error


def _refuse_file(runs: Path, name: str) -> None:
    if (runs / name).exists():
        raise InputError(f"--name {name}: {runs / name} is a file or folder; expected a name that nothing there has")


def _taken(run: Path, name: str) -> InputError:
    return InputError(
        f"--name {name}: run {run.name} of {run.parent} has this name; expected another one, or first"
        f" `mammo-aln runs {shlex.quote(str(run))} --name OTHER`"
    )
