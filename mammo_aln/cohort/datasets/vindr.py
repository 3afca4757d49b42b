"""VinDr-Mammo: full-field digital mammograms with findings' boxes. No pathology, no outcome after NAT."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import (
    FEATURES,
    CohortTables,
    PublicSet,
    first_of_each_image,
    fitting_boxes,
    of_breasts,
)
from mammo_aln.cohort.datasets.published import SIDES, VIEWS, coded, identifiers, needed_file, numbers, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import BadCell, raise_bad_cells

TABLE = "finding_annotations.csv"
FACTS = PublicSet(
    source=Source(
        "VinDr-Mammo",
        "PhysioNet restricted access, by its data use agreement",
        ("agreement", "no-redistribution"),
        "Nguyen et al. 2023, Scientific Data 10:277, doi:10.1038/s41597-023-02100-7; PhysioNet doi:10.13026/br2v-7517",
    ),
    tables=f"{TABLE}; images/STUDY/IMAGE.dicom",
    boxes="findings' boxes, pixels of the DICOM matrix",
    spacing="in the files",
    seen="no",
)
BOX = ("x_min", "y_min", "x_max", "y_max")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = (
    "study_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads", "breast_density",
    "finding_categories", *CORNERS, "split",
)  # fmt: skip
LESIONS = (
    "Mass",
    "Suspicious Calcification",
    "Architectural Distortion",
    "Asymmetry",
    "Focal Asymmetry",
    "Global Asymmetry",
)
OTHER_FINDINGS = ("Skin Thickening", "Skin Retraction", "Nipple Retraction")
NODE, NO_FINDING = "Suspicious Lymph Node", "No Finding"
REGION_OF = {
    **dict.fromkeys(LESIONS, "primary"),
    NODE: "axilla",
    **{finding: finding.lower().replace(" ", "_") for finding in OTHER_FINDINGS},
}
SPLIT_OF = {"training": "train", "test": "internal_test"}
SUSPICIOUS = {f"BI-RADS {grade}": float(grade >= 4) for grade in range(1, 6)}
DENSITY = {f"DENSITY {letter}": letter for letter in "ABCD"}


def read_vindr(source: Path) -> CohortTables:
    """Read `finding_annotations.csv`.

    A patient is a study, as the set keeps no patient; a row is a breast. The label, `suspicious`, is 1 where the breast
    has BI-RADS 4 or 5. A box with a lesion is `primary`, with nothing but a suspicious lymph node `axilla`, else it has
    its finding's name.

    Raises:
        InputError: not the set's table, or a code that the set does not have.
    """
    path = needed_file(source, TABLE, "*finding_annotations*.csv")
    table = read_published(path, COLUMNS)
    rows = pd.DataFrame(
        {
            "patient_id": identifiers(table, "study_id", path),
            "image_id": identifiers(table, "image_id", path),
            "path": "images/" + table["study_id"] + "/" + table["image_id"] + ".dicom",
            "side": coded(table, "laterality", SIDES, path, needed=True),
            "view": coded(table, "view_position", VIEWS, path, needed=True),
            "suspicious": coded(table, "breast_birads", SUSPICIOUS, path).astype(float),
            "density": coded(table, "breast_density", DENSITY, path),
            "split": coded(table, "split", SPLIT_OF, path, needed=True),
            "region": _regions(table, path),
            **dict(zip(BOX, (numbers(table, name, path) for name in CORNERS), strict=True)),
        }
    )
    unboxed = rows["x_min"].isna()
    height, width = (numbers(table, name, path) for name in ("height", "width"))
    sizes = dict(zip(table["image_id"], zip(height, width, strict=True), strict=True))
    named = rows["region"].notna()
    regions, skipped = fitting_boxes(rows.loc[named & ~unboxed, ["image_id", "region", *BOX]], sizes)
    skipped["findings without a box"] = int((named & unboxed).sum())
    return CohortTables(
        label="suspicious",
        meaning="1 = the breast has BI-RADS 4 or 5, 0 = 1 to 3; no pathology",
        patients=of_breasts(rows, {"suspicious": "max", "density": "max", "split": "first"}).assign(center="VinDr"),
        images=first_of_each_image(rows),
        regions=regions,
        clinical={"density": FEATURES["density"]},
        skipped=+skipped,
        notes=("a patient is a study: the set does not say which studies are of one woman",),
    )


def _regions(table: pd.DataFrame, path: Path) -> pd.Series:
    """Region of each row, None for `No Finding`."""
    regions: list[str | None] = []
    faults = []
    for row, cell in table["finding_categories"].items():
        findings = _findings(cell)
        strange = [finding for finding in findings if finding not in REGION_OF and finding != NO_FINDING]
        if strange or not findings:
            expected = f"a list of findings: {', '.join([*REGION_OF, NO_FINDING])}"
            faults.append(BadCell(path.name, int(str(row)), "finding_categories", cell, expected))
        named = {REGION_OF[finding] for finding in findings if finding in REGION_OF}
        others = sorted(named - {"axilla"})
        regions.append("primary" if "primary" in named else others[0] if others else "axilla" if named else None)
    raise_bad_cells(faults[:50])
    return pd.Series(regions, table.index, dtype=object)


def _findings(cell: object) -> list[str]:
    try:
        value = ast.literal_eval(str(cell))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [str(item) for item in value] if isinstance(value, list) else []
