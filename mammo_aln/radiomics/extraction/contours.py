"""RT structure sets to masks: closed contours in millimetres of the patient, filled on the image's own voxels.

A voxel belongs to the region where its centre lies inside the contours of its slice (IBSI). Contours of a slice are
joined by exclusive or: islands stay, a contour inside another is a hole, and the two edges of a keyhole cancel. Of
centres that lie on an edge those of the left and upper one belong, so that regions side by side share no voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mammo_aln.cohort.annotations.dicom import objects
from mammo_aln.errors import InputError, shortened
from mammo_aln.radiomics.extraction.series import Floats, Series

KEYHOLE, XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"
OFF_SLICE = 0.1
"""How far a contour's points may lie off their slice, as a share of the distance between slices."""
DECIMALS = 4
"""Of a voxel: what rounding in files leaves; edges on voxel centres are then on them."""
MOST_LISTED = 20
MOST_OF_A_SLICE = 1000
"""Contours of one slice; scattered remnants of a tumour have hundreds."""
MOST_MM = 1e6
AXES = ("first", "second", "third")


@dataclass(frozen=True)
class Contour:
    """A closed contour on the image's grid.

    Args:
        source: file, ROI and its number there, for messages.
        kind: its ContourGeometricType.
        points: indices (points, 3) along the image file's axes; voxel centres are whole numbers.
        images: SOPInstanceUIDs that it names.
    """

    source: str
    kind: str
    points: Floats
    images: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """A region of interest of a structure set.

    Args:
        number: its ROINumber.
        name: its ROIName.
        frames: FrameOfReferenceUIDs that it, or else the set, names.
        contours: its contours.
        source: file and ROI, for messages.
    """

    number: int
    name: str
    frames: frozenset[str]
    contours: tuple[Contour, ...]
    source: str


def read_contours(
    path: Path, image: sitk.Image, series: Series | None, *, name: str = "", number: int = 0
) -> tuple[sitk.Image, tuple[str, ...]]:
    """Fill the contours of a structure set's ROI on the grid of an image.

    Args:
        path: RT structure set.
        image: the image.
        series: its slices, where it is a DICOM series; contours of another image lie on it by their position alone.
        name: ROIName; may be empty where `number` names the ROI, or the set has one alone.
        number: ROINumber; 0 for none.

    Returns:
        The mask, empty where the ROI has no contour, and notes of what is not plain filling.

    Raises:
        InputError: no structure set, no such ROI or several, contours that are open, lie off or across the slices or
            beyond the image, name other images, or cross each other.
    """
    drawn = objects.read_object(path, objects.RTSTRUCT_CLASSES, partial(_drawn, image=image, name=name, number=number))
    notes = [] if series is not None and _belongs(drawn, series) else ["contours_by_position"]
    axis = _slice_axis(drawn, 2 if series is not None else None)
    slices = _by_slice(drawn, image, axis, series)
    rest = [other for other in range(3) if other != axis]
    mask = np.zeros(image.GetSize()[::-1], dtype=np.uint8)
    planes = np.moveaxis(mask, 2 - axis, 0)
    for number_of_slice, contours in slices.items():
        outlines = [replace(one, points=np.round(one.points[:, rest], DECIMALS)) for one in contours]
        notes += _fill(planes[number_of_slice], outlines)
    if slices and len(slices) <= max(slices) - min(slices):
        notes.append("slices_without_contour")
    filled = sitk.GetImageFromArray(mask)
    filled.CopyInformation(image)
    return filled, tuple(dict.fromkeys(notes))


