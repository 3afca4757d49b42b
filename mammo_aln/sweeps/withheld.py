"""Cells that no process may train: a file each in OUT/withheld, which whoever trains a cell looks at.

A cell is withheld because it was cancelled or pruned, or because it is no longer a cell of the sweep (`Plan.dropped`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mammo_aln.files import make_folder, read_object, write_json
from mammo_aln.runs.record import now
from mammo_aln.sweeps.slurm.records import settle_jobs

FOLDER = "withheld"
EXEMPT = "unpruned"
"""Folder of the names of cells that no pruner stops: they were pruned, and then tried again by hand."""
BY_FILE = "no longer in the sweep's file"
BY_HAND = "dropped by `sweep drop`"
CANCELLED = "cancelled by `sweep cancel`"


def withhold(out: Path, run_ids: Iterable[str], reason: str, pruned: Mapping[str, Any] | None = None) -> None:
    """Keep every process from training these cells, and end a training of them that is on its way.

    Args:
        out: the sweep's folder.
        run_ids: of the cells.
        reason: in words.
        pruned: of cells that a pruner stopped: `epoch`, `auc` there, and the `pruner`.
    """
    about = {} if pruned is None else {"pruned": pruned}
    for run_id in run_ids:
        write_json(make_folder(out / FOLDER) / f"{run_id}.json", {"reason": reason, "time": now(), **about})


def pruned_at(out: Path, run_id: str) -> Mapping[str, Any] | None:
    """Read at which `epoch`, with which `auc`, and by which `pruner` a cell was stopped; None where it was not."""
    pruned: Mapping[str, Any] | None = _record(out, run_id).get("pruned")
    return pruned


def exempt(out: Path, run_ids: Iterable[str]) -> None:
    """Keep pruners from these cells from now on."""
    for run_id in run_ids:
        write_json(make_folder(out / EXEMPT) / f"{run_id}.json", {"time": now()})


def exempted(out: Path) -> frozenset[str]:
    """List the ids of the cells that no pruner stops."""
    return frozenset(path.stem for path in (out / EXEMPT).glob("*.json") if not path.name.startswith("."))


def release(out: Path, run_ids: Iterable[str]) -> None:
    """Let these cells be trained again; a job that ended for their being withheld says nothing against them."""
    run_ids = tuple(run_ids)
    settle_jobs(out, run_ids)
    for run_id in run_ids:
        (out / FOLDER / f"{run_id}.json").unlink(missing_ok=True)


def withheld(out: Path) -> frozenset[str]:
    """List the ids of the cells that no process may train."""
    folder = out / FOLDER
    return frozenset(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))


def reason_withheld(out: Path, run_id: str) -> str | None:
    """Read why a cell is withheld; None where it is not."""
    record = _record(out, run_id)
    return str(record["reason"]) if record else None


def _record(out: Path, run_id: str) -> dict[str, Any]:
    path = out / FOLDER / f"{run_id}.json"
    return read_object(path, "reason") if path.is_file() else {}
