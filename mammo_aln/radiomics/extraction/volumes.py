"""Volumes and masks from NIfTI, NRRD, MetaImage, DICOM series, SEG and RT structure sets, on one grid or refused."""

from __future__ import annotations

import gzip
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray

from mammo_aln.cohort.annotations.nifti import MOST_VOXELS, read_to_end, reading, refuse_damaged_nifti
from mammo_aln.cohort.annotations.slices import whole_numbers
from mammo_aln.dicom.decode import refusing
from mammo_aln.errors import InputError, shortened
from mammo_aln.radiomics.extraction.contours import read_contours
from mammo_aln.radiomics.extraction.segmentation import read_segmentation
from mammo_aln.radiomics.extraction.series import DIRECTION_TOLERANCE, read_series, series_of

NIFTI_ENDINGS = (".nii", ".nii.gz")
DATA_FILE = {
    **dict.fromkeys((".mhd", ".mha"), re.compile(rb"^\s*ElementDataFile\s*=\s*(.+?)\s*$", re.MULTILINE)),
    **dict.fromkeys((".nhdr", ".nrrd"), re.compile(rb"^\s*data ?file\s*:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)),
}
"""Where a header says in which file the voxels stand."""
HEADER_BYTES = 1 << 16
GZIP_ENCODING = re.compile(rb"^encoding\s*:\s*(gzip|gz)\s*$", re.MULTILINE | re.IGNORECASE)
"""What NRRD calls it; ITK does not compare the sum at its end."""
VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
SPACING_TOLERANCE = 1e-3
"""Relative; headers store single precision."""
POSITION_TOLERANCE_MM = 0.05
THROUGH_PLANE_FACTOR = 1.2


@dataclass(frozen=True)
class Volume:
    """An image with its region's mask on one grid, slices along the first axis.

    Args:
        array: intensities (slices, rows, columns), float32.
        mask: the region, same shape.
        spacing_mm: distance between voxels along each axis of `array`.
        notes: what was found or done that is not plain reading: `spacing_stated`, `mask_resampled`, `mask_placed`, ...
        labels: all values of the mask's file (a SEG's segment numbers).
    """

    array: NDArray[np.float32]
    mask: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...] = ()
    labels: tuple[float, ...] = ()


def read_volume(
    image_path: Path,
    mask_path: Path,
    *,
    label: int = 0,
    roi: str = "",
    stated_spacing_mm: tuple[float, ...] = (),
    resample_mask: bool = False,
) -> Volume:
    """Read an image and a region of its mask.

    Args:
        image_path: NIfTI, NRRD, MetaImage or a folder that holds one DICOM series.
        mask_path: the same, or a DICOM SEG or RT structure set.
        label: the mask's value (a SEG's segment number) that is the region; 0 takes every value but 0. Empty
            where the file lacks it: a node that vanished, or a wrong number; only the time point can tell. Of a
            structure set the number of an ROI, which must stand there.
        roi: name of the ROI of a structure set that holds several.
        stated_spacing_mm: spacing of the file's first, second and third axis; replaces what both headers say.
        resample_mask: bring a mask on another grid to the image's by nearest neighbour.

    Raises:
        InputError: a file is missing or unreadable, the two grids differ (size, spacing, origin or direction; both
            files and values are named), a header says exactly 1 x 1 x 1 mm and no spacing was stated (what a lost
            spacing looks like), or contours do not lie on the image's slices.
    """
    image = _read(image_path)
    if not stated_spacing_mm:
        _refuse_lost_spacing(image, image_path)
    header_mm = image.GetSpacing()
    notes = _restate(image, stated_spacing_mm)
    mask_path = _lone_object(mask_path)
    if is_structure_set(mask_path):
        if notes:
            raise InputError(
                f"{image_path}: its header says {_shown(header_mm)} mm, volumes.csv {_shown(stated_spacing_mm)}: where"
                f" the contours of {mask_path} lie in it is not known; expected an image whose header is true"
            )
        labels: tuple[float, ...] = ()
        series = series_of(image_path) if image_path.is_dir() else None
        mask, how = read_contours(mask_path, image, series, name=roi, number=label)
    else:
        if roi:
            raise InputError(f"{mask_path}: mask_roi = {shortened(roi)} in volumes.csv; expected an RT structure set")
        mask, labels = read_segmentation(mask_path, label) if is_dicom_file(mask_path) else _region(mask_path, label)
        notes = _restate(mask, stated_spacing_mm) or notes
        mask, how = _on_grid_of(image, mask, image_path, mask_path, resample_mask)
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{image_path}: holds values that are not finite; expected a number in every voxel")
    inside = sitk.GetArrayFromImage(mask) > 0
    spacing = image.GetSpacing()[::-1]
    axis = slice_axis(spacing)
    order = (axis, *(other for other in range(3) if other != axis))
    return Volume(
        np.ascontiguousarray(array.transpose(order)),
        np.ascontiguousarray(inside.transpose(order)),
        (spacing[order[0]], spacing[order[1]], spacing[order[2]]),
        (*notes, *how),
        labels,
    )


def slice_axis(spacing_mm: tuple[float, ...]) -> int:
    """The axis that slices lie along: the one with clearly the widest spacing, else the first (the file's third)."""
    widest = int(np.argmax(spacing_mm))
    others = [step for axis, step in enumerate(spacing_mm) if axis != widest]
    return widest if spacing_mm[widest] > THROUGH_PLANE_FACTOR * max(others) else 0


def is_dicom_file(path: Path) -> bool:
    """A single DICOM file (what a SEG is), by its ending or its preamble."""
    if path.is_dir() or path.name.lower().endswith(VOLUME_ENDINGS) or not path.is_file():
        return False
    with path.open("rb") as stream:
        return path.suffix.lower() == ".dcm" or stream.read(132)[128:] == b"DICM"


def is_structure_set(path: Path) -> bool:
    """A DICOM file that says to hold an RT structure set."""
    return is_dicom_file(path) and _modality(path) == "RTSTRUCT"


def _lone_object(path: Path) -> Path:
    """Take the SEG or structure set of a folder that holds that file alone; any other path as it is."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else []
    lone = len(files) == 1 and is_dicom_file(files[0]) and _modality(files[0]) in ("SEG", "RTSTRUCT")
    return files[0] if lone else path


def _modality(path: Path) -> str:
    with refusing(path, "reading the header"):
        head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"], force=True)
        return str(head.get("Modality"))


def _restate(grid: sitk.Image, stated_mm: tuple[float, ...]) -> list[str]:
    """Put a stated spacing in the place of a grid's own; a note where they differ."""
    if not stated_mm or np.allclose(grid.GetSpacing(), stated_mm, rtol=SPACING_TOLERANCE):
        return []
    grid.SetSpacing(stated_mm)
    return ["spacing_stated"]


def _read(path: Path) -> sitk.Image:
    if path.is_dir():
        return _three_axes(read_series(path), path)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; expected a volume")
    if path.name.lower().endswith(NIFTI_ENDINGS):
        refuse_damaged_nifti(path)
    _refuse_odd_data(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if (count := math.prod(reader.GetSize())) > MOST_VOXELS:
            raise InputError(f"{path}: {reader.GetSize()} is {count} voxels; expected at most {MOST_VOXELS}")
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path}: cannot be read as a volume ({', '.join(VOLUME_ENDINGS)}): {reason}") from error
    return _three_axes(image, path)


def _refuse_odd_data(path: Path) -> None:
    """Refuse voxels in anything but one regular file beside their header, or behind it in a gzip stream that is cut."""
    pattern = DATA_FILE.get(path.suffix.lower())
    if pattern is None:
        return
    with reading(path) as stream:
        head = stream.read(HEADER_BYTES).partition(b"\n\n")[0]
        match = pattern.search(head.replace(b"\r", b""))
        name = match[1].decode("utf-8", "replace") if match else "LOCAL"
        if GZIP_ENCODING.search(head) and name == "LOCAL":
            stream.seek(len(head) + 2)
            read_to_end(cast(BinaryIO, gzip.GzipFile(fileobj=stream)), path, 8 * MOST_VOXELS)
    if name.upper() != "LOCAL" and (Path(name).name != name or not (path.parent / name).is_file()):
        raise InputError(f"{path}: its voxels stand in {shortened(name)}; expected one file beside it, or in it")


def _three_axes(image: sitk.Image, path: Path) -> sitk.Image:
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path}: {image.GetSize()} voxels with {image.GetNumberOfComponentsPerPixel()} values each;"
            " expected one value in each voxel of three axes"
        )
    return image


