"""choice.json, choice.html and the files of its tables, written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mammo_aln import __version__
from mammo_aln.files import write_json, write_text
from mammo_aln.sweeps.choosing.figures import factor_pictures
from mammo_aln.sweeps.choosing.tables import choice_tables, write_tables
from mammo_aln.sweeps.choosing.words import Chosen
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.standing.curves import Curves, curves_of
from mammo_aln.sweeps.standing.pages import PAGES, Head, head_of
from mammo_aln.sweeps.standing.table import Row


def choice_page(choice: Chosen, head: Head, curves: Curves) -> str:
    """Render choice.html."""
    return PAGES.get_template("choice.html.j2").render(
        choice=choice,
        head=head,
        tables={table.name: table for table in choice_tables(choice)},
        pictures=factor_pictures(choice.factors),
        curves=curves,
        version=__version__,
    )


def write_choice(plan: Plan, choice: Chosen, rows: Sequence[Row]) -> None:
    """Write DIR/choice.json, DIR/choice.html and DIR/choice/; learning curves of `rows`, best configuration first."""
    order = {run_id: number for number, one in enumerate(choice.configurations) for run_id in one.runs}
    ranked = sorted((row for row in rows if row.cell.run_id in order), key=lambda row: order[row.cell.run_id])
    write_json(plan.out / "choice.json", asdict(choice))
    write_tables(plan.out / "choice", choice_tables(choice))
    write_text(plan.out / "choice.html", choice_page(choice, head_of(plan), curves_of(ranked)))
