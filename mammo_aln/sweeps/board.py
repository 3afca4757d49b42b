"""The board of a sweep: a table for the terminal, and board.html, a heat map that refreshes while the sweep runs."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammo_aln import __version__
from mammo_aln.evaluation.report.page import page_environment
from mammo_aln.files import write_text
from mammo_aln.progress import aligned
from mammo_aln.runs.record import now
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.table import Row, counts, seconds_left

REFRESH_S = 10
ACROSS = ("crop.strategy", "step")
DOWN = ("model.backbone", "config")
STATE_WORDS = {"not_started": "not started", "running": "running", "completed": "completed", "failed": "failed"}
PAGES = page_environment("mammo_aln.sweeps")
PAGES.globals["breakable"] = lambda name: re.sub(r"([_.])", "\\1\u200b", str(name))


@dataclass(frozen=True)
class Tile:
    """One field of the heat map: all seeds and folds of one configuration.

    Attributes:
        text: mean validation AUC, or a dash.
        note: how many of its cells are completed, and what the others do.
        state: `failed` if any is, else `running`, `completed` or `not_started`.
        background: colour of the AUC, or of the state where there is none yet.
        ink: colour of the text on it.
    """

    text: str
    note: str
    state: str
    background: str
    ink: str


def status_table(plan: Plan, found: Sequence[Row]) -> str:
    """One line per cell for a terminal, then what is done, the time left, and how failed cells are resumed."""
    head = ["cell", "state", "val AUC (95 %)", "epochs", "time", "left", "run"]
    lines = [head]
    for row in found:
        left = row.epoch_s * (row.max_epochs - row.epochs) if row.standing.state == "running" else math.nan
        done = f"{row.epochs}/{row.max_epochs}"
        state = STATE_WORDS[row.standing.state]
        lines.append(
            [row.cell.name, state, area_text(row), done, duration(row.training_s), duration(left), row.cell.run_id]
        )
    text = [*aligned(lines), summary(found)]
    for row in found:
        if row.standing.state == "failed" and row.standing.failure is not None:
            text += [f"{row.cell.name}: {row.standing.failure.error}", f"  resume: {resume_command(plan, row)}"]
    return "\n".join(text)


def summary(found: Sequence[Row]) -> str:
    """`7 of 20 cells completed, 2 running, 1 failed; about 12 min left`."""
    number = counts(list(found))
    text = f"{number['completed']} of {len(found)} cells completed"
    text += "".join(
        f", {number[state]} {STATE_WORDS[state]}" for state in STATE_WORDS if state != "completed" and number[state]
    )
    left = seconds_left(list(found))
    return text + ("" if math.isnan(left) else f"; about {duration(left)} left")


def resume_command(plan: Plan, row: Row) -> str:
    """What to type so that a failed cell goes on: the cell alone where it has begun, else the sweep."""
    config = plan.runs / row.cell.run_id / "config.yaml"
    if not config.is_file():
        return plan.command
    words = ["mammo-aln", "train", str(plan.cohort), "--out", str(plan.runs), "--config", str(config)]
    words += ["--store", str(plan.store)] if plan.store else []
    return _same_threads(config.with_name("environment.json")) + shlex.join(words)


def _same_threads(environment: Path) -> str:
    """What a shell puts before a command so that it computes with as many threads as the run began with."""
    told = json.loads(environment.read_text(encoding="utf-8")) if environment.is_file() else {}
    return f"OMP_NUM_THREADS={told['threads']} " if "threads" in told else ""


def area_text(row: Row) -> str:
    """`0.71 (0.60 to 0.80)` with three digits, or a dash."""
    if math.isnan(row.val.value):
        return "–"
    return f"{row.val.value:.3f} ({row.val.low:.3f} to {row.val.high:.3f})"


def duration(seconds: float) -> str:
    """Seconds in words that fit: `41 s`, `12 min`, `3.4 h`; a dash for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def write_board(plan: Plan, found: Sequence[Row], *, live: bool) -> Path:
    """Write DIR/board.html; with `live` the page loads itself anew every few seconds."""
    page = PAGES.get_template("board.html.j2").render(
        refresh_s=REFRESH_S if live else 0,
        summary=summary(found),
        updated=now(),
        maps=heat_maps(plan, found),
        scale=[(f"{value:.1f}", *colour(value)) for value in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        columns=plan.columns,
        rows=[_line(plan, row) for row in found],
        version=__version__,
    )
    path = plan.out / "board.html"
    write_text(path, page)
    return path


def _line(plan: Plan, row: Row) -> dict[str, Any]:
    failed = row.standing.state == "failed"
    return {
        "values": [row.cell.column(name) for name in plan.columns],
        "seed": row.cell.seed,
        "fold": "" if row.cell.fold is None else row.cell.fold,
        "state": row.standing.state,
        "state_text": STATE_WORDS[row.standing.state],
        "area": area_text(row),
        "epochs": f"{row.epochs}/{row.max_epochs}",
        "time": duration(row.training_s),
        "run_id": row.cell.run_id,
        "failure": row.standing.failure if failed else None,
        "resume": resume_command(plan, row) if failed else "",
    }


def heat_maps(plan: Plan, found: Sequence[Row]) -> list[dict[str, Any]]:
    """Backbone down, crop across where the grid has them, else its first two axes; one map per value of the others."""
    axes: dict[str, list[Any]] = {}
    for row in found:
        for name, label in row.cell.axes.items():
            if label not in axes.setdefault(name, []):
                axes[name].append(label)
    across = next((name for name in ACROSS if name in axes), None)
    down = next((name for name in DOWN if name in axes), None)
    free = [name for name in axes if name not in (across, down)]
    down = down or (free.pop(0) if free else None)
    across = across or (free.pop(0) if free else None)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(tuple(row.cell.axes.get(name) for name in free), []).append(row)
    maps = []
    for labels, members in groups.items():
        body = []
        for first in axes[down] if down else [""]:
            chosen = [row for row in members if not down or row.cell.axes.get(down) == first]
            tiles = [
                _tile([row for row in chosen if not across or row.cell.axes.get(across) == second])
                for second in (axes[across] if across else [""])
            ]
            body.append((first, tiles))
        title = ", ".join(f"{name} = {label}" for name, label in zip(free, labels, strict=True))
        maps.append({"title": title, "across": axes[across] if across else ["all"], "body": body, "of": (down, across)})
    return maps


def _tile(members: Sequence[Row]) -> Tile | None:
    if not members:
        return None
    number = counts(list(members))
    state = next((name for name in ("failed", "running") if number[name]), None)
    state = state or ("completed" if number["completed"] == len(members) else "not_started")
    values = [row.val.value for row in members if not math.isnan(row.val.value)]
    note = f"{number['completed']}/{len(members)}"
    note += "".join(f", {number[name]} {STATE_WORDS[name]}" for name in ("running", "failed") if number[name])
    if not values:
        return Tile("–", note, state, "#ffffff", "#5b6570")
    mean = float(np.mean(values))
    return Tile(f"{mean:.3f}", note, state, *colour(mean))


def colour(value: float) -> tuple[str, str]:
    """Background and ink of an AUC: white at 0.5 and below, deep blue at 1, readable everywhere."""
    share = min(1.0, max(0.0, (value - 0.5) / 0.5))
    stops = np.array([[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]], dtype=float)
    mixed = [np.interp(share, np.linspace(0, 1, len(stops)), stops[:, channel]) for channel in range(3)]
    dark = 0.2126 * mixed[0] + 0.7152 * mixed[1] + 0.0722 * mixed[2] < 140
    return "#" + "".join(f"{round(part):02x}" for part in mixed), "#ffffff" if dark else "#1b1f24"
