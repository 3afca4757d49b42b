"""DICOM series and RT structure sets by the text of PS3.3 A.3, A.4, A.19 and C.8.8.6, written without the product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.measure import find_contours

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
FRAME = "1.2.826.0.1.3680043.9.1.7"


@dataclass(frozen=True)
class Stack:
    """Where a series' slices lie: `rows_mm` and `columns_mm` apart, along `cosines`, one above the other."""

    rows_mm: float = 0.8
    columns_mm: float = 0.6
    slices_mm: float = 2.5
    cosines: tuple[float, ...] = AXIAL
    origin: tuple[float, float, float] = (-31.25, 12.5, 104.75)
    uids: list[str] = field(default_factory=lambda: [str(generate_uid()) for _ in range(64)])

    def position(self, number: int) -> np.ndarray:
        normal = np.cross(self.cosines[:3], self.cosines[3:])
        return np.asarray(self.origin) + number * self.slices_mm * normal

    def points(self, number: int, pixels: Iterable[Sequence[float]]) -> list[float]:
        """Flat millimetres of points (row, column; pixel centres are whole numbers), rounded as files round them."""
        rows, columns = np.asarray(list(pixels), dtype=float).T
        along_row, along_column = np.asarray(self.cosines[:3]), np.asarray(self.cosines[3:])
        sideways = np.outer(columns * self.columns_mm, along_row) + np.outer(rows * self.rows_mm, along_column)
        return np.round(self.position(number) + sideways, 6).ravel().tolist()


def item(**values: object) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def saved(data: Dataset, path: Path, sop_class: str, uid: str) -> Path:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, array: np.ndarray, stack: Stack, **tags: object) -> Path:
    """Write a volume (slices, rows, columns) as MR slices, in an order that their names do not tell."""
    folder.mkdir(parents=True)
    uid = generate_uid()
    for number, plane in enumerate(array.astype(np.int16)):
        slice_ = item(
            Modality="MR", SeriesInstanceUID=uid, StudyInstanceUID="1.2.3", FrameOfReferenceUID=FRAME,
            InstanceNumber=len(array) - number, ImagePositionPatient=[round(x, 6) for x in stack.position(number)],
            ImageOrientationPatient=list(stack.cosines), PixelSpacing=[stack.rows_mm, stack.columns_mm],
            SliceThickness=stack.slices_mm, Rows=plane.shape[0], Columns=plane.shape[1], SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15,
            PixelRepresentation=1, PixelData=plane.tobytes(),
        )  # fmt: skip
        for keyword, value in tags.items():
            setattr(slice_, keyword, value)
        saved(
            slice_,
            folder / f"{(7 * number) % len(array)}.{number}.dcm",
            "1.2.840.10008.5.1.4.1.1.4",
            stack.uids[number],
        )
    return folder


def contour(data: Sequence[float], uid: str = "", kind: str = "CLOSED_PLANAR", **tags: object) -> Dataset:
    made = item(ContourGeometricType=kind, NumberOfContourPoints=len(data) // 3, ContourData=list(data), **tags)
    if uid:
        made.ContourImageSequence = [item(ReferencedSOPClassUID="1.2.840.1", ReferencedSOPInstanceUID=uid)]
    return made


def structure_set(path: Path, rois: dict[str, list[Dataset]], frame: str = FRAME) -> Path:
    """Write a set of ROIs by name, numbered from 3."""
    numbered = list(enumerate(rois.items(), 3))
    data = item(
        Modality="RTSTRUCT",
        StructureSetROISequence=[
            item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame) for number, (name, _) in numbered
        ],
        ROIContourSequence=[
            item(ReferencedROINumber=number, ContourSequence=contours) for number, (_, contours) in numbered
        ],
    )
    return saved(data, path, "1.2.840.10008.5.1.4.1.1.481.3", str(generate_uid()))


def outlines(mask: np.ndarray, stack: Stack) -> list[Dataset]:
    """Contours of a mask (slices, rows, columns) half a pixel around its centres, by scikit-image."""
    drawn = []
    for number, plane in enumerate(mask):
        for line in find_contours(np.pad(plane.astype(float), 1), 0.5):
            drawn.append(contour(stack.points(number, line[:-1] - 1), stack.uids[number]))
    return drawn
