"""Columns of patients.csv that cohort.yaml does not declare: remarks, names, whatever a clinic's table holds.

They stay in the cohort's own table. What keeps tables elsewhere leaves them out, and puts them back from the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.declaration import Declaration
from mammo_aln.cohort.packed import Packed
from mammo_aln.cohort.values.columns import as_declared, known_columns
from mammo_aln.cohort.values.table_files import read_table
from mammo_aln.errors import BadCell

MADE = ("unit_id", "aln_status", "eligible", "exclusion_reason", "side", "center", "patient_id")
"""Columns that reading makes or fills, whether or not the file has them."""
ORDER = "patients_columns"


def without_undeclared(packed: Packed, declared: Declaration) -> Packed:
    """Leave undeclared columns of the patients out; their names and order are kept among the facts."""
    patients = packed.tables["patients"]
    known = {*known_columns(declared), *declared.readings, *MADE}
    declared_ones = patients[[name for name in patients if name in known]]
    return replace(
        packed,
        tables={**packed.tables, "patients": declared_ones},
        facts={**packed.facts, ORDER: [str(name) for name in patients]},
    )


def with_undeclared(root: Path, packed: Packed, declared: Declaration) -> Packed | None:
    """Put undeclared columns back as patients.csv holds them; None where it no longer does."""
    patients, order = packed.tables["patients"], packed.facts[ORDER]
    missing = [name for name in order if name not in patients]
    if not missing:
        return packed
    faults: list[BadCell] = []
    table = read_table(root, "patients", True, known_columns(declared), faults)
    if table is None or faults or len(table) != len(patients):
        return None
    written = as_declared(table, declared, faults).reset_index(drop=True)
    if not set(missing) <= set(written):
        return None
    columns: Mapping[str, pd.Series] = {name: written[name].astype(object) for name in missing}
    return replace(packed, tables={**packed.tables, "patients": patients.assign(**columns)[order]})
