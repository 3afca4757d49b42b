"""A run's directory: settings, environment and state on record.

`runs/<run_id>/`: config.yaml, environment.json, recipe.json, metrics.csv, checkpoints/{best,last}.ckpt,
predictions.csv, predictions.json, exclusions.csv, state.json.
"""

from __future__ import annotations

import hashlib
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from mammo_aln import __version__
from mammo_aln.errors import InputError
from mammo_aln.files import REMEDY, json_ready, read_object, stands, write_json, write_text
from mammo_aln.settings import PretrainSettings, Settings
from mammo_aln.settings.parse import settings_from
from mammo_aln.settings.shipped import read_yaml
from mammo_aln.settings.stored import as_they_ran

RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "pytorch-lightning",
    "pydicom",
    "imagecodecs",
    "albumentations",
    "numpy",
    "pandas",
    "scikit-learn",
)


StateName = Literal["not_started", "running", "completed", "failed", "stopped"]


@dataclass(frozen=True)
class State:
    """Progress of a run: state.json.

    Args:
        state: `stopped` by Ctrl-C or a signal, with what it did saved; `failed` by an error.
        attempts: how often it was begun.
        run_id: its id.
        started: when it was begun first; this and other times are in UTC.
        updated: when this was written.
        ended: when it was completed.
        error: what ended the last attempt, None where nothing did.
        training_s: seconds of all attempts that led to its weights; steps that a kill undid are not counted.
        frozen: SHA-256 of weights, threshold, calibration and pixel recipe of a completed training.
        pretrained: SHA-256 of the weights of a completed pre-training.
        name: what its user calls it, see `names`.
    """

    state: StateName = "not_started"
    attempts: int = 0
    run_id: str | None = None
    started: str | None = None
    updated: str | None = None
    ended: str | None = None
    error: str | None = None
    training_s: float | None = None
    frozen: Mapping[str, str] | None = None
    pretrained: str | None = None
    name: str | None = None

    def to_json(self) -> Mapping[str, object]:
        """As state.json holds it: fields that have no value yet are left out."""
        kept = ("state", "attempts", *(("error",) if self.started is not None else ()))
        return {name: value for name, value in vars(self).items() if value is not None or name in kept}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> State:
        """Read what `to_json` wrote; fields of other versions are left aside."""
        return cls(**{name: value for name, value in plain.items() if name in cls.__dataclass_fields__})


def write_settings(run: Path, settings: Settings) -> None:
    """config.yaml: every setting as used, in the form that `--config` reads."""
    write_text(run / "config.yaml", yaml.safe_dump(json_ready(asdict(settings)), sort_keys=False, allow_unicode=True))


def read_settings(run: Path) -> Settings:
    """Settings of a run from its config.yaml; one that its version did not know yet has the value that the run had.

    Raises:
        InputError: no config.yaml, or one that holds settings unknown to this version.
    """
    return _settings_of(Settings, run / "config.yaml", _plain_settings(run))


def read_any_settings(run: Path) -> Settings:
    """Settings of a training or a pre-training; the rest as `read_settings`."""
    plain = _plain_settings(run)
    return _settings_of(PretrainSettings if "pretrain" in plain else Settings, run / "config.yaml", plain)


def _plain_settings(run: Path) -> Mapping[str, Any]:
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{run}: not a run directory (config.yaml is missing)")
    try:
        return read_yaml(path)
    except InputError as error:
        raise InputError(f"{run}: {error}; bring the file back from a copy, or train the run anew") from error


def _settings_of(kind: type[Settings], path: Path, plain: Mapping[str, Any]) -> Settings:
    unknown = set(plain) - {field.name for field in fields(kind)}
    if unknown:
        raise InputError(f"{path}: unknown to this version ({__version__}): {', '.join(sorted(unknown))}")
    return settings_from(kind, as_they_ran(plain), f"{path} (read by version {__version__})")


@dataclass(frozen=True)
class Environment:
    """Versions, machine and code revision behind a result; nothing that tells the user's folders."""

    package_version: str
    code_revision: str
    python: str
    packages: Mapping[str, str]
    platform: str
    host: str
    gpus: tuple[str, ...]


def environment() -> Environment:
    """Describe this process and its machine."""
    import torch

    return Environment(
        package_version=__version__,
        code_revision=code_revision(),
        python=sys.version.split()[0],
        packages={name: metadata.version(name) for name in RECORDED_PACKAGES},
        platform=platform.platform(),
        host=hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8],
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())),
    )


def code_revision() -> str:
    """Git revision of the running code (`+changed` where files differ from it); the sources' digest elsewhere."""
    here = Path(__file__).parents[1]

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        revision = git("rev-parse", "HEAD") if (here.parent / ".git").exists() else None
        if revision:
            return revision + ("+changed" if git("status", "--porcelain", "--", str(here)) else "")
    except FileNotFoundError:
        pass  # no git program: the sources' digest below says as much
    sources = sorted(here.rglob("*.py"))
    return "sources:" + hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_state(run: Path) -> State:
    """state.json; `not_started` where there is none.

    Raises:
        InputError: it is damaged, or no file.
    """
    path = run / "state.json"
    if not stands(path):
        return State()
    state = State.from_json(read_object(path))
    texts = (state.run_id, state.started, state.updated, state.ended, state.error, state.name)
    if (
        state.state not in get_args(StateName)
        or not all(isinstance(text, str | None) for text in texts)
        or not isinstance(state.training_s, int | float | None)
        or not isinstance(state.frozen, Mapping | None)
    ):
        raise InputError(f"{path}: holds no state of a run; {REMEDY}")
    return state


def write_state(run: Path, state: StateName, **changes: Any) -> None:
    """Record a state and the fields of `State` that changed, keeping what was recorded before."""
    write_json(run / "state.json", replace(read_state(run), state=state, updated=now(), **changes).to_json())
