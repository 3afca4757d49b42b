"""The key from a cohort's numbers back to the hospital's: identifying, so outside the cohort, for its owner alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.listing.survey import SurveyedImage
from mammo_aln.cohort.reading import read_text_table
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import make_folder
from mammo_aln.spreadsheet.characters import as_cell

KEY_COLUMNS = (
    "patient_id", "image_id", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "StudyInstanceUID",
    "SOPInstanceUID", "path",
)  # fmt: skip
OWNER_ALONE = 0o600


def key_target(key: Path, cohort: Path) -> Path:
    """Resolve where a key is to be written.

    Raises:
        InputError: it lies in the cohort folder, directly, by a link or by `..`; or it is a folder, or another table.
    """
    target, folder = key.resolve(), cohort.resolve()
    if target == folder or folder in target.parents:
        raise InputError(
            f"--key {key}: lies in the cohort folder {cohort}, which names no patient and may be shared; "
            f"give a path outside it, e.g. --key {folder.parent / f'{folder.name}_key.csv'}"
        )
    if target.is_dir():
        raise InputError(f"--key {key}: is a folder; expected the path of a CSV file, e.g. --key {key / 'key.csv'}")
    if target.exists():
        _standing(target)
    return target


def write_key(target: Path, images: pd.DataFrame, by_path: Mapping[str, SurveyedImage]) -> int:
    """Write a row per image of `images.csv` whose file was read, readable and writable by its owner alone.

    Rows of a key that stands there stay where their image is still listed and its file was not read now.

    Args:
        target: of `key_target`.
        images: `patient_id`, `image_id` and `path` of all images.
        by_path: headers by `path`.

    Returns:
        The number of rows.
    """
    rows = [
        {
            "patient_id": patient,
            "image_id": image,
            "PatientID": _text(header.identity.patient),
            "IssuerOfPatientID": _text(header.identity.issuer),
            "AccessionNumber": _text(header.accession),
            "StudyDate": as_cell(header.study_date),
            "StudyInstanceUID": as_cell(header.identity.study),
            "SOPInstanceUID": as_cell(header.sop_instance),
            "path": path,
        }
        for patient, image, path in images[["patient_id", "image_id", "path"]].itertuples(index=False)
        if (header := by_path.get(path)) is not None
    ]
    table = pd.DataFrame(rows, columns=list(KEY_COLUMNS), dtype=object)
    if target.exists():
        kept = _standing(target)
        kept = kept[kept["image_id"].isin(set(images["image_id"]) - set(table["image_id"]))]
        table = pd.concat([kept[list(KEY_COLUMNS)], table], ignore_index=True)
    _write_for_owner(target, table)
    return len(table)


def _standing(target: Path) -> pd.DataFrame:
    faults: list[BadCell] = []
    table = read_text_table(target, faults)
    if table is not None and list(table.columns) != list(KEY_COLUMNS):
        raise InputError(f"--key {target}: another table stands there; it is not overwritten: give another path")
    raise_bad_cells(faults)
    return pd.DataFrame(columns=list(KEY_COLUMNS)) if table is None else table


def _write_for_owner(target: Path, table: pd.DataFrame) -> None:
    make_folder(target.parent)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # created for the owner alone, so that no moment is open to others
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ALONE)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            table.to_csv(file, index=False, lineterminator="\n")
        unfinished.replace(target)
    except OSError as error:
        raise InputError(f"--key {target}: cannot be written ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _text(identifier: str) -> str:
    """An identifier as text: the fast reader keeps the bytes of any character set apart as Latin-1."""
    try:
        return as_cell(identifier.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return as_cell(identifier)
