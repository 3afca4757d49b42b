"""Cells that no process may train: a file each in OUT/withheld, which whoever trains a cell looks at.

A cell is withheld because it was cancelled, or because it is no longer a cell of the sweep (`Plan.dropped`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from mammo_aln.files import make_folder, write_json
from mammo_aln.runs.record import now

FOLDER = "withheld"
BY_FILE = "no longer in the sweep's file"
BY_HAND = "dropped by `sweep drop`"
CANCELLED = "cancelled by `sweep cancel`"


def withhold(out: Path, run_ids: Iterable[str], reason: str) -> None:
    """Keep every process from training these cells, and end a training of them that is on its way."""
    for run_id in run_ids:
        write_json(make_folder(out / FOLDER) / f"{run_id}.json", {"reason": reason, "time": now()})


def release(out: Path, run_ids: Iterable[str]) -> None:
    """Let these cells be trained again."""
    for run_id in run_ids:
        (out / FOLDER / f"{run_id}.json").unlink(missing_ok=True)


def withheld(out: Path) -> frozenset[str]:
    """List the ids of the cells that no process may train."""
    folder = out / FOLDER
    return frozenset(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))


def reason_withheld(out: Path, run_id: str) -> str | None:
    """Read why a cell is withheld; None where it is not."""
    try:
        return str(json.loads((out / FOLDER / f"{run_id}.json").read_text(encoding="utf-8"))["reason"])
    except FileNotFoundError:
        return None
