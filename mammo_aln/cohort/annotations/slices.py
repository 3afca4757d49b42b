"""Mask volumes of one slice: NIfTI and NRRD, checked to be whole and laid out as columns and rows.

The first axis of such a file is the picture's columns and the second its rows, as ITK's tools (3D Slicer, ITK-SNAP,
SimpleITK) store a picture: direction cosines are the identity in DICOM's patient axes. Any other direction says that
columns or rows run the other way, and a mammogram has no patient axes to settle it: refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mammo_aln.cohort.annotations.nifti import refuse_damaged_nifti
from mammo_aln.dicom.decode import MAX_PIXELS
from mammo_aln.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Segment:
    """One segment of a `.seg.nrrd`: its name, and the layer and value that it has there."""

    name: str
    layer: int
    value: int


def read_slice(path: Path) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Read a mask volume of one slice.

    Returns:
        Whole numbers (layers, rows, columns), and the segments that a `.seg.nrrd` names; other files have one layer.

    Raises:
        InputError: unreadable or cut off, several slices, values that are no labels, or axes in another order.
    """
    import SimpleITK as sitk

    if path.name.lower().endswith((".nii", ".nii.gz")):
        refuse_damaged_nifti(path, MAX_PIXELS)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if int(np.prod(reader.GetSize(), dtype=float)) > MAX_PIXELS:
            raise InputError(f"{path}: {reader.GetSize()} pixels: expected at most {MAX_PIXELS}")
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path}: cannot be read as a mask (NIfTI, NRRD): {reason}") from error
    _refuse_other_axes(image, path)
    array = sitk.GetArrayFromImage(image)
    layers = image.GetNumberOfComponentsPerPixel()
    array = array.reshape(image.GetSize()[1], image.GetSize()[0], layers)
    segments = _segments(image, path)
    if layers > 1 and not segments:
        raise InputError(f"{path}: holds {layers} values in each pixel: expected one label")
    return whole_numbers(np.moveaxis(array, 2, 0), path), segments


def whole_numbers(pixels: np.ndarray, path: Path) -> np.ndarray:
    """The pixels as whole numbers.

    Raises:
        InputError: fractions, NaN or infinite values.
    """
    if pixels.dtype.kind in "iu":
        return pixels
    values = np.asarray(pixels, dtype=np.float64)
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        odd = values[~np.isfinite(values) | (values != np.rint(values))][0]
        raise InputError(f"{path}: holds {odd:g}: expected whole numbers, not probabilities or softened edges")
    return values.astype(np.int64)


def _refuse_other_axes(image: sitk.Image, path: Path) -> None:
    size, axes = image.GetSize(), image.GetDimension()
    if any(count != 1 for count in size[2:]):
        raise InputError(f"{path}: {' x '.join(map(str, size))} pixels: expected one slice, columns x rows")
    direction = np.reshape(image.GetDirection(), (axes, axes))
    if np.abs(direction[:, :2] - np.eye(axes)[:, :2]).max() > DIRECTION_TOLERANCE:
        raise InputError(
            f"{path}: direction cosines {np.round(direction[:2, :2], 3).tolist()}: expected the identity, columns "
            "first and rows second as SimpleITK, 3D Slicer and ITK-SNAP store a picture; an affine of +1, +1 "
            "(nibabel's np.eye(4)) says that both run backwards: save the mask with SimpleITK, or as PNG"
        )


def _segments(image: sitk.Image, path: Path) -> tuple[Segment, ...]:
    """Segments that 3D Slicer names in the header of a `.seg.nrrd`."""
    segments: list[Segment] = []
    while image.HasMetaDataKey(f"Segment{len(segments)}_ID"):
        key = f"Segment{len(segments)}_"
        fields = {}
        for field, default in (("Name", ""), ("Layer", "0"), ("LabelValue", "1")):
            fields[field] = image.GetMetaData(key + field) if image.HasMetaDataKey(key + field) else default
        try:
            segments.append(Segment(fields["Name"].strip(), int(fields["Layer"]), int(fields["LabelValue"])))
        except ValueError as error:
            raise InputError(f"{path}, {key[:-1]}: Layer and LabelValue {fields}: expected whole numbers") from error
        if not 0 <= segments[-1].layer < image.GetNumberOfComponentsPerPixel():
            raise InputError(f"{path}, {key[:-1]}: layer {fields['Layer']}, which the file does not have")
    offset = "Segmentation_ReferenceImageExtentOffset"
    if segments and image.HasMetaDataKey(offset) and image.GetMetaData(offset).split()[:2] != ["0", "0"]:
        raise InputError(
            f"{path}: is cut to its segments ({offset} {image.GetMetaData(offset)}): expected the whole picture; save "
            "without `Crop to minimum extent`"
        )
    return tuple(segments)
