"""CSAW-CC: screening mammograms with cancers and controls; node status at diagnosis, without any word of therapy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, PublicSet, first_of_each_image
from mammo_aln.cohort.datasets.published import SIDES, VIEWS, coded, identifiers, needed_file, numbers, read_published
from mammo_aln.cohort.lineage import Source

FACTS = PublicSet(
    source=Source(
        "CSAW-CC",
        "on request from the Swedish National Data Service",
        ("agreement", "no-redistribution"),
        "Strand 2022, CSAW-CC (mammography), doi:10.5878/45vm-t798; Dembrower et al. 2020, J Digit Imaging 33:408",
    ),
    tables="CSAW-CC_breast_cancer_screening_data.csv; the files of its column anon_filename",
    boxes="none in the table (tumour masks are a release of their own)",
    spacing="mostly stripped from the files",
    seen="no",
    takes_spacing=True,
)
COLUMNS = (
    "anon_patientid", "anon_filename", "exam_year", "x_case", "x_age", "x_cancer_laterality", "x_type",
    "x_lymphnode_met", "rad_timing", "imagelaterality", "viewposition",
)  # fmt: skip
YES_NO = {"0": 0.0, "1": 1.0}
AGES = {"1": "40-55", "2": "over 55"}
TYPES = {"1": "in situ", "2": "invasive, to 15 mm", "3": "invasive, over 15 mm"}
TIMEPOINT = {"1": "pre_nat", "2": "pre_nat", "3": "prior"}
"""Of the exam that saw the cancer, of the last one before an interval cancer, and of those before."""

MISSING = ("NA", "NaN")


def read_csaw_cc(source: Path) -> CohortTables:
    """Read the table of the release.

    A row is the breast that has the cancer, or a healthy woman (not eligible, without a side). The label,
    `lymphnode_met`, is node metastasis at diagnosis. Readings (`rad_*`) and measures of density are left out; type and
    cancer are outcomes, so that no model reads them. Exams are numbered by year; the one at diagnosis is `pre_nat`, as
    no therapy was before it, those before are `prior`.

    Raises:
        InputError: not the set's table, or a code that the set does not have.
    """
    path = needed_file(source, "CSAW-CC_breast_cancer_screening_data.csv", "*CSAW*CC*.csv")
    table = read_published(path, COLUMNS)
    identifiers(table, "anon_filename", path)
    identifiers(table, "exam_year", path)
    year = numbers(table, "exam_year", path)
    files = {file.name: str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}
    rows = pd.DataFrame(
        {
            "patient_id": identifiers(table, "anon_patientid", path),
            "image_id": table["anon_filename"].str.replace(r"\.dcm$", "", case=False, regex=True),
            "path": table["anon_filename"].map(lambda name: files.get(str(name), str(name))),
            "side": coded(table, "imagelaterality", SIDES, path, needed=True),
            "view": coded(table, "viewposition", VIEWS, path, needed=True),
            "study": "s" + year.groupby(table["anon_patientid"]).rank(method="dense").astype("Int64").astype(str),
            "timepoint": coded(table, "rad_timing", TIMEPOINT, path, missing=MISSING).fillna(""),
            "cancer": coded(table, "x_case", YES_NO, path, missing=MISSING).astype(float),
            "cancer_side": coded(table, "x_cancer_laterality", SIDES, path, missing=MISSING),
            "age_group": coded(table, "x_age", AGES, path, missing=MISSING),
            "cancer_type": coded(table, "x_type", TYPES, path, missing=MISSING),
            "lymphnode_met": coded(table, "x_lymphnode_met", YES_NO, path, missing=MISSING).astype(float),
        }
    )
    women = rows.groupby("patient_id", as_index=False, sort=False).agg(
        {"cancer_side": "first", "cancer": "max", "age_group": "first", "cancer_type": "first", "lymphnode_met": "max"}
    )
    case = women["cancer"] == 1
    placed = case & women["cancer_side"].notna()
    patients = women.rename(columns={"cancer_side": "side"}).assign(
        side=women["cancer_side"].where(case),
        center="CSAW-CC",
        # a woman without a cancer has no node to judge
        lymphnode_met=women["lymphnode_met"].where(case),
        eligible=placed.astype(int),
        exclusion_reason=np.select([placed, case], ["", "side of the cancer not stated"], "no cancer"),
    )
    return CohortTables(
        label="lymphnode_met",
        meaning="1 = node metastasis at diagnosis, 0 = none; before any therapy, not after NAT",
        patients=patients,
        images=first_of_each_image(rows, ("study", "timepoint")),
        clinical={"age_group": {"kind": "ordinal", "levels": list(AGES.values())}},
        outcomes={"cancer": "post_surgery", "cancer_type": "post_surgery"},
    )
