"""A run's directory, its identity and its state.

`runs/<run_id>/`: config.yaml, environment.json, recipe.json, metrics.csv, checkpoints/{best,last}.ckpt,
predictions.csv, predictions.json, exclusions.csv, state.json. The identity is a hash of the settings that shape the
result, of what the cohort holds and
of the package version; workers, devices, paths, file times and W&B do not enter, so that the same cell never trains
twice, wherever it runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, cast, get_type_hints

import yaml

from mammo_aln import __version__
from mammo_aln.config import PretrainSettings, Settings
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, write_json, write_text
from mammo_aln.progress import say

WITHOUT_INFLUENCE: dict[str, tuple[str, ...]] = {
    # settings that change where or how fast a run is computed, not what it computes
    "pixels": ("max_pixels",),
    "data": ("num_workers",),
    "trainer": ("accelerator", "devices", "num_nodes", "compile"),
    "log": ("wandb", "project"),
}
AUXILIARY_ONLY = ("auxiliary", "auxiliary_strategy", "auxiliary_size_mm", "peritumoral_scale")
FOLDS_ONLY = ("folds", "fold", "fold_seed")
OUTCOME_ONLY = ("fusion", "shared_backbone", "modality_dropout")
"""Settings of the network that a pre-training does not build."""
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


def shaping_settings(settings: Settings) -> dict[str, Any]:
    """The settings that shape a run's result, as plain nested dicts in one canonical form."""
    plain = json_ready(asdict(settings))
    for section, keys in WITHOUT_INFLUENCE.items():
        for key in keys:
            plain[section].pop(key)
    inputs = plain["model"]["inputs"] = sorted(plain["model"]["inputs"])
    if inputs == ["clinical"]:
        del plain["crop"], plain["pixels"]
    elif "auxiliary" not in inputs:
        for key in AUXILIARY_ONLY:
            plain["crop"].pop(key)
    if settings.optim.loss != "focal":
        plain["optim"].pop("focal_gamma")
    if not settings.data.folds:
        for key in FOLDS_ONLY:
            plain["data"].pop(key)
    if isinstance(settings, PretrainSettings):
        for key in OUTCOME_ONLY:
            plain["model"].pop(key)
    if isinstance(plain["model"]["pretrained"], str):
        plain["model"]["pretrained"] = "sha256:" + file_digest(settings.model.pretrained)
    return plain


def run_identity(settings: Settings, cohort_content: str, crop_keys: list[str]) -> tuple[str, dict[str, Any]]:
    """Run id (12 hex digits) and what it was made from.

    Args:
        settings: all settings.
        cohort_content: digest of the cohort's tables.
        crop_keys: content keys of every crop that the run may read; each covers file content, pixel recipe and window.
    """
    identity = {
        "package_version": __version__,
        "settings": shaping_settings(settings),
        "cohort": cohort_content,
        "crops": hashlib.sha256("\n".join(sorted(crop_keys)).encode()).hexdigest(),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return digest[:12], identity


def file_digest(path: str | Path | bool) -> str:
    """SHA-256 of a file's bytes; `InputError` where it does not exist."""
    try:
        with Path(str(path)).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; a readable file was expected") from error


def write_settings(run: Path, settings: Settings) -> None:
    """config.yaml: every setting as used, in the form that `--config` reads."""
    write_text(run / "config.yaml", yaml.safe_dump(json_ready(asdict(settings)), sort_keys=False, allow_unicode=True))


def read_settings(run: Path) -> Settings:
    """Settings of a run from its config.yaml; a setting that its version did not know yet has its default.

    Raises:
        InputError: no config.yaml, or one that holds settings unknown to this version.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{run}: not a run directory (config.yaml is missing)")
    plain = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    _refuse_unknown(path, "", plain, Settings)
    for name, value in plain.items():
        _refuse_unknown(path, f"{name}.", value, get_type_hints(Settings)[name])
    return Settings(**{name: _section(Settings, name, value) for name, value in plain.items()})


def _refuse_unknown(path: Path, section: str, plain: Any, kind: Any) -> None:
    if not is_dataclass(kind):
        return
    known = [f.name for f in fields(kind)]
    strange = [f"{section}{key}" for key in plain if key not in known]
    if strange:
        raise InputError(f"{path}: unknown to this version ({__version__}): {', '.join(strange)}")


def _section(owner: type, name: str, value: Any) -> Any:
    kind = get_type_hints(owner)[name]
    if not is_dataclass(kind):
        return value
    tuples = {f.name for f in fields(kind) if str(f.type).startswith("tuple")}
    return cast(Any, kind)(**{key: tuple(item) if key in tuples else item for key, item in value.items()})


def environment() -> dict[str, Any]:
    """Versions, machine and code revision; nothing that tells the user's folders."""
    import torch

    packages: Mapping[str, str] = {name: metadata.version(name) for name in RECORDED_PACKAGES}
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "package_version": __version__,
        "code_revision": code_revision(),
        "python": sys.version.split()[0],
        "packages": dict(packages),
        "platform": platform.platform(),
        "host": hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8],
        "gpus": gpus,
    }


def code_revision() -> str:
    """Git revision of the running code (`+changed` where files differ from it); the sources' digest elsewhere."""
    here = Path(__file__).parent

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


class RunIsHeld(InputError):
    """Another process trains this run now."""


@contextmanager
def held_alone(run: Path) -> Iterator[None]:
    """Keep other processes off a run while it is trained; the operating system frees it when this process ends.

    However the process ends, nothing stale is left: what holds is a POSIX lock on `.lock`, on one machine and
    across the machines of a network disk; the file's text only says who holds it.

    Raises:
        RunIsHeld: another process trains this run.
    """
    with (run / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise RunIsHeld(f"{run}: {holder} is training this run; wait for it, or stop it first") from error
        except OSError as error:
            say(f"{run}: this disk keeps no locks ({error.strerror}); see to it that no other process trains this run")
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield
        lock.truncate(0)


def is_held(run: Path) -> bool:
    """Whether another process trains this run now."""
    return is_locked(run / ".lock")


def is_locked(lock: Path) -> bool:
    """Whether another process holds this POSIX lock; asks the system and never takes the lock itself.

    A process that holds the lock must not ask: to close the file once more would free it.
    """
    try:
        with lock.open("rb+") as stream:
            # struct flock of 64-bit Linux: type, whence, start, length, pid
            wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            found = fcntl.fcntl(stream, fcntl.F_GETLK, wanted)
    except OSError:
        return False  # no such run yet, or a disk that keeps no locks
    return bool(struct.unpack("hhqqi4x", found)[0] != fcntl.F_UNLCK)


def read_state(run: Path) -> dict[str, Any]:
    """state.json; `{"state": "not_started"}` where there is none."""
    path = run / "state.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"state": "not_started", "attempts": 0}


def write_state(run: Path, state: str, **more: Any) -> None:
    """Record `not_started`, `running`, `completed` or `failed`, keeping what was recorded before."""
    write_json(run / "state.json", {**read_state(run), "state": state, "updated": now(), **more})
