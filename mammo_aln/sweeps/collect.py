"""`sweep collect`: cells.csv, the choice by validation alone, and only then, if asked, its sealed test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

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
from mammo_aln.sweeps.board import PAGES, number, write_board
from mammo_aln.sweeps.choice import Floats, Fold, Ranking, Rival, aligned, known, rank
from mammo_aln.sweeps.definition import Label
from mammo_aln.sweeps.plan import Plan, read_plan
from mammo_aln.sweeps.table import Row, counts, read_rows, write_cells
from mammo_aln.training.baseline import cohort_table

RESAMPLES = 2000
METHOD = (
    "mean AUC over seeds and folds on validation patients alone; paired DeLong and stratified bootstrap "
    "of patients against the best, Holm over all others; optimism: the best AUC minus the mean AUC, on patients "
    "left out of a resample, of whichever configuration is the best inside it"
)


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
    def is_complete(self) -> bool:
        """Tell whether all its cells are completed."""
        return all(row.standing.state == "completed" for row in self.rows)


ALIKE = "not distinguishable from the best"
DISTINGUISHABLE = "distinguishable from the best"


@dataclass(frozen=True)
class Ranked:
    """One configuration of choice.json.

    Attributes:
        configuration: its place in the grid, in words.
        settings: what the grid sets.
        runs: its run ids.
        cells: how many there are.
        val_auc: mean over seeds and folds.
        val_auc_sd: standard deviation over them; None for one cell.
        against_best: its difference from the best; None for the best.
        verdict: `best`, `ALIKE` or `DISTINGUISHABLE`.
        best_in_share_of_resamples: of the validation patients.
    """

    configuration: str
    settings: dict[str, Label]
    runs: list[str]
    cells: int
    val_auc: float
    val_auc_sd: float | None
    against_best: Rival | None
    verdict: str
    best_in_share_of_resamples: float


@dataclass(frozen=True)
class Chosen:
    """choice.json: the choice by validation alone, and how sure it is.

    Attributes:
        chosen: name of the best configuration.
        chosen_runs: its run ids.
        model_id: the id under which it opens a test.
        val_auc: its mean validation AUC.
        level_with: other configurations with the very same AUC; the first in the file is taken.
        optimism: by how much choosing the best flatters its AUC; None where too few patients can tell.
        optimism_sd: bootstrap standard deviation of that.
        val_auc_corrected: the AUC less the optimism.
        configurations_planned: of the sweep.
        configurations_ranked: completed ones.
        resamples: of the bootstrap.
        configurations: from best to worst.
    """

    schema_version: int = field(default=1, init=False)
    chosen: str
    chosen_runs: list[str]
    model_id: str
    val_auc: float
    level_with: list[str]
    optimism: float | None
    optimism_sd: float | None
    val_auc_corrected: float | None
    configurations_planned: int
    configurations_ranked: int
    resamples: int
    method: str = field(default=METHOD, init=False)
    configurations: list[Ranked]

    @property
    def sentences(self) -> list[str]:
        """Say the choice in a few lines."""
        others, flattery = self.configurations_ranked - 1, "choosing the best of"
        alike = sum(ranked.verdict == ALIKE for ranked in self.configurations)
        level = f" (level with {'; '.join(self.level_with)}; the first in the sweep's file is taken)"
        return [
            f"chosen by validation alone: {self.chosen}, AUC {self.val_auc:.3f}" + level * bool(self.level_with),
            f"{alike} of {others} others are not distinguishable from it",
            f"{flattery} {self.configurations_ranked} flatters it"
            + (
                ", by how much so few patients cannot tell"
                if self.optimism is None
                else f" by about {number(self.optimism)} (bootstrap SD {number(self.optimism_sd)}): "
                f"expect {number(self.val_auc_corrected)}"
            ),
        ]


def model_id(run_ids: Sequence[str]) -> str:
    """Derive the id of one run, or of the ensemble that `predict` makes of several; known before any is trained."""
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
    choice = describe(complete, ranking, len(every), resamples)
    write_json(plan.out / "choice.json", asdict(choice))
    page = PAGES.get_template("choice.html.j2")
    write_text(plan.out / "choice.html", page.render(choice=choice, alike=ALIKE, version=__version__))
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


def rank_configurations(complete: Sequence[Configuration], resamples: int = RESAMPLES) -> Ranking:
    """Rank by validation AUC, on those validation patients that every configuration could read."""
    fold_numbers = sorted(
        {row.cell.fold for configuration in complete for row in configuration.rows},
        key=lambda fold: -1 if fold is None else fold,
    )
    folds: list[Fold] = []
    scores: list[list[Floats]] = [[] for _ in complete]
    for fold_number in fold_numbers:
        tables = {
            index: [_validation(row) for row in configuration.rows if row.cell.fold == fold_number]
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


def _validation(row: Row) -> pd.DataFrame:
    table = pd.read_csv(row.predictions, dtype={"patient_id": str, "center": str, "side": str, "run_id": str})
    return table[table["split"] == "val"]


def describe(complete: Sequence[Configuration], ranking: Ranking, planned: int, resamples: int) -> Chosen:
    """Describe the choice: configurations from best to worst, unrounded."""
    ranked = []
    for index in np.argsort(-ranking.auc, kind="stable").tolist():
        configuration, rival = complete[index], ranking.rivals.get(index)
        aucs = [row.val.value for row in configuration.rows]
        ranked.append(
            Ranked(
                configuration=configuration.name,
                settings=configuration.rows[0].cell.shown,
                runs=[row.cell.run_id for row in configuration.rows],
                cells=len(aucs),
                val_auc=float(ranking.auc[index]),
                val_auc_sd=float(np.std(aucs, ddof=1)) if len(aucs) > 1 else None,
                against_best=rival,
                verdict="best" if rival is None else DISTINGUISHABLE if rival.distinguishable else ALIKE,
                best_in_share_of_resamples=float(ranking.wins[index]),
            )
        )
    best = ranked[0]
    return Chosen(
        chosen=best.configuration,
        chosen_runs=best.runs,
        model_id=complete[ranking.best].model_id,
        val_auc=best.val_auc,
        level_with=[complete[index].name for index in ranking.level],
        optimism=known(ranking.optimism),
        optimism_sd=known(ranking.optimism_sd),
        val_auc_corrected=known(best.val_auc - ranking.optimism),
        configurations_planned=planned,
        configurations_ranked=len(complete),
        resamples=resamples,
        configurations=ranked,
    )


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
