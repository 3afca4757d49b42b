"""DICOM series folders as volumes, and what their slices say of their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mammo_aln.dicom.decode import refusing
from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
UNIFORM_TOLERANCE = 0.02
"""How much the distances between a series' slices may differ, as a share of their median."""
SIDEWAYS_TOLERANCE = 0.1
"""Pixels by which slices may lie beside the stack's normal."""
DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Series:
    """Places of a series' slices.

    Args:
        frame: FrameOfReferenceUID; empty where the files state none.
        positions: ImagePositionPatient by SOPInstanceUID; None where a file states none.
    """

    frame: str
    positions: dict[str, Floats | None]


def read_series(folder: Path) -> sitk.Image:
    """Read the one series of a folder as a volume.

    Raises:
        InputError: not one series, or slices that are missing, doubled, turned or beside each other.
    """
    if odd := [entry for entry in folder.iterdir() if not entry.is_file() and not entry.is_dir()]:
        raise InputError(f"{odd[0]}: is neither file nor folder; expected the files of one DICOM series")
    files = _files(folder)
    with refusing(folder, "reading the slices' headers"):
        positions, directions, pixel_mm = _stack(_heads(files))
    if len(positions) > 1:
        _refuse_odd_slices(folder, positions, directions, pixel_mm)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{folder}: the series cannot be read: {str(error).strip().splitlines()[-1]}") from error


def series_of(folder: Path) -> Series:
    """Read where the slices of a folder's one series lie."""
    with refusing(folder, "reading the slices' headers"):
        heads = _heads(_files(folder))
        frames = {str(head.get("FrameOfReferenceUID") or "") for head in heads}
        places = [head.get("ImagePositionPatient") for head in heads]
        positions = {
            str(head.get("SOPInstanceUID")): np.array(position, dtype=float) if position else None
            for head, position in zip(heads, places, strict=True)
        }
    if len(frames) > 1:
        raise InputError(f"{folder}: its slices state {len(frames)} frames of reference; expected one")
    return Series(frames.pop(), positions)


def _files(folder: Path) -> tuple[str, ...]:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise InputError(f"{folder}: holds {len(series)} DICOM series; expected a folder with exactly one")
    return sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])


def _heads(files: tuple[str, ...]) -> list[Dataset]:
    tags = [
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID", "SOPInstanceUID",
    ]  # fmt: skip
    return [pydicom.dcmread(name, stop_before_pixels=True, specific_tags=tags) for name in files]


def _stack(heads: list[Dataset]) -> tuple[Floats, Floats, float]:
    """Read positions (slices, 3) and directions (slices, 6); none where a slice lacks them; smaller side of a pixel."""
    keys = ("ImagePositionPatient", "ImageOrientationPatient")
    if not all(head.get(key) for head in heads for key in keys):
        return np.empty((0, 3)), np.empty((0, 6)), 1.0
    positions, directions = (np.array([head.get(key) for head in heads], dtype=float) for key in keys)
    sides = [float(side) for head in heads for side in head.get("PixelSpacing") or (1.0,)]
    return positions.reshape(-1, 3), directions.reshape(-1, 6), min(sides)


def _refuse_odd_slices(folder: Path, positions: Floats, directions: Floats, pixel_mm: float) -> None:
    """A missing, doubled or shifted slice would silently change lengths, and where masks and contours lie."""
    turned = np.abs(directions - directions[0]).max(axis=1) > DIRECTION_TOLERANCE
    if turned.any():
        raise InputError(
            f"{folder}: {int(turned.sum())} of {len(turned)} slices have another ImageOrientationPatient than the"
            f" first, {directions[0].tolist()}; expected one stack"
        )
    normal = np.cross(directions[0, :3], directions[0, 3:])
    along = positions @ normal
    steps = np.diff(np.sort(along))
    middle = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - middle) > UNIFORM_TOLERANCE * max(middle, 1e-6))
    if middle <= 0 or uneven.size:
        worst = float(steps[uneven[0]]) if uneven.size else middle
        raise InputError(
            f"{folder}: slices are {middle:.4g} mm apart but once {worst:.4g} mm; expected even distances"
            " (is a slice missing or doubled?)"
        )
    aside = float(np.linalg.norm(positions - positions[0] - np.outer(along - along[0], normal), axis=1).max())
    if aside > SIDEWAYS_TOLERANCE * pixel_mm:
        raise InputError(
            f"{folder}: slices lie up to {aside:.3g} mm beside each other (a tilted gantry?); expected them one above"
            " the other: resample the series to such a stack"
        )
