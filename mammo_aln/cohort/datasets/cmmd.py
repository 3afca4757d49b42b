"""CMMD: Chinese mammograms with biopsy-proven labels per breast (TCIA). No boxes, no outcome after NAT."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import IMAGE_COLUMNS, CohortTables, PublicSet
from mammo_aln.cohort.datasets.published import SIDES, coded, identifiers, needed_file, numbers, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.dicom.fast_header import Excluded, read_headers
from mammo_aln.dicom.mammogram import judge
from mammo_aln.errors import BadCell, raise_bad_cells
from mammo_aln.progress import track

TABLE = "CMMD_clinicaldata_revision.xlsx"
FACTS = PublicSet(
    source=Source(
        "CMMD",
        "CC BY 4.0",
        ("attribution",),
        "Cui et al. 2021, The Chinese Mammography Database, TCIA, doi:10.7937/tcia.eqde-4b16",
    ),
    tables=f"{TABLE} (or the same columns as .csv); the DICOM files below it",
    boxes="none",
    spacing="in the files",
    seen="the clinical table, all 1,775 patients; tags of all 5,202 images",
)
COLUMNS = ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype")
MALIGNANT = {"Benign": 0.0, "Malignant": 1.0}
ABNORMALITY = {name: name for name in ("calcification", "mass", "both")}
SUBTYPES = {name: name for name in ("Luminal A", "Luminal B", "HER2-enriched", "triple negative")}
NO_LABEL = "this breast is not in the clinical table: its label is unknown"


def read_cmmd(source: Path) -> CohortTables:
    """Read the clinical table, and the headers of the DICOM files below the folder.

    A row is a breast of the table (`LeftRight`); the label, `malignant`, is that breast's alone. The other breast of
    the same woman, where there are images of it, has no label and is not eligible.

    Raises:
        InputError: not the set's table, or a code that the set does not have.
    """
    path = needed_file(source, TABLE, "CMMD*clinical*.xlsx", "cmmd_raw_label.csv", "CMMD*clinical*.csv")
    table = read_published(path, COLUMNS)
    patients = pd.DataFrame(
        {
            "patient_id": identifiers(table, "ID1", path),
            "side": coded(table, "LeftRight", SIDES, path, needed=True),
            "center": "CMMD",
            "malignant": coded(table, "classification", MALIGNANT, path).astype(float),
            "age": numbers(table, "Age", path),
            "abnormality": coded(table, "abnormality", ABNORMALITY, path),
            "subtype": coded(table, "subtype", SUBTYPES, path),
        }
    )
    twice = patients.duplicated(["patient_id", "side"])
    raise_bad_cells(
        [
            BadCell(path.name, int(row), "ID1", table.at[row, "ID1"], "each patient and side once")
            for row in table.index[twice][:50]
        ]
    )
    images, skipped = _images(source, set(patients["patient_id"]))
    healthy = images[["patient_id", "laterality"]].drop_duplicates().rename(columns={"laterality": "side"})
    healthy = healthy.merge(patients[["patient_id", "side"]], how="left", indicator=True)
    healthy = healthy[(healthy["_merge"] == "left_only") & healthy["side"].notna()].drop(columns="_merge")
    patients = pd.concat(
        [
            patients.assign(eligible=1, exclusion_reason=""),
            healthy.assign(center="CMMD", eligible=0, exclusion_reason=NO_LABEL),
        ],
        ignore_index=True,
    )
    notes = () if len(images) else ("no DICOM file below the folder: there are no images.csv rows",)
    return CohortTables(
        label="malignant",
        meaning="1 = malignant, 0 = benign, by biopsy, of this breast",
        patients=patients,
        images=images if len(images) else None,
        clinical={"age": {"kind": "continuous", "unit": "years"}},
        outcomes={"abnormality": "post_surgery", "subtype": "post_surgery"},
        skipped=skipped,
        notes=notes,
    )


def _images(source: Path, known: set[str]) -> tuple[pd.DataFrame, Counter[str]]:
    """Images by their headers: PatientID is the set's own public number."""
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() == ".dcm" and path.is_file())
    skipped: Counter[str] = Counter()
    rows = []
    for path, header in zip(
        paths, track(read_headers(paths), total=len(paths), what="headers", unit="file"), strict=True
    ):
        verdict = header if isinstance(header, Excluded) else judge(header)
        if isinstance(header, Excluded) or isinstance(verdict, Excluded):
            skipped[f"files: {verdict.reason}" if isinstance(verdict, Excluded) else "files"] += 1
            continue
        patient = header.text("PatientID")
        if patient not in known:
            skipped["images of a patient who is not in the table"] += 1
            continue
        name = "i" + hashlib.sha256(header.text("SOPInstanceUID").encode()).hexdigest()[:16]
        side, view = verdict.laterality or None, verdict.view or None
        rows.append((name, patient, str(path.relative_to(source)), side, view))
    images = pd.DataFrame(rows, columns=IMAGE_COLUMNS)
    copies = images.duplicated("image_id")
    if copies.any():
        skipped["files with the SOPInstanceUID of another"] = int(copies.sum())
    return images[~copies], skipped
