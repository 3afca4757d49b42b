"""Traces by which a patient is known again under other names: identifiers of exams, decoded pixels, clinical values."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.likeness.fingerprint import Fingerprint, uid_digests
from mammo_aln.cohort.likeness.rows import written_rows
from mammo_aln.cohort.likeness.scales import BLOCK_ROWS, SCALES, SKETCH, patterns_of, scaled, sketched
from mammo_aln.cohort.likeness.twins import fingerprints
from mammo_aln.cohort.tables import Cohort, image_files
from mammo_aln.dicom.fast_header import FastHeader, read_headers

SKETCHES_ALIKE_FROM = 0.5
"""More than `ALIKE_FROM`, as a likeness by sketches alone is off by 0.04 (1 SD)."""
SKETCH_UNIT = 400.0
"""Of a sketch of length 1, kept as whole numbers."""


@dataclass(frozen=True)
class Traces:
    """Facts of images and patients beside their names.

    Attributes:
        marks: fingerprint of each image that can be decoded.
        columns: clinical features of `rows`.
        rows: clinical values of each patient's row, as one text; empty where too few are filled.
    """

    marks: Mapping[str, Fingerprint] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


def traces_of(cohort: Cohort, patients: pd.DataFrame, images: Iterable[str], kept_in: Path | None) -> Traces:
    """Read the traces of some patients.

    Args:
        cohort: the tables.
        patients: rows of its patients.
        images: images of these patients that are read.
        kept_in: folder of fingerprints; by default `.crops` in the cohort folder.
    """
    files = files_of(cohort, images)
    marks = fingerprints(files, kept_in or cohort.root / ".crops") if files else {}
    columns = tuple(sorted(cohort.clinical))
    return Traces(marks, columns, tuple(written_rows(patients, columns)))


def files_of(cohort: Cohort, images: Iterable[str]) -> dict[str, Path]:
    """Files of some images."""
    rows = cohort.images[cohort.images["image_id"].isin(set(images))]
    return {image: Path(file) for image, file in image_files(cohort, rows).items()}


def uids_of(files: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Digests of StudyInstanceUID and SOPInstanceUID by the headers of files, as far as they can be read."""
    return {
        image: uid_digests((header.text("StudyInstanceUID"), header.text("SOPInstanceUID")))
        for image, header in zip(files, read_headers(files.values()), strict=True)
        if isinstance(header, FastHeader)
    }


def written_sketches(marks: Iterable[Fingerprint], salt: str) -> str:
    """Write the sketches of fingerprints, in an order of their own."""
    textures = [mark.texture for mark in marks if mark.texture]
    if not textures:
        return ""
    rows: list[bytes] = []
    for start in range(0, len(textures), BLOCK_ROWS):
        block = sketched(patterns_of(textures[start : start + BLOCK_ROWS]), salt) * SKETCH_UNIT
        rows += [row.tobytes() for row in np.rint(block).clip(-127, 127).astype(np.int8)]
    return base64.b64encode(b"".join(sorted(rows))).decode("ascii")


def alike_to(sketches: str, salt: str, marks: Mapping[str, Fingerprint]) -> list[str]:
    """Name the images that are copies of one whose sketch was written, in whole or a part of it."""
    images = [image for image, mark in marks.items() if mark.texture]
    if not sketches or not images:
        return []
    kept = np.frombuffer(base64.b64decode(sketches), np.int8).reshape(-1, SKETCH).astype(np.float32)
    kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    patterns = patterns_of([marks[image].texture for image in images])
    alike: dict[str, None] = {}
    for start in range(0, len(images), BLOCK_ROWS):
        rows = patterns[start : start + BLOCK_ROWS]
        for scale in (*SCALES, *(1 / scale for scale in SCALES[1:])):
            nearest = (sketched(scaled(rows, scale), salt) @ kept.T).max(axis=1)
            alike |= {images[start + int(row)]: None for row in np.flatnonzero(nearest >= SKETCHES_ALIKE_FROM)}
    return list(alike)
