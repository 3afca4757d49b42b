"""choice.json, choice.html and the files of its tables, written."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict

from mammo_aln import __version__
from mammo_aln.evaluation.report.multiples import Curves
from mammo_aln.files import write_json, write_text
from mammo_aln.sweeps.choosing.figures import factor_pictures
from mammo_aln.sweeps.choosing.tables import choice_tables, write_tables
from mammo_aln.sweeps.choosing.words import Chosen
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.reports import OpenedReport
from mammo_aln.sweeps.standing.curves import curves_of
from mammo_aln.sweeps.standing.pages import PAGES, Head, head_of
from mammo_aln.sweeps.standing.table import Row


def choice_page(
    choice: Chosen, head: Head, curves: Curves, reports: Sequence[OpenedReport] = (), predict: str = ""
) -> str:
    """Render choice.html.

    Args:
        choice: the choice.
        head: names the sweep.
        curves: learning curves.
        reports: on test splits that the sweep opened.
        predict: command that scores another cohort with what was chosen.
    """
    return PAGES.get_template("choice.html.j2").render(
        choice=choice,
        head=head,
        tables={table.name: table for table in choice_tables(choice)},
        pictures=factor_pictures(choice.factors),
        curves=curves,
        reports=[(report, choice.model_id in report.model_ids) for report in reversed(reports)],
        predict=predict,
        version=__version__,
    )


def predict_command(plan: Plan, choice: Chosen) -> str:
    """Say what to type to score another cohort with the chosen configuration, all its runs as one model."""
    runs = [str(plan.runs / run) for run in choice.chosen_runs]
    return shlex.join(["mammo-aln", "predict", "--run", *runs, "--cohort", "OTHER_COHORT", "--out", "scores.csv"])


def write_choice(plan: Plan, choice: Chosen, rows: Sequence[Row], reports: Sequence[OpenedReport] = ()) -> None:
    """Write DIR/choice.json, DIR/choice.html and DIR/choice/; learning curves of `rows`, best configuration first."""
    write_json(plan.out / "choice.json", asdict(choice))
    write_tables(plan.out / "choice", choice_tables(choice))
    write_choice_page(plan, choice, rows, reports)


def write_choice_page(plan: Plan, choice: Chosen, rows: Sequence[Row], reports: Sequence[OpenedReport]) -> None:
    """Write DIR/choice.html alone, as when a test report has joined it."""
    order = {run_id: number for number, one in enumerate(choice.configurations) for run_id in one.runs}
    ranked = sorted((row for row in rows if row.cell.run_id in order), key=lambda row: order[row.cell.run_id])
    page = choice_page(choice, head_of(plan), curves_of(ranked), reports, predict_command(plan, choice))
    write_text(plan.out / "choice.html", page)
