"""`sweep collect`: cells.csv, the choice by validation alone, and only then, if asked, its sealed test."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln import __version__
from mammo_aln.cohort.tables import Cohort, read_cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.evaluation.compare import compare_files
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.files import make_folder, write_json, write_text
from mammo_aln.progress import say
from mammo_aln.runs.seal import declare_plan, labelled_rows
from mammo_aln.sweeps.board import PAGES, write_board
from mammo_aln.sweeps.cell import is_unfinished
from mammo_aln.sweeps.choice import Fold, Ranking, aligned, rank
from mammo_aln.sweeps.plan import Plan, read_plan
from mammo_aln.sweeps.table import Row, counts, rows, write_cells
from mammo_aln.training.baseline import cohort_table

RESAMPLES = 2000


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
        """The id under which it opens a test: the run's, or that of the ensemble of its runs."""
        return model_id([row.cell.run_id for row in self.rows])

    @property
    def is_complete(self) -> bool:
        """Whether all its cells are completed."""
        return all(row.standing.state == "completed" for row in self.rows)


def model_id(run_ids: Sequence[str]) -> str:
    """The id of one run, or of the ensemble that `predict` makes of several; known before any is trained."""
    if len(run_ids) == 1:
        return run_ids[0]
    return hashlib.sha256("\n".join(sorted(run_ids)).encode()).hexdigest()[:12]


def declare(plan: Plan) -> str | None:
    """Announce in the cohort's ledger what this sweep will open, before it trains; None where there is no test split.

    A sweep opens each test split once, with the configuration that validation chose; one whose file says `test: true`
    opens it with every configuration.
    """
    cohort = with_split(read_cohort(plan.cohort, need=("patients",)))
    splits = list(labelled_rows(cohort.patients))
    if not splits:
        return None
    members: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for cell in plan.cells:
        members.setdefault(cell.configuration, []).append(cell.run_id)
    models = [model_id(ids) for ids in members.values()]
    what = f"sweep of {len(plan.cells)} cells in {len(models)} configurations; "
    what += "every configuration is tested" if plan.opens_test else "the one that validation chooses is tested"
    try:
        return declare_plan(cohort, models, splits, what=what, openings=len(models) if plan.opens_test else 1)
    except InputError as error:
        say(f"the plan of this sweep is not declared beforehand: {error}")
        return None


def collect_sweep(out: Path, *, test: bool = False, resamples: int = RESAMPLES) -> Path:
    """Write DIR/cells.csv, choice.json and choice.html; with `test` also DIR/test.

    Args:
        out: the sweep's folder.
        test: open the test splits with the chosen configuration (with every step, where the sweep has steps).
        resamples: bootstrap resamples.

    Raises:
        InputError: no sweep, no completed configuration, or `test` while cells are still to be trained.
    """
    plan = read_plan(out)
    found = rows(plan)
    cells = write_cells(plan, found)
    write_board(plan, found, live=counts(found)["running"] > 0)
    every = configurations(found)
    complete = [one for one in every if one.is_complete]
    if len(complete) < len(every):
        waiting = ", ".join(one.name for one in every if not one.is_complete)
        say(f"{len(every) - len(complete)} of {len(every)} configurations are not completed and not ranked: {waiting}")
    if not complete:
        raise InputError(f"{out}: no configuration is completed; `mammo-aln sweep status --out {out}` tells why")
    ranking = rank_configurations(complete, resamples)
    about = describe(complete, ranking, len(every), resamples)
    write_json(plan.out / "choice.json", about)
    page = PAGES.get_template("choice.html.j2").render(about=about, version=__version__)
    write_text(plan.out / "choice.html", page)
    say(in_words(about))
    if test or plan.opens_test:
        unfinished = sum(is_unfinished(row.standing) for row in found)
        if unfinished:
            raise InputError(f"the test splits stay sealed while {unfinished} cells are still to be trained")
        open_tests(plan, complete, complete[ranking.best], resamples)
    return cells


def configurations(found: Sequence[Row]) -> list[Configuration]:
    """Cells grouped by their place in the grid, in the plan's order."""
    groups: dict[tuple[tuple[str, Any], ...], list[Row]] = {}
    for row in found:
        groups.setdefault(row.cell.configuration, []).append(row)
    named = [
        (", ".join(f"{key}={value}" for key, value in members[0].cell.axes.items()) or "all", members)
        for members in groups.values()
    ]
    return [Configuration(name, tuple(members)) for name, members in named]


def rank_configurations(complete: Sequence[Configuration], resamples: int = RESAMPLES) -> Ranking:
    """Rank by validation AUC, on those validation patients that every configuration could read."""
    numbers = sorted(
        {row.cell.fold for one in complete for row in one.rows}, key=lambda fold: -1 if fold is None else fold
    )
    folds: list[Fold] = []
    scores: list[list[Any]] = [[] for _ in complete]
    for number in numbers:
        tables = {
            place: [_validation(row) for row in one.rows if row.cell.fold == number]
            for place, one in enumerate(complete)
        }
        lacking = [complete[place].name for place, members in tables.items() if not members]
        if lacking:
            raise InputError(f"{lacking[0]} has no cell of fold {number}; the same grid needs the same folds")
        fold, aligned_scores = aligned(tables)
        most = max(int(table["aln_status"].notna().sum()) for members in tables.values() for table in members)
        if len(fold.labels) < most:
            where = "" if number is None else f" of fold {number}"
            say(f"ranked on the {len(fold.labels)} validation rows{where} that all cells have, of up to {most}")
        folds.append(fold)
        for place, own in aligned_scores.items():
            scores[place].append(own)
    return rank(scores, folds, resamples=resamples)


