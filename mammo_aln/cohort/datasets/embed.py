"""EMBED Open Data: screening and diagnostic mammograms with findings (Emory, AWS). Weights must not be published."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import (
    FEATURES,
    REGION_COLUMNS,
    CohortTables,
    PublicSet,
    first_of_each_image,
    fitting_boxes,
    of_breasts,
    one_exam,
)
from mammo_aln.cohort.datasets.published import SIDES, coded, identifiers, needed_file, numbers, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.dicom.views import SCREENING_VIEWS
from mammo_aln.errors import BadCell, InputError, raise_bad_cells

FACTS = PublicSet(
    source=Source(
        "EMBED",
        "EMBED research use agreement",
        ("agreement", "non-commercial", "no-redistribution", "no-published-weights"),
        "Jeong et al. 2023, Radiology: Artificial Intelligence 5:e220047, doi:10.1148/ryai.220047; "
        "https://github.com/Emory-HITI/EMBED_Open_Data",
    ),
    tables="tables/EMBED_OpenData_{clinical,metadata}{,_reduced}.csv; images/cohort_1|2/...",
    boxes="ROI_coords (DCM_ROI_coords where it stands), there [ymin, xmin, ymax, xmax], pixels of the DICOM matrix",
    spacing="in the files",
    seen="no",
)
METADATA = (
    "empi_anon", "acc_anon", "anon_dicom_path", "FinalImageType", "ImageLateralityFinal", "ViewPosition", "spot_mag",
)  # fmt: skip
MATCHES = ("match_level", "ROI_match_level")
ROIS = (
    "DCM_ROI_coords", "PNG_ROI_coords", "ROI_coords", "num_roi", "Rows", "Columns", "study_date_anon", *MATCHES,
)  # fmt: skip
CLINICAL = ("empi_anon", "acc_anon", "side", "path_severity", "tissueden", "age_at_study")
SEVERITY = {"0": 1.0, "1": 1.0, "2": 0.0, "3": 0.0, "4": 0.0, "5": 0.0, "6": None}
"""Invasive and in situ cancer; high-risk and borderline lesions, benign, negative; 6, another cancer, stays unknown."""
DENSITY = {"1": "A", "2": "B", "3": "C", "4": "D", "5": None}
FINDING_SIDES = {**SIDES, "B": "B"}
OTHER_EXAM = "another exam of the woman is used"
LEFT_OUT = {"3D": "tomosynthesis (FinalImageType 3D)", "cview": "synthetic images (FinalImageType cview)"}


def read_embed(source: Path) -> CohortTables:
    """Read the metadata and the clinical table, reduced or full.

    A row is a breast. The label, `malignant`, comes of its findings' `path_severity`. A finding counts for the images
    of its exam (`acc_anon`) **and** its side; `B` and an empty side for both, but a biopsy of one side (`bside`) says
    nothing of the other breast. 2D images in CC and MLO are taken, of one exam of each woman: that of the most severe
    finding, else the first one; its findings alone are the label.
    The full table's surgical columns (`tnmpn`, `node_pos` ...) are not read: how they are filled is not known.

    Raises:
        InputError: not the set's tables, a code that the set does not have, or boxes that are none.
    """
    path = needed_file(source, "EMBED_OpenData_metadata.csv", "EMBED_OpenData_metadata*.csv")
    findings_path = needed_file(source, "EMBED_OpenData_clinical.csv", "EMBED_OpenData_clinical*.csv")
    table = read_published(path, METADATA, further=ROIS)
    kind = table["FinalImageType"].fillna("not stated")
    rows = pd.DataFrame(
        {
            "patient_id": identifiers(table, "empi_anon", path),
            "exam": identifiers(table, "acc_anon", path),
            "path": _paths(table, path),
            "side": coded(table, "ImageLateralityFinal", FINDING_SIDES, path),
            "view": table["ViewPosition"].str.upper(),
        }
    )
    dates = _exams(table)
    dated = bool(dates)
    rows = rows.assign(**dates)
    rows["image_id"] = rows["path"].str.rsplit("/", n=1).str[-1].str.removesuffix(".dcm")
    skipped: Counter[str] = Counter()
    taken = pd.Series(True, rows.index)
    for left_out, reason in (
        *(
            (kind == name, LEFT_OUT.get(name, f"images of another kind (FinalImageType {name})"))
            for name in sorted(set(kind) - {"2D"})
        ),
        (table["spot_mag"].notna() & ~table["spot_mag"].isin(["0", "0.0"]), "spot or magnification views (spot_mag)"),
        (~rows["view"].isin(SCREENING_VIEWS), "images that are neither CC nor MLO"),
        (~rows["side"].isin(["L", "R"]), "images without one side"),
        (rows["image_id"].duplicated(), "rows of an image that stands above"),
    ):
        skipped[reason] += int((taken & left_out).sum())
        taken &= ~left_out
    regions, unfit = _regions(table[taken], rows.loc[taken, "image_id"], path)
    findings = _findings(findings_path, skipped)
    exams = rows.loc[taken, ["patient_id", "exam", "side"]].drop_duplicates()
    known = exams.merge(findings, on=["patient_id", "exam", "side"], how="left")
    known["exam_order"] = known["exam"].map(dict(zip(rows["exam"], rows["days"], strict=True))) if dated else 0
    known = known[one_exam(known, "malignant")]
    used = set(known["exam"])
    images = first_of_each_image(rows[taken], ["exam", *(("study", "days") if dated else ())])
    images["eligible"] = images["exam"].isin(used).astype(int)
    images["exclusion_reason"] = ["" if exam in used else OTHER_EXAM for exam in images["exam"]]
    return CohortTables(
        label="malignant",
        meaning="1 = invasive or in-situ cancer among the breast's pathology (path_severity 0, 1), 0 = 2 to 5 alone",
        patients=of_breasts(known, {"malignant": "max", "density": "max", "age": "min"}).assign(center="Emory"),
        images=images.drop(columns="exam"),
        regions=regions,
        clinical=FEATURES,
        skipped=+(skipped + unfit),
        notes=(
            "one exam of each woman is used: that of the most severe finding, else the first; the other "
            f"{int((images['eligible'] == 0).sum())} images have eligible = 0",
            "a breast without pathology at that exam has no label",
            *_frame_note(table),
            *_match_note(table[taken]),
            *(() if dated else ("no dates of the form 2013-03-01: exams are not numbered",)),
        ),
    )


def _exams(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Number of each image's exam and days since the woman's first one, where the table has (shifted) dates."""
    if "study_date_anon" not in table:
        return {}
    dates = pd.to_datetime(table["study_date_anon"].str.slice(0, 10), format="%Y-%m-%d", errors="coerce")
    if dates.isna().any():
        return {}
    by_woman = dates.groupby(table["empi_anon"])
    number = by_woman.rank(method="dense").astype(int)
    return {"study": "s" + number.astype(str), "days": (dates - by_woman.transform("min")).dt.days}


