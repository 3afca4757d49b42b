"""I-SPY 1 and I-SPY 2: clinical tables with the pathological complete response of breast and nodes together.

These trials' public tables give no nodal status after therapy, so `aln_status` holds their nearest outcome: 1 =
residual invasive disease (no pCR), 0 = pCR. TCIA doi:10.7937/K9/TCIA.2016.HdHpgJLK and doi:10.7937/TCIA.D8Z0-9T85.
"""

from __future__ import annotations

import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, need_columns

CLINICAL: dict[str, dict[str, object]] = {
    "age": {"kind": "continuous", "unit": "years"},
    "hr": {"kind": "categorical", "levels": ["negative", "positive"]},
    "her2": {"kind": "categorical", "levels": ["negative", "positive"]},
}
SIGN = {0: "negative", 1: "positive"}


def ispy_tables(ispy2: pd.DataFrame, predictors: pd.DataFrame, outcomes: pd.DataFrame) -> CohortTables:
    """One cohort: I-SPY 2 is `train`, I-SPY 1 `external_test`; features are what both tables hold.

    Args:
        ispy2: BreastDCEDL's metadata of I-SPY 2 (`pid`, `age`, `HR`, `HER2pos`, `pCR`).
        predictors: sheet `predictors` of I-SPY 1's workbook.
        outcomes: sheet `outcomes` of it.

    Raises:
        InputError: a column is missing.
    """
    need_columns(ispy2, ["pid", "age", "HR", "HER2pos", "pCR"], "I-SPY 2 metadata")
    need_columns(predictors, ["SUBJECTID", "age", "HR Pos", "Her2MostPos"], "I-SPY 1, sheet predictors")
    need_columns(outcomes, ["SUBJECTID", "PCR"], "I-SPY 1, sheet outcomes")
    second = _trial("ISPY2", "train", ispy2, ["pid", "pCR", "age", "HR", "HER2pos"])
    both = predictors.merge(outcomes, on="SUBJECTID", validate="one_to_one", suffixes=("", "_outcome"))
    first = _trial("ISPY1", "external_test", both, ["SUBJECTID", "PCR", "age", "HR Pos", "Her2MostPos"])
    declaration: dict[str, object] = {
        "name": "I-SPY 2 to I-SPY 1",
        "label": {"column": "aln_status", "meaning": "1 = residual invasive disease in breast or nodes, 0 = pCR"},
        "clinical": CLINICAL,
    }
    return CohortTables(declaration, pd.concat([second, first], ignore_index=True))


def _trial(name: str, split: str, rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Patients of one trial; `columns` hold identifier, response, age, hormone receptors and HER2."""
    identifier, response, age, hr, her2 = (rows[column] for column in columns)
    return pd.DataFrame(
        {
            "patient_id": f"{name}-" + identifier.astype(str),
            "center": name,
            "split": split,
            # 1 where there was no complete response; empty where it is unknown
            "aln_status": (1 - response).astype("Int64"),
            "age": age,
            "hr": hr.map(SIGN),
            "her2": her2.map(SIGN),
        }
    )
