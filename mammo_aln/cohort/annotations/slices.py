"""Mask volumes of one slice: NIfTI and NRRD, checked to be whole and laid out as columns and rows.

The first axis of such a file is the picture's columns and the second its rows, as ITK's tools (3D Slicer, ITK-SNAP,
SimpleITK) store a picture: direction cosines are the identity in DICOM's patient axes. Any other direction says that
columns or rows run the other way, and a mammogram has no patient axes to settle it: refused.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mammo_aln.cohort.annotations.documents import read_bytes
from mammo_aln.dicom.decode import MAX_PIXELS
from mammo_aln.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

DIRECTION_TOLERANCE = 1e-3
NIFTI_HEADERS = {348: ("h", 40, 70, "f", 108, 344, b"n+1"), 540: ("q", 16, 12, "q", 168, 4, b"n+2")}
"""Header size of NIfTI-1 and -2 to the type and offset of `dim`, offset of `datatype`, type and offset of `vox_offset`,
offset and text of the magic word of one file (nifti1.h, nifti2.h)."""
FURTHER_AXES = 7


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
        _refuse_cut_nifti(path)
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


def _refuse_cut_nifti(path: Path) -> None:
    """Refuse a NIfTI file with fewer bytes than its header says: ITK reads the missing pixels as 0.

    Raises:
        InputError: cut off, a broken gzip stream, or no NIfTI header.
    """
    content = read_bytes(path)
    if content[:2] == b"\x1f\x8b":
        try:
            content = _inflated(content, path)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path}: its gzip stream is broken or cut off ({error})") from error
    for order in "<>":
        size = struct.unpack(f"{order}i", content[:4].ljust(4, b"\0"))[0]
        if size in NIFTI_HEADERS and len(content) >= size:
            *_, magic_at, magic = NIFTI_HEADERS[size]
            if content[magic_at : magic_at + 3] == magic:
                break
    else:
        raise InputError(f"{path}: no header of a NIfTI file (n+1 or n+2), or cut off within it")
    count, dim_at, type_at, offset_type, offset_at, *_ = NIFTI_HEADERS[size]
    dim = struct.unpack_from(f"{order}8{count}", content, dim_at)
    bits = struct.unpack_from(f"{order}h", content, type_at + 2)[0]
    start = struct.unpack_from(f"{order}{offset_type}", content, offset_at)[0]
    if not 1 <= dim[0] <= FURTHER_AXES or min(dim[1 : dim[0] + 1]) < 1 or bits <= 0 or not size <= start < MAX_PIXELS:
        raise InputError(f"{path}: broken NIfTI header (dim {dim}, {bits} bits, data from {start})")
    needed = int(start) + int(np.prod(dim[1 : dim[0] + 1], dtype=float)) * bits // 8
    if len(content) < needed:
        raise InputError(
            f"{path}: {len(content)} bytes after inflation, its header needs {needed}: the file is cut off"
        )


def _inflated(content: bytes, path: Path) -> bytes:
    limit = 8 * MAX_PIXELS
    with gzip.GzipFile(fileobj=BytesIO(content)) as stream:
        inflated = stream.read(limit + 1)
        if len(inflated) > limit:
            raise InputError(f"{path}: inflates to more than {limit} bytes: expected one picture's mask")
    return inflated