def _frame_note(table: pd.DataFrame) -> tuple[str, ...]:
    if "DCM_ROI_coords" in table:
        return ()
    return ("boxes come from ROI_coords, read as pixels of the DICOM matrix (PNG copies are flipped): look at --proof",)


def _match_note(table: pd.DataFrame) -> tuple[str, ...]:
    column = next((name for name in MATCHES if name in table), None)
    second = int(table[column].dropna().str.count(r"\b2\b").sum()) if column else 0
    return (f"{second} boxes were drawn on the other image of their view ({column} 2): less exact",) if second else ()


def _paths(table: pd.DataFrame, path: Path) -> pd.Series:
    """Path below the folder of the release: `images/` and what follows from `cohort_1` or `cohort_2` on."""
    below = (
        table["anon_dicom_path"].fillna("").str.replace("\\", "/").str.extract(r"(cohort_[12]/.+\.dcm)$", expand=False)
    )
    raise_bad_cells(
        [
            BadCell(path.name, int(row), "anon_dicom_path", table.at[row, "anon_dicom_path"], ".../cohort_1|2/....dcm")
            for row in table.index[below.isna()][:50]
        ]
    )
    return "images/" + below


def _findings(path: Path, skipped: Counter[str]) -> pd.DataFrame:
    """Findings with a row per side that they count for; the other breast's biopsy is no label."""
    table = read_published(path, CLINICAL, further=("bside",))
    severity = coded(table, "path_severity", SEVERITY, path)
    findings = pd.DataFrame(
        {
            "patient_id": identifiers(table, "empi_anon", path),
            "exam": identifiers(table, "acc_anon", path),
            "side": coded(table, "side", FINDING_SIDES, path).fillna("B"),
            "malignant": severity.astype(float),
            "biopsied": coded(table, "bside", FINDING_SIDES, path).fillna("B") if "bside" in table else "B",
            "density": coded(table, "tissueden", DENSITY, path),
            "age": numbers(table, "age_at_study", path),
        }
    )
    both = findings["side"] == "B"
    crossed = ~both & (findings["biopsied"] != "B") & (findings["biopsied"] != findings["side"])
    skipped["labels of findings whose biopsy (bside) is of the other side"] += int((crossed & severity.notna()).sum())
    sided = pd.concat([findings[~both], *(findings[both].assign(side=side) for side in ("L", "R"))], ignore_index=True)
    other = (sided["biopsied"] != "B") & (sided["biopsied"] != sided["side"])
    return sided.assign(malignant=sided["malignant"].mask(other)).drop(columns="biopsied").drop_duplicates()


