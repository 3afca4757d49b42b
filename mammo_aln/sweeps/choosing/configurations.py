"""Configurations of a sweep: their cells, and the scores by which they are ranked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.evaluation.area import Area
from mammo_aln.evaluation.predictions import read_table
from mammo_aln.files import read_own_table
from mammo_aln.progress import say
from mammo_aln.runs.epoch_scores import EPOCH_SCORES, EpochScores, read_epoch_scores
from mammo_aln.sweeps.choosing.cells import Floats, Fold, aligned
from mammo_aln.sweeps.choosing.epochs import epoch_optimism
from mammo_aln.sweeps.choosing.factors import Factors, factors_of
from mammo_aln.sweeps.choosing.rank import FEWEST, FEWEST_OF_FOLD, Ranking, rank
from mammo_aln.sweeps.standing.states import Standing
from mammo_aln.sweeps.standing.table import Row


@dataclass(frozen=True)
class Configuration:
    """Cells that differ in seed and fold alone.

    Attributes:
        name: its place in the grid, in words.
        rows: its cells.
    """

    name: str
    rows: tuple[Row, ...]

    @property
    def model_id(self) -> str:
        """Id under which it opens a test: the run's, or that of the ensemble of its runs."""
        return model_id([row.cell.run_id for row in self.rows])

    @property
    def pruned_epoch(self) -> int | None:
        """Epoch at which a pruner stopped it; None where none did."""
        return next((row.standing.pruned_epoch for row in self.rows if row.standing.state == "pruned"), None)

    @property
    def is_complete(self) -> bool:
        """Tell whether all its cells are completed."""
        return all(row.standing.state == "completed" for row in self.rows)


def model_id(run_ids: Sequence[str]) -> str:
    """Derive the id of one run, or of the ensemble that `predict` makes of several; known before any is trained."""
    if len(run_ids) == 1:
        return run_ids[0]
    return hashlib.sha256("\n".join(sorted(run_ids)).encode()).hexdigest()[:12]


def configurations(rows: Sequence[Row]) -> list[Configuration]:
    """Group cells by their place in the grid, in the plan's order."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.cell.configuration, []).append(row)
    named = [
        (", ".join(f"{key}={value}" for key, value in members[0].cell.axes.items()) or "all", members)
        for members in groups.values()
    ]
    return [Configuration(name, tuple(members)) for name, members in named]


def with_scores_read(row: Row) -> Row:
    """Read a completed cell's scores, by which it is ranked; where they cannot be, the cell is damaged."""
    if row.standing.state != "completed":
        return row
    try:
        if _judged_by_epoch(row.predictions) is None:
            _validation(row.predictions)
    except InputError as error:
        return replace(row, standing=Standing("damaged", note=str(error)), val=Area(), train=Area())
    return row


def rank_configurations(complete: Sequence[Configuration], resamples: int) -> Ranking:
    """Rank by validation AUC, on those validation patients that every configuration could read."""
    fold_numbers = sorted(
        {row.cell.fold for configuration in complete for row in configuration.rows},
        key=lambda fold: -1 if fold is None else fold,
    )
    folds: list[Fold] = []
    scores: list[list[Floats]] = [[] for _ in complete]
    for fold_number in fold_numbers:
        tables = {
            index: [_validation(row.predictions) for row in configuration.rows if row.cell.fold == fold_number]
            for index, configuration in enumerate(complete)
        }
        lacking = [complete[index].name for index, members in tables.items() if not members]
        if lacking:
            raise InputError(
                f"{lacking[0]} has no cell of fold {fold_number}; "
                "every configuration needs the same folds; run the sweep again"
            )
        fold, aligned_scores = aligned(tables)
        most = max(int(table["aln_status"].notna().sum()) for members in tables.values() for table in members)
        if len(fold.labels) < most:
            where = "" if fold_number is None else f" of fold {fold_number}"
            say(f"ranked on the {len(fold.labels)} validation rows{where} that every cell scored, of at most {most}")
        folds.append(fold)
        for index, own in aligned_scores.items():
            scores[index].append(own)
    return rank(scores, folds, resamples=resamples)


def _validation(predictions: Path) -> pd.DataFrame:
    """Read a cell's validation rows.

    Raises:
        InputError: the file is not what a training writes, cell by cell.
    """
    try:
        table = read_own_table(predictions, dtype={"patient_id": str, "center": str, "side": str, "run_id": str})
        known = pd.to_numeric(table["aln_status"]).isin([0, 1]) | table["aln_status"].isna()
        key = [name for name in ("center", "patient_id", "side", "split") if name in table]
        is_whole = (
            np.isfinite(pd.to_numeric(table["score"])).all() and known.all() and not table.duplicated(subset=key).any()
        )
        rows = table[table["split"] == "val"]
    except (InputError, ValueError, TypeError, KeyError):
        is_whole = False
    if not is_whole:
        table = read_table(predictions)
        rows = table[table["split"] == "val"]
    if rows["aln_status"].notna().sum() == 0:
        raise InputError(f"{predictions}: expected validation patients (split val) with a known outcome, got none")
    return rows


def factors(complete: Sequence[Configuration], ranking: Ranking, draws: int) -> Factors:
    """Tell axes, folds, seeds and patients of ranked configurations apart, or say that patients are too few."""
    if not ranking.enough:
        few = f"too few validation patients to tell: it needs {FEWEST} of each outcome, {FEWEST_OF_FOLD} in each fold"
        return Factors([], [], [few])
    settings = [
        {axis: str(label) for axis, label in configuration.rows[0].cell.axes.items()} for configuration in complete
    ]
    return factors_of(ranking.cells, [configuration.name for configuration in complete], settings, draws=draws)


@dataclass(frozen=True)
class EpochChoice:
    """Optimism of a configuration's epochs.

    Attributes:
        optimism: mean over its runs, NaN where so few patients cannot tell; None where a run kept no scores by epoch.
        runs: how many there are.
        without_scores: runs that kept none.
    """

    optimism: float | None
    runs: int
    without_scores: int


def epoch_choice(configuration: Configuration) -> EpochChoice:
    """Tell how much the choice of the epoch, on the patients that judge it, flatters a configuration's AUC.

    Raises:
        InputError: a run's scores by epoch are of other patients than its predictions.
    """
    flatteries = [_flattery(row.predictions) for row in configuration.rows]
    known = [flattery for flattery in flatteries if flattery is not None]
    missing = len(flatteries) - len(known)
    return EpochChoice(None if missing else float(np.mean(known)), len(flatteries), missing)


def _flattery(predictions: Path) -> float | None:
    judged = _judged_by_epoch(predictions)
    if judged is None:
        return None
    scores, table = judged
    who = [name for name in ("center", "patient_id") if name in table]
    return epoch_optimism(scores, table.groupby(who, sort=False, dropna=False).ngroup().to_numpy().astype(np.int64))


def _judged_by_epoch(predictions: Path) -> tuple[EpochScores, pd.DataFrame] | None:
    """Read a run's scores by epoch, and their rows of predictions.csv; None where it kept none."""
    scores = read_epoch_scores(predictions.parent)
    if scores is None:
        return None
    table = _validation(predictions)
    table = table[table["aln_status"].notna()]
    if not np.array_equal(table["aln_status"].to_numpy(float) == 1.0, scores.labels):
        raise InputError(
            f"{predictions.parent / EPOCH_SCORES}: expected the {len(table)} validation patients of predictions.csv in"
            f" their order, got {len(scores.labels)} with other outcomes"
        )
    return scores, table
