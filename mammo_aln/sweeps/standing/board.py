"""The board of a sweep: a table for the terminal, and board.html, a heat map that refreshes while the sweep runs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mammo_aln import __version__
from mammo_aln.files import read_object, write_text
from mammo_aln.progress import aligned
from mammo_aln.runs.record import now
from mammo_aln.sweeps.cell import log_of
from mammo_aln.sweeps.plan import Plan, names_in_words
from mammo_aln.sweeps.planning.definition import Label
from mammo_aln.sweeps.standing.arithmetic import differences
from mammo_aln.sweeps.standing.causes import fix_in_words, goes_on_alone
from mammo_aln.sweeps.standing.curves import curves_of
from mammo_aln.sweeps.standing.pages import PAGES, head_of
from mammo_aln.sweeps.standing.states import STATE_WORDS, STOPPED
from mammo_aln.sweeps.standing.table import Row, completed_cells, counts, dropped_rows, seconds_left

REFRESH_S = 10
SHORT_NOTES = ("queued", "starting")
"""States whose notes, a job and why it waits, stand in the table; longer ones stand below it."""
TRIAL = "trial"
"""Column of a search's trials."""
ACROSS = ("crop.strategy", "step")
DOWN = ("model.backbone", "config")


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


@dataclass(frozen=True)
class HeatMap:
    """Tiles over two axes of the grid, for one value of each other axis.

    Attributes:
        title: values of the other axes.
        down: name of the axis whose labels stand at the left.
        across: name of the axis whose labels stand above.
        labels: those above.
        body: each line's label and tiles.
    """

    title: str
    down: str
    across: str
    labels: list[Label]
    body: list[tuple[Label, list[Tile | None]]]


def status_table(plan: Plan, rows: Sequence[Row]) -> str:
    """Lay out one line per cell for a terminal, then what is done, the time left, and how failed cells are resumed."""
    head = ["cell", "state", "val AUC (95 %)", "epochs", "time", "left", "run"]
    lines = [head]
    for row in [*rows, *dropped_rows(plan)]:
        left = row.epoch_s * (row.max_epochs - row.epochs) if row.standing.state == "running" else math.nan
        done = f"{row.epochs}/{row.max_epochs}"
        short = row.standing.note if row.standing.state in SHORT_NOTES else ""
        state = STATE_WORDS[row.standing.state] + f" ({short})" * bool(short)
        lines.append(
            [row.cell.name, state, area_text(row), done, duration(row.training_s), duration(left), row.cell.run_id]
        )
    text = [*aligned(lines), summary(rows) + f"; {len(plan.dropped)} dropped" * bool(plan.dropped)]
    if otherwise := differences(plan, completed_cells(rows)):
        text.append(otherwise)
    text += _notes([*rows, *dropped_rows(plan)])
    for row in rows:
        if row.standing.state == "failed" and row.standing.failure is not None:
            text += [f"{row.cell.name}: {row.standing.failure.error}", f"  fix: {fix_of(plan, row)}"]
            text += [f"  resume: {resume_command(plan, row)}"]
    if plan.of_this_code and any(row.standing.note.startswith(STOPPED) for row in rows):
        text.append(f"stopped cells go on by: {plan.command}")
    if not plan.of_this_code:
        text.append(
            f"planned by other code ({plan.learning}), which alone goes on with these cells; this code plans and trains"
            f" all of them anew: {plan.command}"
        )
    return "\n".join(text)


