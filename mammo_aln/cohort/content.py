"""A cohort's content as one hash: its data's part of a run's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict

import pandas as pd

from mammo_aln.cohort.schemas import BOX
from mammo_aln.cohort.selection import select_images
from mammo_aln.cohort.tables import Cohort

CONTENT_VERSION = 1
PATIENTS = ("unit_id", "patient_id", "side", "center", "aln_status", "eligible", "split")
IMAGES = ("image_id", "patient_id", "laterality", "view", "spacing_mm")
REGIONS = ("image_id", "region", *BOX)


def cohort_content(cohort: Cohort) -> str:
    """Hash (SHA-256, hex) all of a cohort that shapes a result.

    In: identifiers, centres, outcomes, eligibility, split, declared clinical features with their values, side, view and
    stated spacing of each image that is read, and the regions. Out: the cohort's name, file paths and times, the order
    of rows and columns, how a number is written (`1` or `1.0`), and columns that nothing reads.
    """
    features = [asdict(cohort.clinical[name]) for name in sorted(cohort.clinical)]
    content = {
        "version": CONTENT_VERSION,
        "clinical": features,
        "patients": _rows(cohort.patients, (*PATIENTS, *sorted(cohort.clinical))),
        "images": _rows(_read_images(cohort), IMAGES),
        "regions": _rows(cohort.regions, REGIONS),
    }
    return hashlib.sha256(json.dumps(content, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def _read_images(cohort: Cohort) -> pd.DataFrame:
    selection = select_images(cohort)
    return pd.concat([selection.used, selection.undecided])


def _rows(table: pd.DataFrame, columns: tuple[str, ...]) -> list[list[str]]:
    cells = [_texts(table[name]) if name in table else [""] * len(table) for name in columns]
    return sorted(list(row) for row in zip(*cells, strict=True))


def _texts(column: pd.Series) -> list[str]:
    return ["" if missing else str(value) for value, missing in zip(column.tolist(), column.isna(), strict=True)]


def tables_digest(cohort: Cohort, without: Collection[str] = ()) -> str:
    """Hash (SHA-256, hex) every cell of a cohort's patients, images and regions, in their order, and where files lie.

    Unlike `cohort_content` it judges nothing: any change of a cell, a column or an order gives another digest.

    Args:
        cohort: the tables.
        without: columns of patients that are left out.
    """
    digest = hashlib.sha256(str(cohort.dicom_root.absolute()).encode("utf-8", "surrogateescape"))
    for table in (cohort.patients, cohort.images, cohort.regions):
        for name in table.columns:
            if table is not cohort.patients or name not in without:
                cells = json.dumps([str(name), str(table[name].dtype), table[name].tolist()], default=repr)
                digest.update(cells.encode())
    return digest.hexdigest()
