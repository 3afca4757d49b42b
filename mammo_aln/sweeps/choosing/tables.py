"""Tables of the choice: as the page shows them, and as CSV (every digit), Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from mammo_aln.files import make_folder, write_csv, write_text
from mammo_aln.sweeps.choosing.rank import Rival
from mammo_aln.sweeps.choosing.words import Chosen, Ranked
from mammo_aln.sweeps.standing.pages import number

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
}
NOTHING = Rival(0.0, None, None, None, None)


@dataclass(frozen=True)
class Line:
    """One row of a table: its cells as text, and the word by which the page colours it."""

    cells: list[str]
    state: str = ""


@dataclass(frozen=True)
class ChoiceTable:
    """A table of the choice.

    Attributes:
        name: of its files.
        caption: says what it holds.
        columns: of the text.
        rows: as text.
        values: the same with every digit, columns named for programs.
    """

    name: str
    caption: str
    columns: list[str]
    rows: list[Line]
    values: pd.DataFrame


def choice_tables(choice: Chosen) -> list[ChoiceTable]:
    """Lay out configurations, and factors and marginal means where they are known."""
    factors, levels = choice.factors.components, choice.factors.levels
    tables = [_configurations(choice)]
    if factors:
        text = [[one.factor, limits(one.sd, one.low, one.high), number(one.df, "d"), one.note] for one in factors]
        columns = ["factor", "SD of AUC (95 %)", "degrees of freedom", "note"]
        caption = "Spread of validation AUCs by factor"
        tables.append(_table("factors", caption, columns, text, [asdict(one) for one in factors]))
    if levels:
        text = [
            [
                one.axis,
                one.level,
                limits(one.val_auc, one.low, one.high),
                limits(one.difference, one.difference_low, one.difference_high, "+.3f"),
            ]
            for one in levels
        ]
        columns = ["axis", "level", "validation AUC (95 %)", "minus the axis's mean (95 %, simultaneous)"]
        tables.append(_table("marginal_means", "Marginal means", columns, text, [asdict(one) for one in levels]))
    return tables


def _table(
    name: str, caption: str, columns: list[str], text: Sequence[list[str]], values: Sequence[dict[str, object]]
) -> ChoiceTable:
    return ChoiceTable(name, caption, columns, [Line(cells) for cells in text], pd.DataFrame(values))


def _configurations(choice: Chosen) -> ChoiceTable:
    one_seed = choice.luck_df == 0
    columns = ["configuration", "validation AUC", "SD", "cells"]
    columns += ["minus the best", "p, patients alone"] if one_seed else ["minus the best (95 %, simultaneous)", "p"]
    columns += ["best in", "verdict"]
    rows = [Line(_words(one, one_seed), _state(one)) for one in choice.configurations]
    values = pd.DataFrame([_values(one) for one in choice.configurations])
    return ChoiceTable("configurations", "Configurations by validation AUC", columns, rows, values)


def _state(one: Ranked) -> str:
    return "best" if one.against_best is None else "alike" * one.is_alike


def _words(one: Ranked, one_seed: bool) -> list[str]:
    rival, share = one.against_best, one.best_in_share_of_draws
    gap, p = "–", "–"
    if rival is not None:
        gap = limits(rival.difference, rival.low, rival.high, "+.3f")
        p = number(rival.p_patients if one_seed else rival.p, ".2g")
    best_in = "–" if share is None else f"{100 * share:.0f} %"
    return [
        one.configuration,
        number(one.val_auc),
        number(one.val_auc_sd),
        str(one.cells),
        gap,
        p,
        best_in,
        one.verdict,
    ]


def _values(one: Ranked) -> dict[str, object]:
    rival = asdict(one.against_best or NOTHING)
    about: dict[str, object] = {
        "configuration": one.configuration,
        **one.settings,
        "val_auc": one.val_auc,
        "val_auc_sd": one.val_auc_sd,
    }
    about |= {"cells": one.cells, **{f"against_best_{name}": value for name, value in rival.items()}}
    return about | {
        "best_in_share_of_draws": one.best_in_share_of_draws,
        "verdict": one.verdict,
        "runs": " ".join(one.runs),
    }


def limits(value: float | None, low: float | None, high: float | None, form: str = ".3f") -> str:
    """Write a figure with its limits, where they are known."""
    return number(value, form) + (f" ({number(low, form)} to {number(high, form)})" if low is not None else "")


def as_markdown(table: ChoiceTable) -> str:
    """Write a table as Markdown (pipes within a cell escaped)."""
    rows = [table.columns, ["---"] * len(table.columns), *(row.cells for row in table.rows)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", f"{table.caption}.", ""])


def as_latex(table: ChoiceTable) -> str:
    """Write a table as LaTeX, for the package `booktabs`."""
    lines = [" & ".join(map(_latex, cells)) + r" \\" for cells in (table.columns, *(row.cells for row in table.rows))]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_latex(table.caption)}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)


def write_tables(folder: Path, tables: Sequence[ChoiceTable]) -> None:
    """Write each table as CSV, Markdown and LaTeX, and remove those of a former choice that this one lacks."""
    make_folder(folder)
    names = {f"{table.name}.{kind}" for table in tables for kind in ("csv", "md", "tex")}
    for path in folder.iterdir():
        if path.suffix in (".csv", ".md", ".tex") and path.name not in names:
            path.unlink()
    for table in tables:
        write_csv(folder / f"{table.name}.csv", table.values)
        write_text(folder / f"{table.name}.md", as_markdown(table))
        write_text(folder / f"{table.name}.tex", as_latex(table))