def _validation(row: Row) -> pd.DataFrame:
    table = pd.read_csv(row.predictions, dtype={"patient_id": str, "center": str, "side": str})
    return table[table["split"] == "val"]


def describe(complete: Sequence[Configuration], ranking: Ranking, planned: int, resamples: int) -> dict[str, Any]:
    """choice.json: configurations from best to worst, unrounded."""
    listed = []
    for index in np.argsort(-ranking.auc, kind="stable").tolist():
        one = complete[index]
        own = [row.val.value for row in one.rows]
        rival = ranking.rivals.get(index)
        listed.append(
            {
                "configuration": one.name,
                "settings": one.rows[0].cell.shown,
                "runs": [row.cell.run_id for row in one.rows],
                "cells": len(own),
                "val_auc": float(ranking.auc[index]),
                "val_auc_sd": float(np.std(own, ddof=1)) if len(own) > 1 else None,
                "against_best": {key: known(value) for key, value in asdict(rival).items()} if rival else None,
                "verdict": "best" if rival is None else _verdict(rival.distinguishable),
                "best_in_share_of_resamples": float(ranking.wins[index]),
            }
        )
    best = listed[0]
    return {
        "schema_version": 1,
        "chosen": best["configuration"],
        "chosen_runs": best["runs"],
        "model_id": complete[ranking.best].model_id,
        "val_auc": best["val_auc"],
        "optimism": known(ranking.optimism),
        "optimism_sd": known(ranking.optimism_sd),
        "val_auc_corrected": known(best["val_auc"] - ranking.optimism),
        "configurations_planned": planned,
        "configurations_ranked": len(complete),
        "resamples": resamples,
        "method": "mean AUC over seeds and folds on validation patients alone; paired DeLong and stratified bootstrap "
        "of patients against the best, Holm over all others; optimism: the best AUC minus the mean AUC, on patients "
        "left out of a resample, of whichever configuration is the best inside it",
        "configurations": listed,
    }


def _verdict(distinguishable: bool) -> str:
    return "distinguishable from the best" if distinguishable else "not distinguishable from the best"


def in_words(about: dict[str, Any]) -> str:
    """The choice in a few lines."""
    alike = [one for one in about["configurations"] if one["verdict"].startswith("not")]
    told = [
        f"chosen by validation alone: {about['chosen']}, AUC {about['val_auc']:.3f}",
        f"{len(alike)} of {about['configurations_ranked'] - 1} others are not distinguishable from it",
        f"choosing the best of {about['configurations_ranked']} flatters it by about {number(about['optimism'])}: "
        f"expect {number(about['val_auc_corrected'])}",
    ]
    return "\n".join(told)


def open_tests(plan: Plan, complete: Sequence[Configuration], chosen: Configuration, resamples: int) -> Path:
    """Score every split with the chosen configuration, or with each step; returns the page that judges it.

    Several runs of a configuration (seeds, folds) are scored as one model, the mean of their logits.
    """
    from mammo_aln.inference.predict import predict_cohort

    by_step = "step" in chosen.rows[0].cell.axes
    tested = list(complete) if by_step or plan.opens_test else [chosen]
    folder = make_folder(plan.out / "test")
    files = []
    for one in tested:
        path = folder / f"{_file_name(one.name.removeprefix('step='))}.csv"
        if not path.is_file() or not _is_of(path, one.model_id):
            runs = [plan.runs / row.cell.run_id for row in one.rows]
            model: Path | list[Path] = runs[0] if len(runs) == 1 else runs
            predict_cohort(model, plan.cohort, path, store=plan.store, plan=plan.declared)
        files.append(path)
    if len(files) > 1:
        page = compare_files(files[0], files[1:], folder, resamples=resamples, ladder=by_step or None)
    else:
        cohort: Cohort = read_cohort(plan.cohort, need=("patients",))
        page = evaluate_files(files, folder, run=None, cohorts=[cohort_table(cohort)], resamples=resamples, seed=0)
    say(f"test splits opened with {len(files)} model(s): {page}")
    return page


def _is_of(path: Path, model: str) -> bool:
    """Whether a predictions file is already that model's: what was opened is not opened again."""
    table = pd.read_csv(path, dtype=str, nrows=1)
    return list(table["run_id"]) == [model]


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+=-]+", "_", text).strip("_") or "all"


def known(value: float) -> float | None:
    """The value, or None for NaN: what so few patients cannot tell."""
    return None if math.isnan(value) else value


def number(value: float | None, form: str = ".3f") -> str:
    """A figure as text; a dash where it is not known."""
    return "–" if value is None else format(value, form)


PAGES.globals["number"] = number