def _drawn(dataset: Dataset, path: Path, image: sitk.Image, name: str, number: int) -> Drawn:
    rois = objects.items(dataset, "StructureSetROISequence")
    numbered = [(objects.integer(roi, "ROINumber"), objects.words(roi, "ROIName"), roi) for roi in rois]
    chosen = [one for one in numbered if (not name or one[1] == name) and (not number or one[0] == number)]
    if len(chosen) != 1:
        names = ", ".join(f"{shortened(text)} ({count})" for count, text, _ in numbered[:MOST_LISTED])
        more = f", ... ({len(numbered)} in all)" if len(numbered) > MOST_LISTED else ""
        asked = " and ".join([f"mask_roi = {shortened(name)}"] * bool(name) + [f"mask_label = {number}"] * bool(number))
        raise InputError(
            f"{path}: {asked or 'no ROI is named'}, which fits {len(chosen)} of its {len(numbered)} ROIs; expected"
            f" mask_roi in volumes.csv to name one (or mask_label its number): {names or 'it holds none'}{more}"
        )
    ((number, name, roi),) = chosen
    source = f"{path}: ROI {shortened(name)} ({number})"
    own = objects.words(roi, "ReferencedFrameOfReferenceUID")
    of_set = objects.items(dataset, "ReferencedFrameOfReferenceSequence")
    frames = [own] if own else [objects.words(frame, "FrameOfReferenceUID") for frame in of_set]
    origin, direction = np.array(image.GetOrigin()), np.array(image.GetDirection()).reshape(3, 3)
    to_index = np.linalg.inv(direction * np.array(image.GetSpacing()))
    contours = [
        contour
        for item in objects.items(dataset, "ROIContourSequence")
        if objects.integer(item, "ReferencedROINumber") == number
        for contour in objects.items(item, "ContourSequence")
    ]
    return Drawn(
        number,
        name,
        frozenset(frames) - {""},
        tuple(
            _contour(contour, f"{source}, contour {count}", origin, to_index)
            for count, contour in enumerate(contours, 1)
        ),
        source,
    )


