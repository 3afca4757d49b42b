"""Runs of the same settings and cohort that other code made: a training does not go on with them, and says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammo_aln.runs.identity import RunIdentity


def trained_by(environment: Mapping[str, Any]) -> str:
    """Name the code behind an environment.json, in words: version and revision."""
    return f"version {environment['package_version']}, {environment['code_revision'][:20]}"


def predecessors(out: Path, identity: RunIdentity) -> list[str]:
    """Name the runs of a folder that differ from an identity in their code alone, each with what trained it."""
    named = []
    for path in sorted(out.glob("*/environment.json")):
        environment = json.loads(path.read_text(encoding="utf-8"))
        other = environment.get("identity", {})
        same = all(other.get(name) == getattr(identity, name) for name in ("settings", "cohort"))
        if same and any(other.get(name) != getattr(identity, name) for name in ("package_version", "learning_version")):
            named.append(f"{path.parent} ({trained_by(environment)})")
    return named
