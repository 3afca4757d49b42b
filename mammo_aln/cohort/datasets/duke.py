"""Duke-Breast-Cancer-MRI: the public table with the nodal stage after NAT (TCIA)."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, PublicSet
from mammo_aln.cohort.datasets.published import coded, need, needed_file, numbers, read_sheet
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import InputError

TABLE = "Clinical_and_Other_Features.xlsx"
SOURCE = Source(
    "Duke-Breast-Cancer-MRI",
    "CC BY-NC 4.0",
    ("attribution", "non-commercial"),
    "Saha et al. 2018, Br J Cancer 119:508-516, doi:10.1038/s41416-018-0185-8; TCIA doi:10.7937/TCIA.e3sv-re93",
)
FACTS = PublicSet(
    source=SOURCE,
    tables=f"{TABLE} (sheet Data)",
    boxes="none: Annotation_Boxes.xlsx is not read, as volumes take masks",
    spacing="in the DICOM series",
    seen="no",
)
SHEET = "Data"
NAMES_ROW, LEGEND_ROW, FIRST_VALUES_ROW = 1, 2, 3  # three header rows; the names stand in the second
MISSING = ("NA", "NC", "NP", "nan")
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
OUTCOMES = {
    "pathologic response to neoadjuvant therapy": "pathologic_response",
    "pathologic response to neoadjuvant therapy: pathologic stage (t) following neoadjuvant therapy": "ypT",
}
"""Further outcomes, taken where they stand; by header, white space collapsed, in lower case."""

SIGN = {"0": "0", "1": "1", "2": None}  # 2 = borderline: unknown
STAGES = {stage: float(stage) for stage in ("-1", "0", "1", "2", "3", "4")}
SIZES = {**STAGES, "5": None}  # 5 = Tis, no level of cT
CLINICAL: dict[str, dict[str, object]] = {
    "age": {"kind": "continuous", "unit": "years"},
    "er": {"kind": "categorical", "levels": ["0", "1"]},
    "pr": {"kind": "categorical", "levels": ["0", "1"]},
    "her2": {"kind": "categorical", "levels": ["0", "1"]},
    "cT": {"kind": "ordinal", "levels": ["1", "2", "3", "4"]},
    "cN": {"kind": "ordinal", "levels": ["1", "2", "3"]},
}
LABEL_MEANING = "1 = pathologic N stage 1 or more after NAT, 0 = N0"


def read_duke(source: Path) -> CohortTables:
    """Read the sheet `Data`; its images are MRI, and `Annotation_Boxes.xlsx` is not read, as volumes take masks.

    Raises:
        InputError: not the set's table, a code that the set does not have, or a legend that says other codes.
    """
    path = needed_file(source, TABLE, "*Clinical*Features*.xlsx")
    patients = duke_patients(path)
    outcomes = {name: "post_surgery" for name in OUTCOMES.values() if name in patients}
    return CohortTables(
        label="aln_status",
        meaning=LABEL_MEANING,
        patients=patients,
        clinical=CLINICAL,
        outcomes=outcomes,
        notes=(
            "no volumes.csv: Annotation_Boxes.xlsx is not read; masks of MAMA-MIA (`import mama-mia`, with this table "
            "below its folder) give volumes",
        ),
    )


def duke_patients(path: Path) -> pd.DataFrame:
    """Rows of `patients.csv` of the sheet `Data` of `Clinical_and_Other_Features.xlsx`.

    Eligible: had NAT and had a positive node (N >= 1) before it. `aln_status` is 1 where the N stage after NAT is 1 or
    more, 0 where it is 0, empty where it is NX or not given. Headers are compared after collapsing white space, as the
    sheet's own have stray blanks.

    Raises:
        InputError: not the set's table, or a code that it does not have.
    """
    sheet = read_sheet(path, SHEET)
    if len(sheet) <= FIRST_VALUES_ROW:
        raise InputError(f"{path}: sheet {SHEET} has {len(sheet)} rows; expected three header rows, then patients")
    names = [" ".join(str(name).split()).lower() for name in sheet.iloc[NAMES_ROW]]
    legend = dict(zip(names, sheet.iloc[LEGEND_ROW], strict=True))
    rows = sheet.iloc[FIRST_VALUES_ROW:].set_axis(names, axis=1)
    need(rows, COLUMNS, path)
    known = {**COLUMNS, **{name: new for name, new in OUTCOMES.items() if name in names}}
    rows = rows.loc[:, ~rows.columns.duplicated()][list(known)].rename(columns=known)
    rows.index = pd.RangeIndex(FIRST_VALUES_ROW + 1, FIRST_VALUES_ROW + 1 + len(rows))
    rows = rows.apply(lambda cells: cells.str.strip()).astype(object)
    rows = rows.mask((rows == "") | rows.isin(MISSING))
    rows = rows[rows["patient_id"].notna()]
    before, after = (coded(rows, name, STAGES, path).astype(float) for name in ("cN", "ypN"))
    size = coded(rows, "cT", SIZES, path).astype(float)
    received = coded(rows, "received", _yes_no(str(legend["received neoadjuvant therapy or not"]), path), path)
    reason = pd.Series("", index=rows.index)
    reason[before.isna() | (before < 0)] = "nodal stage before NAT unknown"
    reason[before == 0] = "node-negative before NAT"
    reason[received != "yes"] = "no neoadjuvant therapy"
    return pd.DataFrame(
        {
            "patient_id": rows["patient_id"],
            "center": "Duke",
            "aln_status": (after >= 1).astype("Int64").mask(after.isna() | (after < 0)),
            "eligible": (reason == "").astype(int),
            "exclusion_reason": reason,
            "age": (-numbers(rows, "birth_days", path) / DAYS_PER_YEAR).round(2),
            **{name: coded(rows, name, SIGN, path) for name in ("er", "pr", "her2")},
            # a stage that is none of the levels (0, NX) occurs only in patients who are not eligible, or is unknown
            "cT": size.where(size >= 1).astype("Int64"),
            "cN": before.where(before.between(1, 3)).astype("Int64"),
            **{name: rows[name] for name in OUTCOMES.values() if name in rows},
        }
    )


def _yes_no(legend: str, path: Path) -> dict[str, object]:
    """Codes of a yes-no column: those of its legend, else 1 = yes and 2 = no as loaders of the set have it."""
    pairs = {code: word.lower() for code, word in re.findall(r"(\d+)\s*[=:]\s*([A-Za-z]+)", legend)}
    if not pairs:
        return {"1": "yes", "2": "no"}
    if not {"yes", "no"} <= set(pairs.values()):
        raise InputError(f"{path}: the legend {legend!r} of neoadjuvant therapy names no yes and no")
    return dict(pairs)