def _region(path: Path, label: int) -> tuple[sitk.Image, tuple[float, ...]]:
    mask = _read(path)
    values = np.unique(whole_numbers(sitk.GetArrayViewFromImage(mask), path))
    if not label and values.size and values[0] < 0:
        raise InputError(
            f"{path}: holds {values[0]:g}: expected 0 outside the region and a number above 0 inside, or mask_label in"
            " volumes.csv, which says what is the region"
        )
    chosen = mask == label if label else mask != 0
    return sitk.Cast(chosen, sitk.sitkUInt8), tuple(values.tolist())


def _refuse_lost_spacing(image: sitk.Image, path: Path) -> None:
    if np.allclose(image.GetSpacing(), 1.0, atol=1e-9):
        raise InputError(
            f"{path}: the header says exactly 1 x 1 x 1 mm, which is what a lost spacing looks like; state spacing_mm"
            " in volumes.csv (1 1 1 if that is true)"
        )


def _on_grid_of(
    image: sitk.Image, mask: sitk.Image, image_path: Path, mask_path: Path, resample: bool
) -> tuple[sitk.Image, tuple[str, ...]]:
    differences = grid_differences(image, mask)
    if not differences:
        return mask, ()
    if is_dicom_file(mask_path) and _same_lattice(image, mask):
        # A SEG stores only the slices that hold something: its frames lie on the image's own voxels.
        return sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0), ("mask_placed",)
    if not resample:
        raise InputError(
            f"{image_path} and {mask_path} lie on different grids: {'; '.join(differences)}. Expected the same, or"
            " radiomics.resample_masks=true, or the true spacing_mm in volumes.csv"
        )
    return sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0), ("mask_resampled",)


