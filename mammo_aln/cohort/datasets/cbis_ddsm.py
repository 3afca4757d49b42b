"""CBIS-DDSM: scanned films with masks (TCIA). No outcome after NAT and no reliable pixel spacing."""

from __future__ import annotations

import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, need_columns

COLUMNS = ("patient_id", "left or right breast", "image view", "pathology", "image file path")
SIDE_OF = {"LEFT": "L", "RIGHT": "R"}


def cbis_ddsm_tables(train: list[pd.DataFrame], test: list[pd.DataFrame]) -> CohortTables:
    """Cohort tables of the `*_case_description_{train,test}_set.csv` files, read with `dtype=str`.

    A row is a breast (`side`); the label, `malignant`, is 1 where any of its abnormalities is: a task for pre-training.
    The calcification and mass tables were split apart from each other, so 31 patients stand in the training set of one
    and the test set of the other: here the whole patient goes to `internal_test`. Boxes lie in masks, which the tables
    do not hold, so there are no regions; spacing has to be stated in `images.csv`.

    Raises:
        InputError: a column is missing.
    """
    official = [table.assign(official=name) for name, tables in (("train", train), ("test", test)) for table in tables]
    for table in official:
        need_columns(table, COLUMNS, "case description table")
    # the calcification tables spell it with a blank
    named = [table.rename(columns={"breast density": "breast_density"}) for table in official]
    rows = pd.concat(named, ignore_index=True)
    path = rows["image file path"].str.strip()  # some end with a line break
    in_test = set(rows.loc[rows["official"] == "test", "patient_id"])
    rows = rows.assign(
        path=path,
        image_id=path.str.split("/").str[0],
        side=rows["left or right breast"].map(SIDE_OF),
        view=rows["image view"],
        malignant=(rows["pathology"] == "MALIGNANT").astype(int),
        density=rows["breast_density"].where(rows["breast_density"].isin(["1", "2", "3", "4"])),
        split=rows["patient_id"].map(lambda patient: "internal_test" if patient in in_test else "train"),
        center="CBIS-DDSM",
    )
    patients = rows.groupby(["patient_id", "side"], as_index=False).agg(
        {"center": "first", "malignant": "max", "density": "max", "split": "first"}
    )
    images = rows.rename(columns={"side": "laterality"}).drop_duplicates("image_id")
    declaration: dict[str, object] = {
        "name": "CBIS-DDSM",
        "label": {"column": "malignant", "meaning": "1 = any malignant abnormality in the breast"},
        "clinical": {"density": {"kind": "ordinal", "levels": ["1", "2", "3", "4"]}},
    }
    return CohortTables(declaration, patients, images[["image_id", "patient_id", "path", "laterality", "view"]])
