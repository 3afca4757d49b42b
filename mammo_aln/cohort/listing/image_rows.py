"""Rows of `images.csv` from surveyed files: whose they are, what they are called, and which exam they belong to."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.listing.exams import DatedImage, number_exams
from mammo_aln.cohort.listing.identity import NO_PATIENT, Mark, is_placeholder, mark_of
from mammo_aln.cohort.listing.survey import SurveyedImage
from mammo_aln.cohort.schemas import numbers
from mammo_aln.dicom.archive import folders_of

COLUMNS = (
    "image_id", "patient_id", "path", "laterality", "view", "study", "days", "timepoint", "eligible",
    "exclusion_reason", "kind", "spacing_mm", "manufacturer", "model", "rows", "columns", "imager_pixel_spacing_mm",
    "pixel_spacing_mm", "magnification", "breast_spacing_mm", "spacing_source", "photometric", "transfer_syntax",
    "bits_stored", "presentation_intent", "flags",
)  # fmt: skip
DELETED = "its row was deleted from images.csv"
Surveyed = tuple[str, SurveyedImage]


def marks(mammograms: list[Surveyed]) -> list[Mark | None]:
    """Name what tells each file's patient: its first folder, or its header where it lies in none or in a mixed one."""
    mixed = mixed_folders(mammograms)
    folders = [_folder(relative) for relative, _ in mammograms]
    return [
        mark_of("" if folder in mixed else folder, mammogram.identity)
        for folder, (_, mammogram) in zip(folders, mammograms, strict=True)
    ]


def mixed_folders(mammograms: list[Surveyed]) -> set[str]:
    """First folders that hold several patients by their headers, as with a folder level too many."""
    people = {(_folder(relative), *mammogram.identity[:2]) for relative, mammogram in mammograms}
    counts = Counter(folder for folder, _, patient in people if folder and not is_placeholder(patient))
    return {folder for folder, patients in counts.items() if patients > 1}


def _folder(relative: str) -> str:
    """First folder below the indexed one; empty for a file that lies in it."""
    folder, below, _ = folders_of(relative).partition(os.sep)
    return folder if below else ""


def path_prefix(dicom_dir: Path, base: Path) -> str:
    """Text before a file's path in `images.csv`, whose paths begin at `base`."""
    absolute, base = dicom_dir.absolute(), base.absolute()
    start = str(absolute.relative_to(base)) if absolute.is_relative_to(base) else str(absolute)
    return "" if start == "." else f"{start}{os.sep}"


def new_rows(
    before: str,
    mammograms: list[Surveyed],
    kept: pd.DataFrame | None,
    deleted: Collection[str],
    excluded: list[tuple[str, str]],
) -> pd.DataFrame:
    """Rows of the files that `kept` does not have yet, neither by path nor, as copied or moved files, by instance.

    Args:
        before: of `path_prefix`.
        mammograms: relative paths with what their headers say.
        kept: rows that stand.
        deleted: `image_id`s whose rows the user took out.
        excluded: gets the files that get no row, with the reason.
    """
    patient_of = {} if kept is None else dict(zip(kept["path"], kept["patient_id"], strict=True))
    listed = {} if kept is None else dict(zip(kept["image_id"], kept["path"], strict=True))
    marked = [
        (relative, before + relative, mammogram, of)
        for (relative, mammogram), of in zip(mammograms, marks(mammograms), strict=True)
    ]
    name_of = {of: patient_of[path] for _, path, _, of in marked if of and path in patient_of}
    # A folder's name is its patient's, so that no number may be one.
    taken = {*patient_of.values(), *(of.value for _, _, _, of in marked if of and of.kind == "folder")}
    rows = []
    for relative, path, mammogram, of in marked:
        if of is None:
            if path not in patient_of:
                excluded.append((relative, NO_PATIENT))
            continue
        image_id = f"i{hashlib.sha256((mammogram.sop_instance or relative).encode()).hexdigest()[:16]}"
        if path not in patient_of and image_id not in listed and image_id in deleted:
            excluded.append((relative, DELETED))
            continue
        if of not in name_of:
            name_of[of] = of.value if of.kind == "folder" else _next_number(taken)
            taken.add(name_of[of])
        if path in patient_of:
            continue
        if image_id in listed:
            reason = f"the same SOPInstanceUID as {listed[image_id]}, which images.csv lists as {image_id}"
            excluded.append((relative, reason))
            continue
        row = {"image_id": image_id, "patient_id": name_of[of], "path": path, "flags": "; ".join(mammogram.flags)}
        rows.append(mammogram.cells | row)
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).replace("", np.nan)


def _next_number(taken: set[str]) -> str:
    number = 1
    while f"p{number:04d}" in taken:
        number += 1
    return f"p{number:04d}"


def with_exams(images: pd.DataFrame, by_path: Mapping[str, SurveyedImage], anchored: Collection[str]) -> pd.DataFrame:
    """The rows with `study` and `days` of today's headers, and `kind` where it was empty.

    Args:
        images: all rows, those that stood and new ones; columns of an older table may lack.
        by_path: headers of the files that were read, by `path`.
        anchored: patients whose `nat_start_day` counts on the days that stand.
    """
    images = images.reindex(columns=[*images.columns, *(name for name in COLUMNS if name not in images)])
    images = images.astype(dict.fromkeys(("study", "days", "kind"), object)).reset_index(drop=True)
    paths, study, stated = list(images["path"]), list(images["study"].fillna("")), list(numbers(images["days"]))
    days: list[str | float] = [np.nan] * len(images)
    for patient, rows in images.groupby("patient_id").indices.items():
        dated = [_dated(by_path.get(paths[row]), study[row], stated[row]) for row in rows]
        numbered = number_exams(dated, anchored=patient in anchored)
        for row, (name, day) in zip(rows, numbered, strict=True):
            study[row], days[row] = name, np.nan if day is None else str(day)
    kinds = [
        by_path[path].cells["kind"] if pd.isna(kind) and path in by_path else kind
        for path, kind in zip(images["path"], images["kind"], strict=True)
    ]
    return images.assign(study=pd.Series(study, dtype=object).replace("", np.nan), days=days, kind=kinds)


def _dated(header: SurveyedImage | None, study: str, days: float) -> DatedImage:
    return DatedImage(
        None if header is None else header.day,
        "" if header is None else header.identity.study,
        study,
        None if np.isnan(days) else int(days),
    )
