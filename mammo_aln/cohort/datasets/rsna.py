"""RSNA Screening Mammography Breast Cancer Detection (Kaggle, 2022): a label per breast, no boxes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import FEATURES, CohortTables, PublicSet, first_of_each_image, of_breasts
from mammo_aln.cohort.datasets.published import SIDES, coded, identifiers, needed_file, numbers, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.dicom.views import SCREENING_VIEWS

FACTS = PublicSet(
    source=Source(
        "RSNA-2022",
        "Kaggle competition rules",
        ("agreement", "non-commercial", "no-redistribution"),
        "RSNA Screening Mammography Breast Cancer Detection, Kaggle 2022, "
        "https://www.kaggle.com/competitions/rsna-breast-cancer-detection",
    ),
    tables="train.csv; train_images/PATIENT/IMAGE.dcm",
    boxes="none",
    spacing="mostly stripped from the files",
    seen="no",
    takes_spacing=True,
)
COLUMNS = ("site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer", "biopsy", "invasive", "density")
YES_NO = {"0": 0.0, "1": 1.0}
DENSITY = {letter: letter for letter in "ABCD"}
OTHER_VIEWS = ("ML", "LM", "AT", "LMO")


def read_rsna(source: Path) -> CohortTables:
    """Read `train.csv`. A row is a breast; the label, `cancer`, is that breast's own.

    Raises:
        InputError: not the set's table, or a code that the set does not have.
    """
    path = needed_file(source, "train.csv")
    table = read_published(path, COLUMNS)
    view = coded(table, "view", {name: name for name in (*SCREENING_VIEWS, *OTHER_VIEWS)}, path)
    rows = pd.DataFrame(
        {
            "patient_id": identifiers(table, "patient_id", path),
            "image_id": identifiers(table, "image_id", path),
            "path": "train_images/" + table["patient_id"] + "/" + table["image_id"] + ".dcm",
            "side": coded(table, "laterality", SIDES, path, needed=True),
            "view": view,
            "center": "RSNA-site-" + table["site_id"],
            "age": numbers(table, "age", path),
            "density": coded(table, "density", DENSITY, path),
            **{name: coded(table, name, YES_NO, path).astype(float) for name in ("cancer", "biopsy", "invasive")},
        }
    )
    screening = rows["view"].isin(SCREENING_VIEWS)
    reduced = {
        "center": "first", "cancer": "max", "biopsy": "max", "invasive": "max", "age": "first", "density": "max",
    }  # fmt: skip
    return CohortTables(
        label="cancer",
        meaning="1 = cancer confirmed in this breast, 0 = none",
        patients=of_breasts(rows, reduced),
        images=first_of_each_image(rows[screening]),
        clinical=FEATURES,
        outcomes={"biopsy": "post_surgery", "invasive": "post_surgery"},
        skipped={f"images of view {name}": int(count) for name, count in view[~screening].value_counts().items()},
    )
