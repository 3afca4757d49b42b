"""Remarks in patients.csv: columns that cohort.yaml does not declare, and why somebody is excluded.

They stay in the cohort's own table. What keeps tables elsewhere leaves out a table of patients that holds any, and has
it read again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mammo_aln.cohort.declaration import Declaration
from mammo_aln.cohort.judged import NO_REASON, reread_patients
from mammo_aln.cohort.packed import Packed
from mammo_aln.cohort.values.columns import known_columns

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
