"""I-SPY 1 and I-SPY 2: clinical tables with the pathological complete response of breast and nodes together.

These trials' public tables give no nodal status after therapy: the label, `residual_disease`, is 1 where there was no
complete response.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, PublicSet
from mammo_aln.cohort.datasets.published import coded, column_names, needed_file, numbers, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import InputError

WORKBOOK, TABLE_2 = "I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx", "breastdcedl_ispy2_metadata.csv"
FACTS_1 = PublicSet(
    source=Source(
        "I-SPY 1",
        "CC BY 3.0",
        ("attribution",),
        "Newitt, Hylton et al. 2016, ISPY1 / ACRIN 6657, TCIA, doi:10.7937/K9/TCIA.2016.HdHpgJLK",
    ),
    tables=f"{WORKBOOK} (sheets predictors and outcomes)",
    boxes="none in the tables",
    spacing="in the DICOM series",
    seen="the workbook, all 221 patients",
)
FACTS_2 = PublicSet(
    source=Source(
        "I-SPY 2", "CC BY 4.0", ("attribution",), "Li, Newitt et al. 2022, I-SPY2, TCIA, doi:10.7937/TCIA.D8Z0-9T85"
    ),
    tables=f"{TABLE_2} (as BreastDCEDL tabulates it), or TCIA's clinical table (Patient_ID, HR, HER2, pCR, age)",
    boxes="none in the tables",
    spacing="in the DICOM series",
    seen="BreastDCEDL's table, all 982 patients; TCIA's own: no",
)
FACTS_BOTH = PublicSet(
    source=FACTS_2.source,
    tables=f"{FACTS_1.tables}; {FACTS_2.tables}",
    boxes="none in the tables",
    spacing="in the DICOM series",
    seen="both tables",
)
PREDICTORS, OUTCOMES = ("SUBJECTID", "age", "HR Pos", "Her2MostPos"), ("SUBJECTID", "PCR", "RCBClass")
NAMES_1 = {"SUBJECTID": "pid", "HR Pos": "HR", "Her2MostPos": "HER2pos", "PCR": "pCR"}
COLUMNS_2 = ("pid", "age", "HR", "HER2pos", "pCR")
OWNERS_2 = {"patient_id": "pid", "hr": "HR", "her2": "HER2pos", "pcr": "pCR"}
OWNERS_AGE = ("age_at_screening", "age")
MISSING = ("NA", "nan", ".")
YES_NO = {"0": 0.0, "1": 1.0}
SIGN = {"0": "negative", "1": "positive"}
RCB = {"0": "0", "1": "I", "2": "II", "3": "III"}
BREAST_DCEDL = (
    "the table is BreastDCEDL's (cite Fridman et al. 2025, doi:10.48550/arXiv.2506.12190); its own split (column test) "
    "is left out"
)
MEANING = "1 = residual invasive disease in breast or nodes (no pCR), 0 = pCR"
CLINICAL: dict[str, dict[str, object]] = {
    "age": {"kind": "continuous", "unit": "years"},
    "hr": {"kind": "categorical", "levels": ["negative", "positive"]},
    "her2": {"kind": "categorical", "levels": ["negative", "positive"]},
}


def read_ispy1(source: Path) -> CohortTables:
    """Read the sheets `predictors` and `outcomes` of I-SPY 1's workbook; `rcb` is an outcome.

    Raises:
        InputError: not the set's workbook, or a code that it does not have.
    """
    path = needed_file(source, WORKBOOK, "I-SPY_1*Clinical*.xlsx")
    predictors = read_published(path, PREDICTORS, sheet="predictors")
    outcomes = read_published(path, OUTCOMES, sheet="outcomes")
    try:
        rows = predictors.merge(outcomes, on="SUBJECTID", validate="one_to_one", how="left")
    except pd.errors.MergeError as error:
        raise InputError(f"{path}: a SUBJECTID stands twice in a sheet ({error})") from error
    rows.index = predictors.index
    patients = _patients(rows, path, "ISPY1", NAMES_1)
    patients["rcb"] = coded(rows, "RCBClass", RCB, path, missing=MISSING)
    return CohortTables("residual_disease", MEANING, patients, clinical=CLINICAL, outcomes={"rcb": "post_surgery"})


def read_ispy2(source: Path) -> CohortTables:
    """Read I-SPY 2's table, in BreastDCEDL's form or the owner's.

    Raises:
        InputError: not the set's table, or a code that it does not have.
    """
    path = needed_file(source, TABLE_2, "*ispy2*.csv", "*ISPY2*linical*.xlsx", "*ISPY2*linical*.csv")
    tabulated = "pid" in column_names(path)
    rows = read_published(path, COLUMNS_2) if tabulated else _owners_table(path)
    return CohortTables(
        "residual_disease",
        MEANING,
        _patients(rows, path, "ISPY2", {}),
        clinical=CLINICAL,
        notes=(BREAST_DCEDL,) if tabulated else (),
    )


def read_ispy(source: Path) -> CohortTables:
    """Both trials as one cohort: I-SPY 2 is `train`, I-SPY 1 `external_test`; features are what both tables hold.

    Raises:
        InputError: as for either.
    """
    second, first = read_ispy2(source), read_ispy1(source).patients.drop(columns="rcb")
    parts = [second.patients.assign(split="train"), first.assign(split="external_test")]
    return CohortTables(
        "residual_disease",
        MEANING,
        pd.concat(parts, ignore_index=True),
        clinical=CLINICAL,
        notes=second.notes,
        sources=(FACTS_1.source,),
        name="I-SPY 2 to I-SPY 1",
    )


def _owners_table(path: Path) -> pd.DataFrame:
    """TCIA's own table; names are compared in lower case, with `_` for all that is no letter or digit."""
    names = column_names(path)
    squashed = {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"): name for name in names}
    age = next((name for name in OWNERS_AGE if name in squashed), OWNERS_AGE[0])
    missing = [name for name in (*OWNERS_2, age) if name not in squashed]
    if missing:
        raise InputError(
            f"{path}: columns {', '.join(missing)} are missing; expected {', '.join((*OWNERS_2, age))}; "
            f"other columns that stand there: {', '.join(names[:40])}"
        )
    renamed = {squashed[name]: new for name, new in {**OWNERS_2, age: "age"}.items()}
    return read_published(path, list(renamed)).rename(columns=renamed)


def _patients(rows: pd.DataFrame, path: Path, trial: str, renamed: dict[str, str]) -> pd.DataFrame:
    """Rows of `patients.csv` of one trial; `rows` hold identifier, age, receptors and response."""
    rows = rows.rename(columns=renamed)
    response = coded(rows, "pCR", YES_NO, path, missing=MISSING).astype(float)
    return pd.DataFrame(
        {
            "patient_id": f"{trial}-" + rows["pid"].str.replace(r"\.0$", "", regex=True),
            "center": trial,
            # empty where the response is unknown
            "residual_disease": (1 - response).astype("Int64"),
            "age": numbers(rows, "age", path, missing=MISSING),
            "hr": coded(rows, "HR", SIGN, path, missing=MISSING),
            "her2": coded(rows, "HER2pos", SIGN, path, missing=MISSING),
        }
    )
