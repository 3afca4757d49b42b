"""Breasts of a cohort as rows to pre-train on: one per patient and side, dealt into training and validation."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd

from mammo_aln.cohort.selection import used_images
from mammo_aln.cohort.tables import Cohort, image_path
from mammo_aln.dicom.header import read_header
from mammo_aln.errors import InputError, UnreadableDicom
from mammo_aln.settings import CropConfig

LEARNT_FROM = ("train", "val")


def breasts_of(cohort: Cohort, crop: CropConfig, *, seed: int, val_share: float) -> Cohort:
    """The cohort with one row per breast, `split` being `train` or `val`; patients of any test split are left out.

    A row of patients.csv with a side is that breast. One without holds for every breast of the patient that regions.csv
    marks a primary lesion in, or, without any, for every breast that has an image. A breast that no row speaks of
    follows without labels (column `labelled` is False) where the crop needs no box: contrastive learning reads it.

    Args:
        cohort: the tables.
        crop: whether a crop needs a box.
        seed: deals the patients out where the cohort does not.
        val_share: share of patients that validate where no split column says so.

    Raises:
        InputError: nobody is left to train or to validate on.
    """
    patients = cohort.patients[cohort.patients["eligible"]]
    patients = patients.assign(split=_dealt(patients, seed, val_share))
    patients = patients[patients["split"].isin(LEARNT_FROM)]
    sides, marked = _sides(cohort, set(patients["patient_id"]))
    rows = []
    for patient, own in patients.groupby("patient_id", sort=False):
        imaged, with_lesion = sides.get(str(patient), []), marked.get(str(patient), set())
        spoken_of: set[str] = set()
        for row in cast(list[dict[str, Any]], own.to_dict("records")):
            named = [row["side"]] if isinstance(row["side"], str) else sorted(with_lesion) or imaged
            rows += [{**row, "side": side, "labelled": True} for side in named]
            spoken_of |= set(named)
        if crop.strategy == "whole_breast":
            first = {name: own.iloc[0][name] for name in ("patient_id", "center", "split", "eligible")}
            rows += [{**first, "side": side, "labelled": False} for side in imaged if side not in spoken_of]
    table = pd.DataFrame(rows, columns=[*patients.columns, "labelled"])
    for name in LEARNT_FROM:
        if not (table["split"] == name).any():
            raise InputError(f"{cohort.root.name}: no eligible patient with an image to {name} the pre-training on")
    table["unit_id"] = table["patient_id"] + "/" + table["side"]
    return replace(cohort, patients=table.drop_duplicates("unit_id").reset_index(drop=True))


def _dealt(patients: pd.DataFrame, seed: int, val_share: float) -> pd.Series:
    """The split column where there is one; where it has no `val`, or there is none, a seeded share of the patients."""
    split = patients["split"] if "split" in patients else pd.Series("train", patients.index)
    if (split == "val").any():
        return split
    people = sorted(set(patients.loc[split == "train", "patient_id"]))
    people.sort(key=lambda patient: hashlib.sha256(f"pretrain/{seed}/{patient}".encode()).hexdigest())
    validating = set(people[: max(1, round(val_share * len(people)))])
    return split.mask((split == "train") & patients["patient_id"].isin(validating), "val")


def _sides(cohort: Cohort, patients: set[str]) -> tuple[dict[str, list[str]], dict[str, set[str]]]:
    """Per patient: sides with an image, and sides with a primary box; the file's header where the table is silent."""
    images, _ = used_images(cohort)
    images = images[images["patient_id"].isin(patients)]
    lesions = set(cohort.regions.loc[cohort.regions["region"] == "primary", "image_id"])
    imaged: dict[str, set[str]] = {}
    marked: dict[str, set[str]] = {}
    for _, image in images.iterrows():
        side = image["laterality"]
        if not isinstance(side, str):
            try:
                side = read_header(image_path(cohort, image)).laterality
            except UnreadableDicom:
                continue  # the exclusions name it, once its pixels are read
        if side not in ("L", "R"):
            continue
        imaged.setdefault(image["patient_id"], set()).add(side)
        if image["image_id"] in lesions:
            marked.setdefault(image["patient_id"], set()).add(side)
    return {patient: sorted(sides) for patient, sides in imaged.items()}, marked


def label_cells(cohort: Cohort, crops: pd.DataFrame, table: str, column: str) -> pd.Series:
    """A column's cell for each crop: of its breast's row in patients.csv, or of its image's row in images.csv."""
    if table == "images":
        return crops["image_id"].map(cohort.images.set_index("image_id")[column])
    rows = cohort.patients.set_index("unit_id")
    cells = rows[column].where(rows["labelled"].astype(bool), np.nan)
    return crops["unit_id"].map(cells)