def _notes(rows: Sequence[Row]) -> list[str]:
    """Explain states below the table, each explanation once, with the cells that it is of."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.standing.note and row.standing.state not in SHORT_NOTES:
            word = STATE_WORDS[row.standing.state]
            note = row.standing.note if row.standing.note.startswith(word) else f"{word}: {row.standing.note}"
            notes.setdefault(note, []).append(row.cell.name)
    return [f"{note} ({names_in_words(names)})" for note, names in notes.items()]


def summary(rows: Sequence[Row], at_once: int = 0) -> str:
    """Count cells: `7 of 20 cells completed, 2 running, 1 failed; about 12 min left`; `at_once`: see `seconds_left`."""
    number = counts(list(rows))
    text = f"{number['completed']} of {len(rows)} cells completed"
    text += "".join(
        f", {number[state]} {STATE_WORDS[state]}" for state in STATE_WORDS if state != "completed" and number[state]
    )
    left = seconds_left(list(rows), at_once)
    return text + ("" if math.isnan(left) else f"; about {duration(left)} left")


def resume_command(plan: Plan, row: Row) -> str:
    """Say what to type so that a failed cell goes on: the cell alone where this code has begun it, else the sweep.

    A job's cell is for the sweep's command, which submits it.
    """
    if not goes_on_alone(plan, row.cell):
        return plan.command
    config = plan.runs / row.cell.run_id / "config.yaml"
    words = ["mammo-aln", "train", str(plan.cohort), "--out", str(plan.runs), "--config", str(config)]
    words += ["--store", str(plan.store)] if plan.store else []
    return _same_threads(config.with_name("environment.json")) + shlex.join(words)


def fix_of(plan: Plan, row: Row) -> str:
    """Say what to do about a failed cell before it is resumed."""
    failure = row.standing.failure
    return "" if failure is None or row.standing.state != "failed" else fix_in_words(plan, row.cell, failure)


def _same_threads(environment: Path) -> str:
    """Set, before a command, as many threads as the run began with."""
    record = read_object(environment) if environment.is_file() else {}
    return f"OMP_NUM_THREADS={record['threads']} " if "threads" in record else ""


def area_text(row: Row) -> str:
    """Write an AUC as `0.712 (0.601 to 0.803)`, or a dash."""
    if math.isnan(row.val.value):
        return "–"
    return f"{row.val.value:.3f} ({row.val.low:.3f} to {row.val.high:.3f})"


def shown(column: str, label: Label) -> Label:
    """Shorten a label to what a page has room for: few digits of a number, a trial's number without its settings.

    Those have columns of their own; cells.csv has all digits.
    """
    if column == TRIAL:
        return str(label).partition(" ")[0]
    return f"{label:.4g}" if isinstance(label, float) else label


def duration(seconds: float) -> str:
    """Put seconds into words that fit: `41 s`, `12 min`, `3.4 h`; a dash for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def write_board(plan: Plan, rows: Sequence[Row], *, live: bool, at_once: int = 0) -> Path:
    """Write DIR/board.html; with `live` the page loads itself anew every few seconds; `at_once`: see `seconds_left`."""
    page = PAGES.get_template("board.html.j2").render(
        refresh_s=REFRESH_S if live else 0,
        summary=summary(rows, at_once),
        head=head_of(plan),
        curves=curves_of(rows),
        has_choice=(plan.out / "choice.html").is_file(),
        logs={row.cell.run_id for row in rows if log_of(plan, row.cell).is_file()},
        updated=now(),
        maps=heat_maps(plan, rows),
        scale=[(f"{value:.1f}", *colour(value)) for value in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        columns=plan.columns,
        folded=any(row.cell.fold is not None for row in rows),
        rows=rows,
        dropped=names_in_words([cell.name for cell in plan.dropped]),
        area_text=area_text,
        duration=duration,
        shown=shown,
        short_notes=SHORT_NOTES,
        notes=_notes(rows),
        curve_points=curve_points,
        states=STATE_WORDS,
        fix_of=partial(fix_of, plan),
        resume_command=partial(resume_command, plan),
        version=__version__,
    )
    path = plan.out / "board.html"
    write_text(path, page)
    return path


def curve_points(aucs: Sequence[float]) -> str:
    """Draw validation AUC by epoch as points of an SVG polyline, 80 by 20: 0.3 at the bottom, 1 at the top."""
    if len(aucs) < 2:
        return ""
    step = 80 / (len(aucs) - 1)
    return " ".join(
        f"{step * epoch:.1f},{20 * (1 - (min(1.0, max(0.3, value)) - 0.3) / 0.7):.1f}"
        for epoch, value in enumerate(aucs)
        if not math.isnan(value)
    )


def heat_maps(plan: Plan, rows: Sequence[Row]) -> list[HeatMap]:
    """Lay the grid out: backbone down, crop across, else its first two axes; one map per value of the others."""
    axes: dict[str, list[Label]] = {}
    for row in rows:
        for name, label in row.cell.axes.items():
            if label not in axes.setdefault(name, []):
                axes[name].append(label)
    across = next((name for name in ACROSS if name in axes), None)
    down = next((name for name in DOWN if name in axes), None)
    free = [name for name in axes if name not in (across, down)]
    down = down or (free.pop(0) if free else None)
    across = across or (free.pop(0) if free else None)
    groups: dict[tuple[Label, ...], list[Row]] = {}
    for row in rows:
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
        maps.append(HeatMap(title, down or "", across or "", axes[across] if across else ["all"], body))
    return maps


def _tile(members: Sequence[Row]) -> Tile | None:
    if not members:
        return None
    number = counts(list(members))
    state = next((name for name in ("failed", "running") if number[name]), None)
    state = state or ("completed" if number["completed"] == len(members) else "not_started")
    values = [row.val.value for row in members if not math.isnan(row.val.value)]
    note = f"{number['completed']}/{len(members)}"
    note += "".join(
        f", {number[name]} {STATE_WORDS[name]}" for name in ("running", "failed", "stopped", "pruned") if number[name]
    )
    if not values:
        return Tile("–", note, state, "#ffffff", "#5b6570")
    mean = float(np.mean(values))
    return Tile(f"{mean:.3f}", note, state, *colour(mean))


def colour(value: float) -> tuple[str, str]:
    """Choose background and ink of an AUC: white at 0.5 and below, deep blue at 1, readable everywhere."""
    share = min(1.0, max(0.0, (value - 0.5) / 0.5))
    stops = np.array([[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]], dtype=float)
    mixed = [np.interp(share, np.linspace(0, 1, len(stops)), stops[:, channel]) for channel in range(3)]
    dark = 0.2126 * mixed[0] + 0.7152 * mixed[1] + 0.0722 * mixed[2] < 140
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed), "#ffffff" if dark else "#1b1f24"
