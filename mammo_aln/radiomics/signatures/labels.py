"""Names of columns as people read them, for figures and pages; files keep the columns' own names."""

from __future__ import annotations

import textwrap

import pandas as pd

WORDS = {
    word.lower(): word
    for word in ("AUC", "BMI", "ER", "PR", "HER2", "cT", "cN", "NAT", "ADC", "DCE", "T1w", "T2w", "MRI", "CC", "MLO")
} | {"ki67": "Ki-67", "log": "LoG"}
LINE = 42
"""Letters that fit beside a figure's axis."""


def label(name: str) -> str:
    """Write a column's name in words: `her2_status` as `HER2 status`, `radiomics_pre_t2w_...` as `pre T2w ...`."""
    return " ".join(WORDS.get(word.lower(), word) for word in name.removeprefix("radiomics_").split("_") if word)


def term_label(variable: str, term: str) -> str:
    """Write a design column in words: the variable, and the level that is set against its reference."""
    level = term.removeprefix(variable)
    return f"{label(variable)}: {level}" if level else label(variable)


def term_labels(table: pd.DataFrame) -> list[str]:
    """Label each row of a table of odds ratios."""
    return [
        term_label(str(variable), str(term)) for variable, term in zip(table["variable"], table["term"], strict=True)
    ]


def wrapped(name: str) -> str:
    """Label a feature in lines that fit beside a figure, nothing left out."""
    return "\n".join(textwrap.wrap(label(name), LINE))
