"""What a run's directory records: settings, environment and state.

`runs/<run_id>/`: config.yaml, environment.json, recipe.json, metrics.csv, checkpoints/{best,last}.ckpt,
predictions.csv, predictions.json, exclusions.csv, state.json.
"""

from __future__ import annotations

import hashlib
import json
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, cast, get_type_hints

import yaml

from mammo_aln import __version__
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, write_json, write_text
from mammo_aln.settings import Settings

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


def read_state(run: Path) -> dict[str, Any]:
    """state.json; `{"state": "not_started"}` where there is none."""
    path = run / "state.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"state": "not_started", "attempts": 0}


def write_state(run: Path, state: str, **more: Any) -> None:
    """Record `not_started`, `running`, `completed` or `failed`, keeping what was recorded before."""
    write_json(run / "state.json", {**read_state(run), "state": state, "updated": now(), **more})
