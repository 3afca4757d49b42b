"""Words for a missing value: one list for every table."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

MISSING_WORDS = (
    "", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "null", "nil", "unknown", "unk", "not known", "not available",
    "missing", "-", "--", "\u2013", "\u2014", ".", "?",
)  # fmt: skip
"""Without regard to case. Neither `none` nor `0`: both can be findings."""

FREE_TEXT = (
    "patient_id",
    "center",
    "image_id",
    "path",
    "region",
    "exclusion_reason",
    "reason",
    "flags",
    "run_id",
    "sequence",
    "notes",
)
"""Columns whose cells are not read as a word for missing: names, and sentences."""


def is_missing_word(text: object) -> bool:
    """Tell whether a cell's text is empty or one of the words for a missing value."""
    return isinstance(text, str) and text.strip().lower() in MISSING_WORDS


def without_missing_words(table: pd.DataFrame, levels: dict[str, Collection[str]] | None = None) -> pd.DataFrame:
    """The table with NaN for every word that means missing.

    Args:
        table: text.
        levels: values that a column declares; such a value is one, whatever it reads like.
    """
    declared = levels or {}
    cleaned = {}
    for name in table.columns:
        if name in FREE_TEXT or str(name).endswith("_path"):
            continue
        cells = table[name]
        words = {value for value in cells.unique() if is_missing_word(value)}.difference(declared.get(name, ()))
        missing = cells.isin(list(words))
        if missing.any():
            cleaned[name] = cells.mask(missing, np.nan)
    return table.assign(**cleaned) if cleaned else table
