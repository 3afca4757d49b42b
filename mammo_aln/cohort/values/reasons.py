"""Reasons in somebody's own words: those that several patients have in common are told, one patient's own are not."""

from __future__ import annotations

import pandas as pd

OWN_WORDS = "a reason stated in {table}"


def shared_reasons(stated: pd.Series, patients: pd.Series, table: str) -> pd.Series:
    """Keep the reasons that several patients have in common; one patient's own words stay in the table.

    Args:
        stated: reasons as somebody wrote them, NaN where nobody did.
        patients: `patient_id` of the same rows.
        table: name of the file that holds them.
    """
    alike = patients.groupby(stated).transform("nunique")
    return stated.mask(stated.notna() & (stated != "") & (alike < 2), OWN_WORDS.format(table=table))
