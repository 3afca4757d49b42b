"""RT structure sets: closed contours in millimetres of the patient become boxes in pixels of the image they name.

A contour names its image in ContourImageSequence. The image's own plane (ImagePositionPatient,
ImageOrientationPatient, PixelSpacing; PS3.3 C.7.6.2.1.1) leads to its pixels. A projection mammogram has no plane:
its contours are refused, as their millimetres fit no pixel without a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from mammo_aln.cohort.annotations.dicom import objects
from mammo_aln.cohort.annotations.geometry import NO_AREA, box_of_corners
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Reading, Skipped, bounding_box
from mammo_aln.dicom.decode import read_file, refusing
from mammo_aln.errors import InputError

ImageFile = Callable[[str], Path | None]
"""Finds the file of a SOPInstanceUID; None where the cohort has no such image."""

CLOSED = "CLOSED_PLANAR"
REFERENCED = (
    "ReferencedFrameOfReferenceSequence",
    "RTReferencedStudySequence",
    "RTReferencedSeriesSequence",
    "ContourImageSequence",
)
"""Sequences that lead to the images of the whole set."""
WITHOUT_IMAGE = "a contour that names no image"
SEVERAL_IMAGES = "a contour that names several images"
OTHER_IMAGE = "a contour on an image that is not in the cohort"
OFF_PLANE = 0.5
"""Pixels by which a contour's points may lie off the plane of their image."""
UNIT = 1e-3
"""Deviation from unit length and from the right angle that single precision and rounding in files explain."""


@dataclass(frozen=True)
class ImagePlane:
    """Plane of an image in the patient, in millimetres.

    Attributes:
        origin: centre of the first pixel (3).
        along_row: unit vector of rising columns (3).
        along_column: unit vector of rising rows (3).
        spacing_mm: distance of rows and distance of columns.
        rows: height in pixels.
        columns: width in pixels.
    """

    origin: np.ndarray
    along_row: np.ndarray
    along_column: np.ndarray
    spacing_mm: tuple[float, float]
    rows: int
    columns: int

    def edges(self, points_mm: np.ndarray, source: str) -> np.ndarray:
        """Edge coordinates (column, row) of points (n, 3): the centre of the first pixel is at 0.5.

        Raises:
            InputError: points off the plane.
        """
        offset = points_mm - self.origin
        distance = float(np.abs(offset @ np.cross(self.along_row, self.along_column)).max())
        if distance > OFF_PLANE * min(self.spacing_mm):
            raise InputError(f"{source}: lies {distance:.3g} mm off the plane of its image: expected points on it")
        columns = offset @ self.along_row / self.spacing_mm[1] + 0.5
        rows = offset @ self.along_column / self.spacing_mm[0] + 0.5
        return np.stack([columns, rows], axis=1)


def image_plane(path: Path) -> ImagePlane:
    """Read the plane of a single-frame image.

    Raises:
        UnreadableDicom: no DICOM file.
        InputError: an image without a plane (a projection), or with a broken one.
    """
    header = read_file(path, with_pixels=False)
    with refusing(path, "reading the header"):
        position, orientation, spacing = (
            objects.floats(header, keyword)
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        )
        rows, columns = int(header.Rows), int(header.Columns)
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2) or not np.isfinite(position).all():
        raise InputError(
            f"{path}: has no ImagePositionPatient, ImageOrientationPatient and PixelSpacing, as a projection has none: "
            "contours in millimetres fit none of its pixels; save the regions as DICOM SEG, SR or boxes instead"
        )
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if not (np.allclose(lengths, 1, atol=UNIT) and abs(along_row @ along_column) <= UNIT and min(spacing) > 0):
        raise InputError(
            f"{path}: ImageOrientationPatient = {orientation}, PixelSpacing = {spacing}: expected two unit vectors at "
            "a right angle and positive distances"
        )
    return ImagePlane(np.array(position), along_row, along_column, (spacing[0], spacing[1]), rows, columns)


def no_image(uid: str) -> None:
    """The file of an instance where no cohort is at hand: none."""


def read_structure_set(path: Path, image_file: ImageFile = no_image) -> Reading:
    """Read the closed contours of a structure set; the label is ROIName.

    Raises:
        UnreadableDicom: no DICOM file, a broken one, or another object.
        InputError: an image without a plane, points off their plane, or broken numbers.
    """
    return objects.read_object(path, objects.RTSTRUCT_CLASSES, partial(_contours, image_file=image_file))


def _contours(dataset: Dataset, path: Path, image_file: ImageFile) -> Reading:
    names = {
        objects.integer(roi, "ROINumber"): objects.words(roi, "ROIName")
        for roi in objects.items(dataset, "StructureSetROISequence")
    }
    planes: dict[str, ImagePlane] = {}
    reading = objects.listed_images(objects.items(dataset, *REFERENCED))
    for roi in objects.items(dataset, "ROIContourSequence"):
        number = (objects.integers(roi, "ReferencedROINumber") or [-1])[0]
        region = names.get(number, NO_REGION)
        for index, contour in enumerate(objects.items(roi, "ContourSequence"), 1):
            source = f"{path.name} ROI {number} contour {index}"
            reading.append(_annotation(contour, region, image_file, planes, source))
    return reading


def _annotation(
    contour: Dataset, region: str, image_file: ImageFile, planes: dict[str, ImagePlane], source: str
) -> Annotation | Skipped:
    kind = objects.words(contour, "ContourGeometricType")
    if kind != CLOSED:
        return Skipped(f"a contour of type {kind or '(none)'}, not {CLOSED}", source)
    images = list(objects.image_references(objects.items(contour, "ContourImageSequence")))
    if len(images) != 1:
        return Skipped(SEVERAL_IMAGES if images else WITHOUT_IMAGE, source)
    (uid, frame) = images[0]
    if uid not in planes:
        file = image_file(uid)
        if file is None:
            return Skipped(OTHER_IMAGE, source)
        planes[uid] = image_plane(file)
    flat = objects.floats(contour, "ContourData")
    if len(flat) % 3 or len(flat) < 9 or not np.isfinite(flat).all():
        raise InputError(f"{source}, ContourData: {len(flat)} numbers: expected finite x, y, z of three or more points")
    plane = planes[uid]
    points = [(float(x), float(y)) for x, y in plane.edges(np.reshape(flat, (-1, 3)), source)]
    box = box_of_corners(*bounding_box(points))
    if not box:
        return Skipped(NO_AREA, source)
    return Annotation(uid, region, *box, plane.rows, plane.columns, frame=frame, source=source)
