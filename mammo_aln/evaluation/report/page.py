"""Pages: tables that can be saved from a page, and the evaluation's page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mammo_aln import __version__
from mammo_aln.evaluation.inputs import seen_inputs
from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Metric
from mammo_aln.evaluation.people import People
from mammo_aln.evaluation.predictions import Predictions
from mammo_aln.evaluation.report import checklists, tables, words
from mammo_aln.evaluation.report.environment import page_environment
from mammo_aln.evaluation.report.plots import Picture, figure_text, spoken

PAGES = page_environment()


def csv_link(table: pd.DataFrame) -> str:
    """Encode a table as a data URI."""
    return "data:text/csv;base64," + base64.b64encode(table.to_csv(index=False).encode()).decode()


@dataclass(frozen=True)
class Report:
    """Content of the evaluation's page.

    Attributes:
        predictions: rows judged, and what is known of the run.
        judgement: figures of splits and centres.
        heterogeneity: of the AUC between the centres.
        people: the patients behind the figures, or None where nothing is known of them.
        spared: operations spared in each tested split.
        figures: by section.
        tables: written beside the page, by file name.
        resamples: bootstrap resamples.
        trained: day on which the run was completed, or nothing.
    """

    predictions: Predictions
    judgement: Judgement
    heterogeneity: Metric
    people: People | None
    spared: pd.DataFrame
    figures: Mapping[str, Sequence[Picture]]
    tables: Mapping[str, pd.DataFrame]
    resamples: int
    trained: str = ""

    def page(self) -> str:
        """Render report.html."""
        judgement, facts, people = self.judgement, self.predictions.facts, self.people
        inputs = seen_inputs(facts)
        centers = [tables.judged_on(judgement.centers), *tables.figures_table(judgement.centers)]
        return PAGES.get_template("report.html.j2").render(
            version=__version__,
            facts=facts,
            sources=self.predictions.sources,
            outcome=words.outcome_words(facts),
            about=words.about(facts, self.trained),
            headline=words.headline(judgement),
            openings=words.openings(facts, judgement.splits),
            notes=[*judgement.notes, *(inputs.warnings if inputs else ()), *map(str, facts.get("notes") or ())],
            inputs=inputs,
            figures=self.figures,
            splits={
                "columns": [spoken(name) for name in judgement.splits],
                "rows": tables.figures_table(judgement.splits),
            },
            centers={"columns": list(judgement.centers), "rows": centers},
            called=tables.called(judgement),
            judged=judgement.splits,
            gaps=judgement.gaps,
            spoken=spoken,
            flow=tables.flow(self.predictions),
            people=people,
            people_tables=people.tables() if people else {},
            spared=self.spared.to_dict("records"),
            heterogeneity=self.heterogeneity,
            methods=words.methods(facts, judgement, self.heterogeneity, people, self.resamples),
            model_card=words.model_card(facts, judgement),
            checklists=checklists.filled(facts, judgement, self.heterogeneity, people),
            text=figure_text,
            plain=words.plain,
            ledger=tables.fallback_ledger(facts),
            resamples=self.resamples,
            downloads={"figures.csv": csv_link(tables.long_table(judgement))}
            | {f"{name}.csv": csv_link(table) for name, table in self.tables.items()},
        )