def _contour(item: Dataset, source: str, origin: Floats, to_index: Floats) -> Contour:
    kind = objects.words(item, "ContourGeometricType")
    if kind not in (KEYHOLE, XOR):
        raise InputError(f"{source}: is of type {shortened(kind)}; expected closed ones, {KEYHOLE} or {XOR}")
    flat = objects.floats(item, "ContourData")
    count = (objects.integers(item, "NumberOfContourPoints") or [len(flat) // 3])[0]
    if len(flat) != 3 * count or count < 3 or not np.abs(flat).max() <= MOST_MM:
        raise InputError(
            f"{source}: ContourData has {len(flat)} numbers for {count} points; expected x, y, z in mm of three or more"
        )
    if any(objects.floats(item, "ContourOffsetVector")):
        raise InputError(f"{source}: has a ContourOffsetVector, which is not read; expected points where they lie")
    images = objects.image_references(objects.items(item, "ContourImageSequence"))
    points = (np.reshape(flat, (-1, 3)) - origin) @ to_index.T
    return Contour(source, kind, points, tuple(uid for uid, _ in images))


def _belongs(drawn: Drawn, series: Series) -> bool:
    """Tell if the set names the series, by its frame of reference or all its images; refuse one that names another."""
    if series.frame and drawn.frames and series.frame not in drawn.frames:
        raise InputError(
            f"{drawn.source}: lies in frame of reference {min(drawn.frames)}, the image in {series.frame}; expected"
            " contours that were drawn on this series"
        )
    for contour in drawn.contours:
        if other := [uid for uid in contour.images if uid not in series.positions]:
            raise InputError(
                f"{contour.source}: names image {shortened(other[0])}, which is not in the series of"
                f" {len(series.positions)} slices; expected the series that it was drawn on, whole"
            )
    return bool(series.frame and drawn.frames) or all(contour.images for contour in drawn.contours)


def _slice_axis(drawn: Drawn, axis: int | None) -> int:
    """Find the axis of the image file that the contours lie across: a series' third, else the one they hold best."""
    if axis is not None or not drawn.contours:
        return 2 if axis is None else axis
    heights = np.max([np.ptp(contour.points, axis=0) for contour in drawn.contours], axis=0)
    return int(np.argmin(heights))


def _by_slice(drawn: Drawn, image: sitk.Image, axis: int, series: Series | None) -> dict[int, list[Contour]]:
    """Sort contours by slice; refuse those that lie on none, beyond the image, or on another than the one they name."""
    slices: dict[int, list[Contour]] = {}
    spacing, size = image.GetSpacing(), image.GetSize()
    for contour in drawn.contours:
        low, high = contour.points.min(axis=0), contour.points.max(axis=0)
        level = round(float(low[axis] + high[axis]) / 2)
        off = max(high[axis] - level, level - low[axis])
        ends = f"{low[axis] + 1:.2f} to {high[axis] + 1:.2f} of {size[axis]} ({spacing[axis]:.4g} mm apart)"
        if off > OFF_SLICE:
            across = "its points lie across slices" if high[axis] - low[axis] > 2 * OFF_SLICE else "it lies on slice"
            raise InputError(
                f"{contour.source}: {across} {ends} along the image's {AXES[axis]} axis; expected every point within"
                f" {OFF_SLICE:g} of one slice"
            )
        outside = np.max([-0.5 - low, high - (np.array(size) - 0.5)], axis=0)
        outside[axis] = max(-level, level - size[axis] + 1)
        if outside.max() > 10.0**-DECIMALS:
            worst = int(outside.argmax())
            raise InputError(
                f"{contour.source}: reaches {outside[worst] * spacing[worst]:.3g} mm beyond the image along its"
                f" {AXES[worst]} axis; expected contours on the image"
            )
        for uid in contour.images if series is not None else ():
            position = series.positions.get(uid) if series is not None else None
            if position is not None:
                named = image.TransformPhysicalPointToContinuousIndex(position.tolist())[axis]
                if abs(named - level) > OFF_SLICE:
                    raise InputError(
                        f"{contour.source}: lies on slice {level + 1} and names the image of slice {named + 1:.4g};"
                        " expected the image that it lies on"
                    )
        slices.setdefault(level, []).append(contour)
    for contours in slices.values():
        if len(contours) > MOST_OF_A_SLICE:
            raise InputError(f"{drawn.source}: {len(contours)} contours on a slice; expected at most {MOST_OF_A_SLICE}")
    return slices


def _fill(plane: NDArray[np.uint8], outlines: Sequence[Contour]) -> list[str]:
    """Put the inside of a slice's contours (points: column, row) into its voxels (rows, columns), by exclusive or."""
    notes, insides = [], []
    for outline in outlines:
        first = np.maximum(np.floor(outline.points.min(axis=0)), 0).astype(int)
        columns, rows = np.minimum(np.ceil(outline.points.max(axis=0)).astype(int) + 1, plane.shape[::-1]) - first
        winding = windings(outline.points - first, (int(rows), int(columns)))
        if (np.abs(winding) > 1).any():
            notes.append("contour_crosses_itself")
        if not winding.any():
            notes.append("contour_without_voxel")
        if (outline.points == np.rint(outline.points)).all():
            notes.append("contour_on_voxel_centres")
        inside = Inside(int(first[1]), int(first[0]), winding % 2 == 1)
        insides.append(inside)
        plane[inside.top : inside.top + rows, inside.left : inside.left + columns] ^= inside.pixels
    for (one, its), (other, others) in combinations(zip(outlines, insides, strict=True), 2):
        if XOR in (one.kind, other.kind):
            continue
        if one.points.shape == other.points.shape and (one.points == other.points).all():
            raise InputError(f"{other.source}: stands twice: it is {one.source.rpartition(', ')[2]} again")
        if 0 < (shared := its.shared(others)) < min(its.pixels.sum(), others.pixels.sum()):
            raise InputError(
                f"{other.source}: overlaps {one.source.rpartition(', ')[2]} in {shared} voxels and neither holds the"
                f" other; expected islands, or a hole within a contour ({XOR} says that the overlap is none)"
            )
    return notes


@dataclass(frozen=True)
class Inside:
    """Pixels of a slice whose centre lies inside a contour, cut to it.

    Args:
        top: first row.
        left: first column.
        pixels: (rows, columns).
    """

    top: int
    left: int
    pixels: NDArray[np.bool_]

    def shared(self, other: Inside) -> int:
        """Count the pixels inside both."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        one = self.pixels[top - self.top :, left - self.left :]
        two = other.pixels[top - other.top :, left - other.left :]
        rows, columns = np.minimum(one.shape, two.shape)
        return int((one[:rows, :columns] & two[:rows, :columns]).sum())


def windings(points: Floats, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Count how often a closed polygon runs round the centre of each pixel (rows, columns).

    Args:
        points: (points, 2), column and row; centres are whole numbers.
        shape: rows and columns.
    """
    turns = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    start, end = points, np.roll(points, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first, last = max(int(np.ceil(low.min())), 0), min(int(np.ceil(high.max())), shape[0])
    for row in range(first, last):
        crossing = (low <= row) & (row < high)
        (x, y), (to_x, to_y) = start[crossing].T, end[crossing].T
        columns = np.ceil(np.round(x + (row - y) * (to_x - x) / (to_y - y), DECIMALS + 2)).astype(np.int64)
        np.add.at(turns[row], np.clip(columns, 0, shape[1]), np.where(to_y > y, 1, -1))
    return turns.cumsum(axis=1)[:, :-1]
