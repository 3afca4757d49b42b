"""Duke-Breast-Cancer-MRI: the public table with the nodal stage after NAT (TCIA, CC BY-NC 4.0). Tables only."""

from __future__ import annotations

import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, need_columns

NAMES_ROW, FIRST_VALUES_ROW = 1, 3  # the sheet has three header rows; the names stand in the second
MISSING = ("", "NA", "NC", "NP", "nan")
DAYS_PER_YEAR = 365.25
COLUMNS = {
    "patient id": "patient_id",
    "er": "er",
    "pr": "pr",
    "her2": "her2",
    "staging(tumor size)# [t]": "cT",
    "staging(nodes)#(nx replaced by -1)[n]": "cN",
    "date of birth (days)": "birth_days",
    "received neoadjuvant therapy or not": "received",
    "pathologic response to neoadjuvant therapy: pathologic stage (n) following neoadjuvant therapy": "ypN",
}
CLINICAL: dict[str, dict[str, object]] = {
    "age": {"kind": "continuous", "unit": "years"},
    "er": {"kind": "categorical", "levels": ["0", "1"]},
    "pr": {"kind": "categorical", "levels": ["0", "1"]},
    "her2": {"kind": "categorical", "levels": ["0", "1"]},
    "cT": {"kind": "ordinal", "levels": ["1", "2", "3", "4"]},
    "cN": {"kind": "ordinal", "levels": ["1", "2", "3"]},
}


def duke_tables(sheet: pd.DataFrame) -> CohortTables:
    """Cohort tables of the sheet `Data` of `Clinical_and_Other_Features.xlsx`, read with `header=None, dtype=str`.

    Eligible: had NAT and had a positive node (N >= 1) before it. `aln_status` is 1 where the N stage after NAT is 1 or
    more, 0 where it is 0, empty where it is NX or not given. Headers are compared after collapsing white space, as the
    sheet's own have stray blanks.

    Raises:
        InputError: a column is missing.
    """
    names = [" ".join(str(name).split()).lower() for name in sheet.iloc[NAMES_ROW]]
    rows = sheet.iloc[FIRST_VALUES_ROW:].set_axis(names, axis=1)
    need_columns(rows, COLUMNS, "sheet Data")
    rows = rows[list(COLUMNS)].rename(columns=COLUMNS).apply(lambda cells: cells.astype(str).str.strip())
    rows = rows.mask(rows.isin(MISSING))
    rows = rows[rows["patient_id"].notna()]
    before, after = (pd.to_numeric(rows[name]) for name in ("cN", "ypN"))
    reason = pd.Series("", index=rows.index)
    reason[rows["cN"].isna() | (before < 0)] = "nodal stage before NAT unknown"
    reason[before == 0] = "node-negative before NAT"
    reason[rows["received"] != "1"] = "no neoadjuvant therapy"
    patients = pd.DataFrame(
        {
            "patient_id": rows["patient_id"],
            "center": "Duke",
            "aln_status": (after >= 1).astype("Int64").mask(after.isna() | (after < 0)),
            "eligible": (reason == "").astype(int),
            "exclusion_reason": reason,
            "age": (-pd.to_numeric(rows["birth_days"]) / DAYS_PER_YEAR).round(2),
            **{name: rows[name] for name in ("er", "pr", "her2")},
            # a stage that is none of the levels (0, NX) occurs only in patients who are not eligible, or is unknown
            **{name: rows[name].where(rows[name].isin(list("1234"))) for name in ("cT", "cN")},
        }
    )
    meaning = "1 = pathologic N stage 1 or more after NAT, 0 = N0"
    declaration: dict[str, object] = {
        "name": "Duke-Breast-Cancer-MRI",
        "label": {"column": "aln_status", "meaning": meaning},
        "clinical": CLINICAL,
    }
    return CohortTables(declaration, patients)
