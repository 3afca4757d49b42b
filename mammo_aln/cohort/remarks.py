"""Remarks in patients.csv: columns that cohort.yaml does not declare, and why somebody is excluded.

They stay in the cohort's own table. What keeps tables elsewhere leaves out a table of patients that holds any, and has
it read again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.declaration import Declaration
from mammo_aln.cohort.judged import NO_REASON, reread_patients
from mammo_aln.cohort.packed import Packed
from mammo_aln.cohort.values.columns import known_columns

OWN_WORDS = "a reason stated in {table}"
MADE = ("unit_id", "aln_status", "eligible", "exclusion_reason", "side", "center", "patient_id")
"""Columns that reading makes or fills, whether or not the file has them."""


def without_remarks(packed: Packed, declared: Declaration) -> Packed:
    """Leave the patients out where their table holds remarks."""
    patients = packed.tables["patients"]
    known = {*known_columns(declared), *MADE}
    if known.issuperset(patients.columns) and patients["exclusion_reason"].isin(["", NO_REASON]).all():
        return packed
    return replace(packed, tables={name: table for name, table in packed.tables.items() if name != "patients"})


def with_remarks(root: Path, packed: Packed, declared: Declaration, outcome: bool) -> Packed | None:
    """Put patients back that were left out, as patients.csv holds them; None where it can no longer be read."""
    if "patients" in packed.tables:
        return packed
    patients = reread_patients(root, declared, outcome)
    return None if patients is None else replace(packed, tables={"patients": patients, **packed.tables})


def shared_reasons(stated: pd.Series, patients: pd.Series, table: str) -> pd.Series:
    """Keep the reasons that several patients have in common; one patient's own words stay in the table.

    Args:
        stated: reasons as somebody wrote them, NaN where nobody did.
        patients: `patient_id` of the same rows.
        table: name of the file that holds them.
    """
    alike = patients.groupby(stated).transform("nunique")
    return stated.mask(stated.notna() & (stated != "") & (alike < 2), OWN_WORDS.format(table=table))
