"""Runs of the same settings and cohort that other code made: a training does not go on with them, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammo_aln.files import json_ready, read_object
from mammo_aln.runs.identity import RunIdentity
from mammo_aln.settings import PretrainSettings
from mammo_aln.settings.stored import BEFORE_THEIR_SETTING


def trained_by(environment: Mapping[str, Any]) -> str:
    """Name the code behind an environment.json, in words: version and revision."""
    return f"version {environment['package_version']}, {environment['code_revision'][:20]}"


def predecessors(out: Path, identity: RunIdentity) -> list[str]:
    """Name the runs of a folder that differ from an identity in their code alone, each with what trained it.

    Settings are alike where both know them: one that the other code did not know yet has its default here.
    """
    named = []
    for path in sorted(out.glob("*/environment.json")):
        environment = read_object(path)
        other = environment.get("identity", {})
        same = other.get("cohort") == identity.cohort and _alike(
            other.get("settings", {}), identity.settings, PretrainSettings(), BEFORE_THEIR_SETTING
        )
        if same and any(other.get(name) != getattr(identity, name) for name in ("package_version", "learning_version")):
            named.append(f"{path.parent} ({trained_by(environment)})")
    return named


def _alike(other: Mapping[str, Any], ours: Mapping[str, Any], defaults: object, before: Mapping[str, Any]) -> bool:
    """Compare settings that shape a result; one that either side lacks must be the default, or what was done before it.

    Args:
        other: settings of a run of other code.
        ours: settings of this run.
        defaults: of all settings.
        before: what runs did that are older than a setting, see `BEFORE_THEIR_SETTING`.
    """
    for name in ours.keys() | other.keys():
        default, older = getattr(defaults, name, None), before.get(name)
        if name in ours and name in other:
            if not isinstance(ours[name], Mapping) or not isinstance(other[name], Mapping):
                alike = other[name] == ours[name]
            else:
                alike = _alike(other[name], ours[name], default, older or {})
        else:
            value = ours.get(name, other.get(name))
            alike = default is None or (not isinstance(value, Mapping) and value in (json_ready(default), older))
        if not alike:
            return False
    return True