def grid_differences(image: sitk.Image, mask: sitk.Image) -> list[str]:
    """In what two grids differ, with both values (image, mask); empty where they agree within tolerance."""
    differences = []
    if image.GetSize() != mask.GetSize():
        differences.append(f"size {image.GetSize()} against {mask.GetSize()}")
    if not np.allclose(image.GetSpacing(), mask.GetSpacing(), rtol=SPACING_TOLERANCE, atol=0.0):
        differences.append(f"spacing {_shown(image.GetSpacing())} against {_shown(mask.GetSpacing())} mm")
    if not np.allclose(image.GetOrigin(), mask.GetOrigin(), rtol=0.0, atol=POSITION_TOLERANCE_MM):
        differences.append(f"origin {_shown(image.GetOrigin())} against {_shown(mask.GetOrigin())} mm")
    if not np.allclose(image.GetDirection(), mask.GetDirection(), rtol=0.0, atol=DIRECTION_TOLERANCE):
        differences.append(f"direction {_shown(image.GetDirection())} against {_shown(mask.GetDirection())}")
    return differences


def _same_lattice(image: sitk.Image, mask: sitk.Image) -> bool:
    """Check by first and last corner that every voxel of the mask is one of the image's."""
    if not np.allclose(image.GetDirection(), mask.GetDirection(), rtol=0.0, atol=DIRECTION_TOLERANCE):
        return False
    corners = ((0, 0, 0), tuple(side - 1 for side in mask.GetSize()))
    ends = [
        np.asarray(image.TransformPhysicalPointToContinuousIndex(mask.TransformIndexToPhysicalPoint(corner)))
        for corner in corners
    ]
    spans = np.rint(ends[1] - ends[0]) == np.asarray(mask.GetSize()) - 1
    whole = all(np.abs(corner - np.rint(corner)).max() < 0.05 for corner in ends)
    inside = (np.rint(ends[0]) >= 0).all() and (np.rint(ends[1]) < np.asarray(image.GetSize())).all()
    return bool(spans.all() and whole and inside)


def _shown(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
