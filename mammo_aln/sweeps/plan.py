"""The plan of a sweep: its cells with their identities, and what they are called in messages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo_aln.runs.identity import learning_code
from mammo_aln.runs.record import now
from mammo_aln.settings import Settings
from mammo_aln.settings.stored import plain_settings
from mammo_aln.sweeps.planning.definition import Label, Nested, Point, label_of

NAMES_SHOWN = 5
"""Cells that a message names; of more it tells the number."""


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes:
        run_id: identity, frozen when the sweep was planned.
        axes: the cell's place in the grid, as labels.
        shown: columns of its tables: labels, and what they set.
        seed: seed of the training.
        fold: fold of `data.folds`, or None.
        settings: all settings.
        fault: why the cell cannot be trained, found before the first one began.
        cost: a guess of how long a step takes, in processor seconds; decides only what begins first.
        dropped: why the cell is no longer of the sweep; None while it is.
    """

    run_id: str
    axes: dict[str, Label]
    shown: dict[str, Label]
    seed: int
    fold: int | None
    settings: Settings
    fault: str | None = None
    cost: float = 0.0
    dropped: str | None = None

    @property
    def name(self) -> str:
        """Name in messages."""
        return name_of(self.axes, self.seed, self.fold)

    @property
    def seat(self) -> tuple[object, ...]:
        """Configuration, seed and fold: no two cells of a sweep share them."""
        return (self.configuration, self.seed, self.fold)

    @property
    def configuration(self) -> tuple[tuple[str, str], ...]:
        """Place in the grid, which cells that differ in seed and fold alone have in common."""
        return tuple(sorted((key, str(value)) for key, value in self.axes.items()))

    def column(self, name: str) -> Label:
        """Label a table's column: what the grid set, else the setting of that name."""
        if name in self.shown:
            return self.shown[name]
        section, dot, key = name.partition(".")
        return label_of(getattr(getattr(self.settings, section), key)) if dot else ""


def name_of(axes: Mapping[str, Label], seed: int | None, fold: int | None = None) -> str:
    """Name a cell in messages: its place in the grid, its seed and its fold; without them, its configuration."""
    labels = {**axes, **({} if seed is None else {"seed": seed}), **({} if fold is None else {"fold": fold})}
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def name_of_point(point: Point) -> str:
    """Name a point as the cell that it becomes is named."""
    data = point.settings.get("data")
    data = data if isinstance(data, dict) else {}
    return name_of(point.axes, point.settings.get("seed", 0), data.get("fold", 0) if data.get("folds") else None)


@dataclass(frozen=True)
class Plan:
    """All cells that a sweep's tables compare.

    Attributes:
        out: the sweep's folder.
        cohort: the cohort's folder.
        store: crop store, or None for the cohort's own.
        content: digest of the cohort's tables.
        cells: what is to be trained.
        touched: settings that the grid sets.
        opens_test: declared beforehand: a finished sweep judges every configuration on the test splits.
        search: what Optuna searches, if anything.
        command: the command line that planned it, for messages that say how to go on.
        declared: id of the declared plan in the cohort's ledger of test openings, if there is one.
        created: when, UTC.
        learning: code that the cells' identities were made by.
        dropped: cells that were taken out, by the file or by hand: neither trained nor ranked.
        superseded: ids of former cells that are other trainings now; their runs may stand in the folder.
        pruner: which of Optuna's stops cells before their last epoch, with its options; None where none does.
        cohort_name: what the cohort calls itself (`name:` of cohort.yaml); empty in plans of earlier versions.
    """

    out: Path
    cohort: Path
    store: Path | None
    content: str
    cells: tuple[Cell, ...]
    touched: tuple[str, ...] = ()
    opens_test: bool = False
    search: Nested | None = None
    command: str = "mammo-aln sweep run"
    declared: str | None = None
    created: str = field(default_factory=now)
    learning: str = field(default_factory=learning_code)
    dropped: tuple[Cell, ...] = ()
    superseded: tuple[str, ...] = ()
    pruner: Nested | None = None
    cohort_name: str = ""

    @property
    def of_this_code(self) -> bool:
        """True where this code trains the cells as planned; another one makes other runs of the same settings."""
        return self.learning == learning_code()

    @property
    def runs(self) -> Path:
        """Folder of the run directories."""
        return self.out / "runs"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that tell the cells apart, axes first."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.shown))

    def cell(self, run_id: str) -> Cell:
        """The cell of that identity, dropped or not."""
        return next(cell for cell in (*self.cells, *self.dropped) if cell.run_id == run_id)


def names_in_words(names: Sequence[str]) -> str:
    """Write a few names, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return "; ".join(names[:NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def touched_settings(settings: Nested) -> Iterator[str]:
    """Name (`section.key`) what some nested settings set."""
    for section, values in settings.items():
        yield from (f"{section}.{key}" for key in values) if isinstance(values, Mapping) else (section,)


def stand_in_id(settings: Settings, content: str) -> str:
    """Name a cell whose identity cannot be known, because the file of its weights cannot be read."""
    text = json.dumps([plain_settings(settings), content, "no identity"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
