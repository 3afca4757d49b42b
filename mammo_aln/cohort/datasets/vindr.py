"""VinDr-Mammo: full-field digital mammograms with findings' boxes (PhysioNet, credentialed). No outcome after NAT."""

from __future__ import annotations

import ast

import numpy as np
import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, need_columns
from mammo_aln.errors import InputError

COLUMNS = (
    "study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density", "finding_categories",
    "xmin", "ymin", "xmax", "ymax", "split",
)  # fmt: skip
LESIONS = (
    "Mass",
    "Suspicious Calcification",
    "Architectural Distortion",
    "Asymmetry",
    "Focal Asymmetry",
    "Global Asymmetry",
)
REGION_OF = {**dict.fromkeys(LESIONS, "primary"), "Suspicious Lymph Node": "axilla"}
SPLIT_OF = {"training": "train", "test": "internal_test"}
SUSPICIOUS_BIRADS = 4


def vindr_tables(findings: pd.DataFrame) -> CohortTables:
    """Cohort tables of `finding_annotations.csv`, read with `dtype=str`.

    A patient is a study (the set keeps no patient). The label, `suspicious`, is 1 where a breast has BI-RADS 4 or 5: a
    task for pre-training. A box with a lesion is `primary`, with nothing but a suspicious lymph node `axilla`, else it
    has its finding's name. Boxes are pixels of the DICOM file, x right and y down.

    Raises:
        InputError: a column is missing, or a finding or split is not the data set's.
    """
    need_columns(findings, COLUMNS, "finding_annotations.csv")
    strange = sorted(set(findings["split"]) - set(SPLIT_OF))
    if strange:
        raise InputError(f"finding_annotations.csv: split {strange[0]!r}: expected {' or '.join(SPLIT_OF)}")
    birads = pd.to_numeric(findings["breast_birads"].str.extract(r"(\d)", expand=False))
    rows = findings.assign(
        suspicious=np.where(birads.isna(), np.nan, birads >= SUSPICIOUS_BIRADS),
        density=findings["breast_density"].str.extract(r"([A-D])$", expand=False),
        split=findings["split"].map(SPLIT_OF),
    )
    patients = rows.groupby("study_id", as_index=False).agg(
        suspicious=("suspicious", "max"), density=("density", "max"), split=("split", "first")
    )
    images = findings.drop_duplicates("image_id").assign(
        path=lambda table: "images/" + table["study_id"] + "/" + table["image_id"] + ".dicom"
    )
    names = {"study_id": "patient_id", "view_position": "view"}
    boxed = findings[findings["xmin"].notna()]
    regions = pd.DataFrame(
        {
            "image_id": boxed["image_id"],
            "region": boxed["finding_categories"].map(_region),
            **{new: boxed[old] for new, old in zip(("x_min", "y_min", "x_max", "y_max"), COLUMNS[7:11], strict=True)},
        }
    )
    declaration: dict[str, object] = {
        "name": "VinDr-Mammo",
        "label": {"column": "suspicious", "meaning": "1 = a breast with BI-RADS 4 or 5"},
        "clinical": {"density": {"kind": "ordinal", "levels": ["A", "B", "C", "D"]}},
    }
    return CohortTables(
        declaration,
        patients.rename(columns=names).assign(center="VinDr"),
        images.rename(columns=names)[["image_id", "patient_id", "path", "laterality", "view"]],
        regions.drop_duplicates(),
    )


def _region(categories: str) -> str:
    try:
        findings = [str(item) for item in ast.literal_eval(categories)]
    except (ValueError, SyntaxError):
        findings = []
    if not findings:
        raise InputError(f"finding_annotations.csv: finding_categories = {categories!r}: expected a list of findings")
    named = {REGION_OF.get(item, item.lower().replace(" ", "_")) for item in findings}
    return "primary" if "primary" in named else "axilla" if named == {"axilla"} else sorted(named - {"axilla"})[0]
