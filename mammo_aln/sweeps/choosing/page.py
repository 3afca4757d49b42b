"""choice.json and choice.html, written."""

from __future__ import annotations

from dataclasses import asdict

from mammo_aln import __version__
from mammo_aln.files import write_json, write_text
from mammo_aln.sweeps.choosing.figures import factor_pictures
from mammo_aln.sweeps.choosing.words import Chosen
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.standing.board import PAGES


def choice_page(choice: Chosen) -> str:
    """Render choice.html."""
    page = PAGES.get_template("choice.html.j2")
    return page.render(choice=choice, pictures=factor_pictures(choice.factors), version=__version__)


def write_choice(plan: Plan, choice: Chosen) -> None:
    """Write DIR/choice.json and choice.html."""
    write_json(plan.out / "choice.json", asdict(choice))
    write_text(plan.out / "choice.html", choice_page(choice))
