"""Figures of a sweep's runs, those of completed ones kept beside them: a look at thousands reads one file.

What is kept holds for the very files that it was computed from, by their size, times and inode, and for the code that
computed it; anything else is computed anew.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from mammo_aln.errors import InputError
from mammo_aln.evaluation.area import Area, area_of
from mammo_aln.files import read_own_table, stands, write_text
from mammo_aln.machine.code import code_digest
from mammo_aln.progress import say, say_once

KEPT = ".figures.json"
FORM = 1
"""Raise this when other figures are kept."""
ROOMS = ("evaluation", "sweeps")
SETTLED_S = 2.0
"""A file that is younger than this may change again within one tick of its disk's clock: it is not kept."""


@dataclass(frozen=True)
class Figures:
    """Figures of one run.

    Attributes:
        val: AUC on its validation patients.
        train: AUC on its training patients.
        val_aucs: validation AUC of each epoch done.
        epoch_s: seconds of a training epoch, NaN where none is done.
    """

    val: Area = field(default_factory=Area)
    train: Area = field(default_factory=Area)
    val_aucs: tuple[float, ...] = ()
    epoch_s: float = math.nan


def completed_figures(runs: Path, run_ids: Iterable[str], out: Path) -> dict[str, Figures | InputError]:
    """Tell the figures of completed runs, by id: as they are kept in a sweep's folder, else computed and kept there.

    Args:
        runs: folder of the run directories.
        run_ids: ids of completed runs.
        out: the sweep's folder.

    Returns:
        For each its figures, or what is wrong with the file that holds them.
    """
    code = code_digest(ROOMS)
    kept = _read_kept(out / KEPT, code)
    figures: dict[str, Figures | InputError] = {}
    computed = False
    for run_id in run_ids:
        files = _identities(runs / run_id)
        entry = kept.get(run_id)
        if entry is not None and files == entry["files"]:
            figures[run_id] = _figures_from(entry)
            continue
        try:
            computed_now = _computed(runs / run_id)
        except InputError as error:
            figures[run_id] = error
            kept.pop(run_id, None)
            continue
        figures[run_id] = computed_now
        if files is None or _identities(runs / run_id) != files or not _is_settled(files):
            kept.pop(run_id, None)
            continue
        kept[run_id] = {"files": files, "figures": astuple(computed_now)}
        computed = True
    if computed:
        _keep(out / KEPT, {"form": FORM, "code": code, "runs": kept})
    return figures


def figures_so_far(run: Path) -> Figures:
    """Tell the figures of a run that is not completed: those of its epochs."""
    return Figures(**_epochs(run / "metrics.csv"))


def _computed(run: Path) -> Figures:
    path = run / "predictions.csv"
    table = read_own_table(path, "aln_status", "score", dtype={"patient_id": str, "run_id": str})
    try:
        areas = {str(split): area_of(scored) for split, scored in table.groupby("split")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected a training's predictions (split, aln_status, score), got {error}"
        ) from error
    return Figures(areas.get("val", Area()), areas.get("train", Area()), **_epochs(run / "metrics.csv"))


def _epochs(metrics: Path) -> dict[str, Any]:
    if not stands(metrics):
        return {}
    table = read_own_table(metrics, "*", "val_auc")
    seconds = table["train_s"].median() if "train_s" in table else math.nan
    return {"val_aucs": tuple(table["val_auc"].astype(float)), "epoch_s": float(seconds)}


def _identities(run: Path) -> list[list[int]] | None:
    """Identify the files that figures are computed from: size, times (in nanoseconds), inode; None without them."""
    try:
        each = [(run / name).stat() for name in ("predictions.csv", "metrics.csv")]
    except FileNotFoundError:
        return None
    return [[status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino] for status in each]


def _is_settled(files: list[list[int]]) -> bool:
    """Tell whether the files have been as they are for a while, by the clock of their disk or a later one."""
    return all(time.time() - max(modified, changed) / 1e9 > SETTLED_S for _, modified, changed, _ in files)


def _figures_from(entry: Mapping[str, Any]) -> Figures:
    val, train, val_aucs, epoch_s = entry["figures"]
    return Figures(Area(*val), Area(*train), tuple(val_aucs), epoch_s)


def _read_kept(path: Path, code: str) -> dict[str, Any]:
    """Read the entries that this code has kept, by run id."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return dict(kept["runs"]) if (kept["form"], kept["code"]) == (FORM, code) else {}
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        say(f"{path}: not what was kept there ({type(error).__name__}); the cells' figures are computed anew")
        return {}


def _keep(path: Path, kept: Mapping[str, Any]) -> None:
    try:
        write_text(path, json.dumps(kept), durable=False)
    except (OSError, InputError) as error:
        say_once(f"the cells' figures are not kept, the next look computes them again ({error})")
