"""`sweep collect`: cells.csv, the choice by validation alone, and only then, if asked, its sealed test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from mammo_aln import __version__
from mammo_aln.cohort.tables import Cohort, read_cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.evaluation.compare import compare_files
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.files import make_folder, write_json, write_text
from mammo_aln.progress import say
from mammo_aln.runs.seal import declare_plan, labelled_rows
from mammo_aln.sweeps.choosing.configurations import (
    Configuration,
    configurations,
    epoch_choice,
    model_id,
    rank_configurations,
)
from mammo_aln.sweeps.choosing.words import describe
from mammo_aln.sweeps.plan import Plan, read_plan
from mammo_aln.sweeps.standing.board import PAGES, write_board
from mammo_aln.sweeps.standing.table import counts, read_rows, write_cells
from mammo_aln.training.baseline import cohort_table

RESAMPLES = 2000


def declare(plan: Plan) -> str | None:
    """Announce in the cohort's ledger what this sweep will open, before it trains; None where there is no test split.

    A sweep opens each test split once, with the configuration that validation chose; one whose file says `test: true`
    opens it with every configuration.
    """
    cohort = with_split(read_cohort(plan.cohort, need=("patients",)))
    splits = list(labelled_rows(cohort.patients))
    if not splits:
        return None
    members: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for cell in plan.cells:
        members.setdefault(cell.configuration, []).append(cell.run_id)
    models = [model_id(ids) for ids in members.values()]
    what = f"sweep of {len(plan.cells)} cells in {len(models)} configurations; "
    what += "every configuration is tested" if plan.opens_test else "the one that validation chooses is tested"
    try:
        return declare_plan(cohort, models, splits, what=what, openings=len(models) if plan.opens_test else 1)
    except InputError as error:
        say(f"the plan of this sweep could not be declared in the cohort's ledger: {error}")
        return None


def collect_sweep(out: Path, *, test: bool = False, allow_missing: bool = False, resamples: int = RESAMPLES) -> Path:
    """Write DIR/cells.csv, choice.json and choice.html; with `test` also DIR/test.

    Args:
        out: the sweep's folder.
        test: open the test splits with the chosen configuration (with every step, where the sweep has steps).
        allow_missing: score test patients who lack what the runs were trained with.
        resamples: bootstrap resamples.

    Raises:
        InputError: no sweep, no completed configuration, or `test` while cells are still to be trained.
    """
    plan = read_plan(out)
    rows = read_rows(plan)
    cells = write_cells(plan, rows)
    write_board(plan, rows, live=counts(rows)["running"] > 0)
    every = configurations(rows)
    complete = [configuration for configuration in every if configuration.is_complete]
    if len(complete) < len(every):
        waiting = ", ".join(configuration.name for configuration in every if configuration not in complete)
        say(f"{len(every) - len(complete)} of {len(every)} configurations are not completed and not ranked: {waiting}")
    if not complete:
        raise InputError(f"{out}: no configuration is completed; `mammo-aln sweep status --out {out}` says why")
    ranking = rank_configurations(complete, resamples)
    choice = describe(complete, ranking, epoch_choice(complete[ranking.best]), len(every), resamples)
    write_json(plan.out / "choice.json", asdict(choice))
    page = PAGES.get_template("choice.html.j2")
    write_text(plan.out / "choice.html", page.render(choice=choice, version=__version__))
    say("\n".join(choice.sentences))
    if test or plan.opens_test:
        unfinished = sum(row.standing.is_unfinished for row in rows)
        if unfinished:
            raise InputError(
                f"the test splits stay sealed while {unfinished} cells are still to be trained; "
                f"go on with: {plan.command}"
            )
        open_tests(plan, complete, complete[ranking.best], resamples, allow_missing=allow_missing)
    return cells


def open_tests(
    plan: Plan,
    complete: Sequence[Configuration],
    chosen: Configuration,
    resamples: int,
    *,
    allow_missing: bool = False,
) -> Path:
    """Score every split with the chosen configuration, or with each step; returns the page that judges it.

    Several runs of a configuration (seeds, folds) are scored as one model, the mean of their logits.
    """
    from mammo_aln.inference.predict import predict_cohort

    by_step = "step" in chosen.rows[0].cell.axes
    tested = list(complete) if by_step or plan.opens_test else [chosen]
    folder = make_folder(plan.out / "test")
    files = []
    for configuration in tested:
        path = folder / f"{_file_name(configuration.name.removeprefix('step='))}.csv"
        if not path.is_file() or not _is_of(path, configuration.model_id):
            runs = [plan.runs / row.cell.run_id for row in configuration.rows]
            model: Path | list[Path] = runs[0] if len(runs) == 1 else runs
            predict_cohort(model, plan.cohort, path, store=plan.store, plan=plan.declared, allow_missing=allow_missing)
        files.append(path)
    if len(files) > 1:
        page = compare_files(files[0], files[1:], folder, resamples=resamples, ladder=by_step or None)
    else:
        cohort: Cohort = read_cohort(plan.cohort, need=("patients",))
        page = evaluate_files(files, folder, run=None, cohorts=[cohort_table(cohort)], resamples=resamples, seed=0)
    say(f"test splits opened with {len(files)} model(s): {page}")
    return page


def _is_of(path: Path, model: str) -> bool:
    """Tell whether a predictions file is already that model's: what was opened is not opened again."""
    table = pd.read_csv(path, dtype=str, nrows=1)
    return list(table["run_id"]) == [model]


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+=-]+", "_", text).strip("_") or "all"
