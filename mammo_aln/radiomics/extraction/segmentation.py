"""DICOM SEG to a mask volume: frames put in order along the slices, missing ones empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from mammo_aln.cohort.annotations.dicom.objects import whole_dataset
from mammo_aln.cohort.annotations.nifti import MOST_VOXELS
from mammo_aln.errors import InputError, shortened

SAME_LEVEL_MM = 0.05
"""Frames of one slice may differ by so much, by rounding."""
OFF_LATTICE = 0.05
"""How far a frame may lie off its slice, as a share of the distance between slices."""
HALF = 0.5
"""A voxel belongs to a fractional segment from half of the largest fraction on."""


def read_segmentation(path: Path, segment: int = 0) -> tuple[sitk.Image, tuple[float, ...]]:
    """The mask of one segment of a DICOM SEG (0 = all segments together), on the grid that its frames span.

    Returns:
        The mask, empty where no frame is of the segment, and the numbers of the segments that have frames.

    Raises:
        InputError: not a SEG, damaged or not whole, or frames that do not lie evenly on one stack.
    """
    try:
        return _mask_of(whole_dataset(path), path, segment)
    except InputError:
        raise
    except Exception as error:  # pydicom reads values when they are asked for, and raises whatever they make it
        reason = shortened(str(error) or type(error).__name__, plain=True)
        raise InputError(f"{path}: damaged, or no SEG: cannot be read as DICOM ({reason})") from error


def _mask_of(data: Dataset, path: Path, segment: int) -> tuple[sitk.Image, tuple[float, ...]]:
    if data.get("Modality") != "SEG":
        raise InputError(
            f"{path}: Modality is {data.get('Modality')!r}; expected SEG (or a folder with an image series)"
        )
    if "PerFrameFunctionalGroupsSequence" not in data:
        raise InputError(f"{path}: PerFrameFunctionalGroupsSequence is missing; expected the position of every frame")
    per_frame = list(data.PerFrameFunctionalGroupsSequence)
    count = int(data.get("NumberOfFrames", 1))
    if "PixelData" not in data or count != len(per_frame):
        pixels = "" if "PixelData" in data else "; PixelData is missing"
        raise InputError(f"{path}: {count} frames and the positions of {len(per_frame)}{pixels}; the file is not whole")
    if not 0 < count * int(data.Rows) * int(data.Columns) <= MOST_VOXELS:
        raise InputError(
            f"{path}: {count} frames of {data.Rows} x {data.Columns}; expected at most {MOST_VOXELS} voxels"
        )
    frames = data.pixel_array.reshape(count, int(data.Rows), int(data.Columns))
    if data.get("SegmentationType") == "FRACTIONAL":
        frames = frames >= HALF * float(data.get("MaximumFractionalValue", 255))
    numbers = [_segment_number(groups, data) for groups in per_frame]
    orientation = np.asarray(_group(data, 0, "PlaneOrientationSequence", path).ImageOrientationPatient, dtype=float)
    measures = _group(data, 0, "PixelMeasuresSequence", path)
    normal = np.cross(orientation[:3], orientation[3:])
    positions = np.array(
        [_group(data, n, "PlanePositionSequence", path).ImagePositionPatient for n in range(len(per_frame))],
        dtype=float,
    )
    along = positions @ normal
    levels, step = frame_slices(along, measures, path)
    if (voxels := (int(levels.max()) + 1) * frames[0].size) > MOST_VOXELS:
        raise InputError(f"{path}: its frames span {voxels} voxels; expected at most {MOST_VOXELS}")
    volume = np.zeros((int(levels.max()) + 1, *frames.shape[1:]), dtype=np.uint8)
    for frame, level, number in zip(frames, levels, numbers, strict=True):
        if not segment or number == segment:
            volume[level] |= (frame > 0).astype(np.uint8)
    mask = sitk.GetImageFromArray(volume)
    row_mm, column_mm = (float(value) for value in measures.PixelSpacing)
    mask.SetSpacing((column_mm, row_mm, step))
    mask.SetOrigin(tuple(positions[int(along.argmin())]))
    mask.SetDirection(np.stack([orientation[:3], orientation[3:], normal], axis=1).ravel().tolist())
    return mask, tuple(sorted(set(numbers)))


def frame_slices(along: np.ndarray, measures: Any, path: Path) -> tuple[np.ndarray, float]:
    """Find the index of each frame's slice and the distance between slices in mm."""
    gaps = np.diff(np.sort(along))
    gaps = gaps[gaps > SAME_LEVEL_MM]
    between = float(measures.get("SpacingBetweenSlices", 0) or 0)
    # empty slices are not stored, so that the smallest gap may be several slices: the stated distance where it fits
    fits = between > 0 and bool((np.abs(gaps / between - np.rint(gaps / between)) <= OFF_LATTICE).all())
    gap = float(gaps.min()) if gaps.size else float(measures.get("SliceThickness", 0) or 0)
    step = between if fits else gap
    if step <= 0:
        raise InputError(f"{path}: one slice and no distance between slices in the header")
    places = (along - along.min()) / step
    if not np.abs(places - np.rint(places)).max() <= OFF_LATTICE:
        raise InputError(f"{path}: its frames are not evenly spaced (smallest distance {step:.4g} mm)")
    return np.rint(places).astype(int), step


def _segment_number(groups: Any, data: Any) -> int:
    for source in (groups, data.get("SharedFunctionalGroupsSequence", [{}])[0]):
        if "SegmentIdentificationSequence" in source:
            return int(source.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    return 1


def _group(data: Any, frame: int, name: str, path: Path) -> Any:
    for source in (data.PerFrameFunctionalGroupsSequence[frame], data.get("SharedFunctionalGroupsSequence", [{}])[0]):
        if name in source:
            return source[name].value[0]
    raise InputError(f"{path}: {name} is missing; expected it per frame or shared")