def _regions(table: pd.DataFrame, image_ids: pd.Series, path: Path) -> tuple[pd.DataFrame, Counter[str]]:
    column = next((name for name in ("DCM_ROI_coords", "ROI_coords") if name in table), None)
    if column is None:
        if "PNG_ROI_coords" in table:
            raise InputError(
                f"{path}: boxes stand in PNG_ROI_coords alone, of flipped copies; expected DCM_ROI_coords or ROI_coords"
            )
        raise InputError(f"{path}: no column of boxes; expected DCM_ROI_coords or ROI_coords")
    boxes, faults = [], []
    counts = numbers(table, "num_roi", path) if "num_roi" in table else pd.Series(float("nan"), table.index)
    stated = table[column].dropna()
    for row, cell in zip(map(int, stated.index), stated, strict=True):
        corners = _corners(cell)
        if corners is None:
            faults.append(BadCell(path.name, row, column, cell, "a list of [ymin, xmin, ymax, xmax]"))
        elif counts[row] != len(corners) and pd.notna(counts[row]):
            faults.append(
                BadCell(path.name, int(str(row)), "num_roi", counts[row], f"{len(corners)}, as {column} has boxes")
            )
        else:
            image = image_ids[row]
            boxes += [(image, "primary", x0, y0, x1, y1) for y0, x0, y1, x1 in corners]
    raise_bad_cells(faults[:50])
    sizes = {}
    if {"Rows", "Columns"} <= set(table.columns):
        height, width = (numbers(table, name, path) for name in ("Rows", "Columns"))
        known = height.notna() & width.notna()
        sizes = {image_ids[row]: (height[row], width[row]) for row in table.index[known]}
    return fitting_boxes(pd.DataFrame(boxes, columns=REGION_COLUMNS), sizes)


def _corners(cell: object) -> list[tuple[float, float, float, float]] | None:
    """Boxes of a cell: lists or tuples in a list or tuple, as Python prints them; None where it is none."""
    try:
        boxes = [tuple(map(float, box)) for box in ast.literal_eval(str(cell))]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return [(a, b, c, d) for a, b, c, d in boxes] if all(len(box) == 4 for box in boxes) else None
