"""NL-Breast-Screening (NLBS): biopsy-confirmed screening exams of Newfoundland and Labrador."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import FEATURES, CohortTables, PublicSet, first_of_each_image, of_breasts
from mammo_aln.cohort.datasets.published import SIDES, VIEWS, coded, needed_file, numbers, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import BadCell, raise_bad_cells

TABLE = "NLBSP-metadata.csv"
FACTS = PublicSet(
    source=Source(
        "NL-Breast-Screening",
        "CC BY 4.0",
        ("attribution",),
        "Kendall et al. 2025, Scientific Data 12:1479; FRDR doi:10.20383/103.01349",
    ),
    tables=f"{TABLE}; images/GROUP/PATIENT/left|right/CC|MLO/FILE.dcm",
    boxes="none",
    spacing="in the files",
    seen="no",
)
COLUMNS = ("File Path", "Image Laterality", "View Position", "Age", "Cancer", "False Positive")
YES_NO = {"0": 0.0, "1": 1.0}
FOLDERS = 5


def read_nlbs(source: Path) -> CohortTables:
    """Read `NLBSP-metadata.csv`, whose paths have backslashes and begin in the folder `images`.

    A row is a breast; the label, `cancer`, is the table's. The patient is the second folder of a path. The first
    version of the release has errors in its folders' names: an image whose folders and columns disagree is left out.
    The set numbers no exams: an image without cancer of a breast with cancer is of another exam, and not eligible.

    Raises:
        InputError: not the set's table, or a code or path that the set does not have.
    """
    path = needed_file(source, TABLE, "NLBS*metadata*.csv")
    table = read_published(path, COLUMNS)
    folders = (
        table["File Path"].fillna("").str.replace("\\", "/").str.strip("/").str.removeprefix("images/").str.split("/")
    )
    strange = folders.map(len) != FOLDERS
    expected = "GROUP\\PATIENT\\left|right\\CC|MLO\\FILE.dcm"
    raise_bad_cells(
        [
            BadCell(path.name, int(row), "File Path", table.at[row, "File Path"], expected)
            for row in table.index[strange][:50]
        ]
    )
    names = pd.DataFrame(folders.tolist(), table.index, columns=["group", "patient_id", "side", "view", "file"])
    below = "images/" if (source / "images").is_dir() else ""
    rows = pd.DataFrame(
        {
            "patient_id": names["patient_id"],
            # file names repeat among a woman's folders
            "image_id": folders.str[1:].str.join("_").str.replace(r"\.dcm$", "", case=False, regex=True),
            "path": below + folders.str.join("/"),
            "side": coded(table, "Image Laterality", SIDES, path, needed=True),
            "view": coded(table, "View Position", VIEWS, path, needed=True),
            "age": numbers(table, "Age", path),
            "cancer": coded(table, "Cancer", YES_NO, path).astype(float),
            "false_positive": coded(table, "False Positive", YES_NO, path).astype(float),
        }
    )
    agree = (names["side"].str.upper().map(SIDES) == rows["side"]) & (names["view"].str.upper() == rows["view"])
    rows = rows[agree]
    copies = rows["image_id"].duplicated()
    other = rows["cancer"] < rows.groupby(["patient_id", "side"])["cancer"].transform("max")
    skipped = {
        "images whose folders name another side or view than the table": int((~agree).sum()),
        "rows of an image that stands above": int(copies.sum()),
        "images of another exam of a breast with cancer (eligible = 0)": int((other & ~copies).sum()),
    }
    rows = rows.assign(
        eligible=(~other).astype(int),
        exclusion_reason=other.map({True: "another exam has the breast's cancer", False: ""}),
    )
    return CohortTables(
        label="cancer",
        meaning="1 = cancer, confirmed by biopsy, as the table says of this breast's images",
        patients=of_breasts(rows, {"cancer": "max", "false_positive": "max", "age": "first"}).assign(center="NLBS"),
        images=first_of_each_image(rows, ("eligible", "exclusion_reason")),
        clinical={"age": FEATURES["age"]},
        outcomes={"false_positive": "post_surgery"},
        skipped={reason: count for reason, count in skipped.items() if count},
    )
