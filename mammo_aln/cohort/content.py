"""A cohort's content as one hash: its data's part of a run's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.schemas import BOX
from mammo_aln.cohort.selection import select_images
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.files import write_json
from mammo_aln.machine.code import code_digest

CONTENT_VERSION = 1
PATIENTS = ("unit_id", "patient_id", "side", "center", "aln_status", "eligible", "split")
IMAGES = ("image_id", "patient_id", "laterality", "view", "spacing_mm")
REGIONS = ("image_id", "region", *BOX)
KEPT_FILE = "contents.json"
MOST_KEPT = 64


def cohort_content(cohort: Cohort, kept_in: Path | None = None) -> str:
    """Hash (SHA-256, hex) all of a cohort that shapes a result.

    In: identifiers, centres, outcomes, eligibility, split, declared clinical features with their values, side, view and
    stated spacing of each image that is read, and the regions. Out: the cohort's name, file paths and times, the order
    of rows and columns, how a number is written (`1` or `1.0`), and columns that nothing reads.

    Args:
        cohort: the tables.
        kept_in: folder of hashes from earlier calls, by every cell of the tables and the code; it gets the new one.
    """
    state = _state(cohort)
    if state in _OF_TABLES:
        return _OF_TABLES[state]
    kept = _kept(kept_in)
    _OF_TABLES[state] = kept[state] if state in kept else _content(cohort)
    if kept_in is not None and state not in kept:
        # A finished store may be shared read-only: the hash is then made again by each process.
        with suppress(OSError, InputError):
            youngest = dict(list(kept.items())[1 - MOST_KEPT :])
            write_json(kept_in / KEPT_FILE, {**youngest, state: _OF_TABLES[state]})
    return _OF_TABLES[state]


_OF_TABLES: dict[str, str] = {}
"""Hashes that this process has made, by `_state`."""


def _state(cohort: Cohort) -> str:
    features = json.dumps([asdict(cohort.clinical[name]) for name in sorted(cohort.clinical)], default=repr)
    made_from = (str(CONTENT_VERSION), code_digest(("cohort", "dicom", "spreadsheet")), features, tables_digest(cohort))
    return hashlib.sha256("\0".join(made_from).encode()).hexdigest()


def _kept(folder: Path | None) -> dict[str, str]:
    """Hashes of earlier calls; none where the file cannot be read whole."""
    try:
        kept = json.loads((folder / KEPT_FILE).read_text(encoding="utf-8")) if folder is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _content(cohort: Cohort) -> str:
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
                column = table[name]
                digest.update(json.dumps([str(name), str(column.dtype), len(column)]).encode())
                digest.update(_cells(column))
    return digest.hexdigest()


def _cells(column: pd.Series) -> bytes:
    """Bytes that differ where a cell does; of columns of one type and length, no two others give the same."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
        return b"numbers" + column.to_numpy().tobytes()
    cells = column.tolist()
    with suppress(TypeError):  # a missing cell, or no text
        texts = "\0".join(cells)
        if cells and texts.count("\0") == len(cells) - 1:
            return b"texts" + hashlib.sha256(texts.encode("utf-8", "surrogatepass")).digest()
    return b"cells" + hashlib.sha256(json.dumps(cells, default=repr).encode()).digest()
