"""CBIS-DDSM: scanned films with masks (TCIA). No outcome after NAT and no pixel spacing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.cbis_masks import boxes_of_masks
from mammo_aln.cohort.datasets.folder import CohortTables, PublicSet, first_of_each_image, of_breasts
from mammo_aln.cohort.datasets.published import SIDES, VIEWS, coded, identifiers, needed_file, read_published
from mammo_aln.cohort.lineage import Source

FACTS = PublicSet(
    source=Source(
        "CBIS-DDSM",
        "CC BY 3.0",
        ("attribution",),
        "Lee et al. 2017, Scientific Data 4:170177, doi:10.1038/sdata.2017.177; TCIA doi:10.7937/K9/TCIA.2016.7O02S9CY",
    ),
    tables="{calc,mass}_case_description_{train,test}_set.csv; the DICOM files of images and ROI masks below it",
    boxes="from the ROI masks, where their files are there",
    spacing="none: scanned film",
    seen="all four tables; two images",
    takes_spacing=True,
)
MASK_PATHS = ("ROI mask file path", "cropped image file path")
COLUMNS = (
    "patient_id", "left or right breast", "image view", "abnormality id", "pathology", "image file path", *MASK_PATHS,
)  # fmt: skip
DENSITY_NAMES = ("breast_density", "breast density")
MALIGNANT = {"MALIGNANT": 1, "BENIGN": 0, "BENIGN_WITHOUT_CALLBACK": 0}
DENSITY: dict[str, object] = {"0": None, **{level: level for level in "1234"}}
SIDE_WORDS = {"LEFT": "L", "RIGHT": "R", **SIDES}
SPLIT_OF = {"train": "train", "test": "internal_test"}


def read_cbis_ddsm(source: Path) -> CohortTables:
    """Read the four case description tables, and the boxes of the masks whose files lie below the folder.

    A row is a breast; the label, `malignant`, is 1 where any of its abnormalities is. The calcification and mass tables
    were split apart from each other, so that 31 patients stand in the training set of one and the test set of another.
    Rule: the whole patient goes to `internal_test`, so that no test patient is trained on.

    Raises:
        InputError: a table is missing or not the set's, or holds a code that the set does not have.
    """
    parts = []
    for split in ("train", "test"):
        for kind in ("calc", "mass"):
            path = needed_file(source, f"{kind}_case_description_{split}_set.csv", f"*{kind}*{split}*.csv")
            parts.append(_rows(path).assign(official=split))
    rows = pd.concat(parts, ignore_index=True)
    sets = rows.groupby("patient_id")["official"].agg(set)
    in_both = sorted(sets.index[sets.map(len) > 1])
    tested = set(rows.loc[rows["official"] == "test", "patient_id"])
    rows["split"] = ["internal_test" if name in tested else "train" for name in rows["patient_id"]]
    reduced = {"malignant": "max", "density": "max", "split": "first"}
    images = first_of_each_image(rows)
    skipped: Counter[str] = Counter()
    masks = boxes_of_masks(source, rows, skipped)
    images["path"] = [
        masks.films.get(image, path) for image, path in zip(images["image_id"], images["path"], strict=True)
    ]
    shown = ", ".join(in_both[:5]) + (", ..." if len(in_both) > 5 else "")
    shared = (
        (f"{len(in_both)} patients stand in both official sets ({shown}): all their images go to internal_test",)
        if in_both
        else ()
    )
    twice = int(images.duplicated(["patient_id", "laterality", "view"]).sum())
    films = (f"{twice} views stand in both kinds of tables as two films: crops take one, with a box before without",)
    return CohortTables(
        label="malignant",
        meaning="1 = any malignant abnormality in the breast, 0 = benign, with or without callback",
        patients=of_breasts(rows, reduced).assign(center="CBIS-DDSM"),
        images=images,
        regions=masks.regions,
        clinical={"density": {"kind": "ordinal", "levels": ["1", "2", "3", "4"]}},
        skipped=+skipped,
        notes=(*shared, *(films if twice else ()), *masks.notes),
    )


def _rows(path: Path) -> pd.DataFrame:
    """Abnormalities of one table; the calcification tables spell the density's name with a blank."""
    table = read_published(path, COLUMNS, further=DENSITY_NAMES)
    density = next((name for name in DENSITY_NAMES if name in table), None)
    rows = pd.DataFrame(
        {
            "patient_id": identifiers(table, "patient_id", path),
            # the first folder of a path names patient, side and view
            "image_id": table["image file path"].str.split("/").str[0],
            "path": identifiers(table, "image file path", path),
            "side": coded(table, "left or right breast", SIDE_WORDS, path, needed=True),
            "view": coded(table, "image view", VIEWS, path, needed=True),
            "malignant": coded(table, "pathology", MALIGNANT, path).astype(float).astype("Int64"),
            "density": None if density is None else coded(table, density, DENSITY, path),
            "row": [f"{path.name} row {row}" for row in table.index],
        },
        index=table.index,
    )
    return rows.assign(mask=table[MASK_PATHS[0]], cropped=table[MASK_PATHS[1]])
