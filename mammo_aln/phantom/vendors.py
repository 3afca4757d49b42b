"""Four vendors' ways to store a view: spacing tags, window, polarity, bits, transfer syntax; the file around it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    generate_uid,
)

from mammo_aln.phantom.breast import View
from mammo_aln.phantom.texture import Image

Stored = NDArray[np.uint16]
Side = Literal["L", "R"]
Geometry = Literal["magnification_factor", "calibrated", "distances", "recalculated"]
Voi = Literal["linear", "sigmoid", "lut"]


@dataclass(frozen=True)
class Vendor:
    """One mammography system.

    Args:
        name: written as the manufacturer.
        spacing_mm: pixel side in the plane of the breast at magnification 1.
        geometry: which tags tell the plane of the breast (see `_write_spacing`).
        magnification: least and greatest magnification of the breast onto the detector.
        bits: bits stored.
        voi: how stored values become display values.
        inverted: MONOCHROME1, whose stored values fall as brightness rises.
        syntax: transfer syntax.
        always_left: the stored chest wall is on the left for both breasts; otherwise on the right for the right breast.
        gamma: the vendor's processing raises brightness to this power.
    """

    name: str
    spacing_mm: float
    geometry: Geometry
    magnification: tuple[float, float]
    bits: int
    voi: Voi
    inverted: bool
    syntax: UID
    always_left: bool = False
    gamma: float = 1.0


VENDORS: tuple[Vendor, ...] = (
    Vendor("Phantom Alder", 0.175, "magnification_factor", (1.0, 1.2), 12, "linear", False, ExplicitVRLittleEndian),
    Vendor("Phantom Birch", 0.16, "calibrated", (1.08, 1.08), 14, "lut", True, JPEGLSLossless, False, 0.92),
    Vendor("Phantom Cedar", 0.19, "distances", (1.06, 1.06), 12, "sigmoid", False, JPEG2000Lossless, True, 1.08),
    Vendor("Phantom Douglas", 0.145, "recalculated", (1.05, 1.05), 12, "linear", True, JPEGLosslessSV1),
)
"""Taken in turn by the centres."""
FULL_SIZE_SHRINK = 0.45
"""Full-size pixels are this much smaller: 0.065 to 0.086 mm."""
DETECTOR_DISTANCE_MM = 660.0

ENCODERS: dict[UID, Callable[[Stored, int], bytes | bytearray]] = {
    JPEGLSLossless: lambda stored, bits: imagecodecs.jpegls_encode(stored, level=0),
    JPEG2000Lossless: lambda stored, bits: imagecodecs.jpeg2k_encode(
        stored, level=0, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    JPEGLosslessSV1: lambda stored, bits: imagecodecs.jpeg_encode(
        stored, lossless=True, predictor=1, bitspersample=bits
    ),
}
"""Transfer syntaxes that compress; any other is written as it is."""


@dataclass(frozen=True)
class Exposure:
    """The magnification of one image, and the stored values of dark and bright; drawn anew for every image."""

    magnification: float
    dark: float
    bright: float

    @staticmethod
    def draw(vendor: Vendor, rng: np.random.Generator) -> Exposure:
        """Draw the geometry and the range of one image."""
        top = float(2**vendor.bits - 1)
        return Exposure(
            round(float(rng.uniform(*vendor.magnification)), 3),
            round(top * float(rng.uniform(0.02, 0.08))),
            round(top * float(rng.uniform(0.80, 0.95))),
        )


def detector_spacing_mm(vendor: Vendor, full_size: bool) -> float:
    """Pixel side at the detector, rounded as a header prints it."""
    return round(vendor.spacing_mm * vendor.magnification[0] * (FULL_SIZE_SHRINK if full_size else 1.0), 4)


def breast_spacing_mm(vendor: Vendor, exposure: Exposure, full_size: bool) -> float:
    """Pixel side in the plane of the breast: the detector's, divided by the magnification."""
    return round(detector_spacing_mm(vendor, full_size) / exposure.magnification, 7)


@dataclass(frozen=True)
class Identity:
    """The words of one file: pseudonyms only, no name and no date of birth."""

    patient_id: str
    image_id: str
    center: str
    laterality: Side
    view: View


def chest_wall_left(vendor: Vendor, laterality: str) -> bool:
    """Tell if the stored matrix has the chest wall on its left."""
    return vendor.always_left or laterality == "L"


SIGMOID_REACH = 0.02
"""The sigmoid never reaches 0 or 1: what is darker than this is shown this dark."""


def _undo_sigmoid(shade: Image) -> Image:
    kept = np.clip(shade, SIGMOID_REACH, 1.0 - SIGMOID_REACH)
    steepest = np.log(1.0 / SIGMOID_REACH - 1.0)
    return np.asarray(0.5 + np.log(kept / (1.0 - kept)) / (2.0 * steepest), np.float32)


UNDO_VOI: dict[Voi, Callable[[Image], Image]] = {
    "linear": lambda shade: shade,
    "sigmoid": _undo_sigmoid,
    "lut": np.sqrt,
}


def stored_values(brightness: Image, vendor: Vendor, exposure: Exposure) -> Stored:
    """Values that the vendor's VOI and polarity turn back into about this brightness; air stays dark."""
    shade = UNDO_VOI[vendor.voi](np.clip(brightness, 0.0, 1.0) ** np.float32(vendor.gamma))
    if vendor.inverted:
        shade = 1.0 - shade
    return np.rint(exposure.dark + (exposure.bright - exposure.dark) * shade).astype(np.uint16)


def write_mammogram(
    path: Path, stored: Stored, vendor: Vendor, exposure: Exposure, who: Identity, full_size: bool
) -> None:
    """Write one Digital Mammography X-Ray Image For Presentation."""
    kind = DigitalMammographyXRayImageStorageForPresentation
    instance = generate_uid(entropy_srcs=["instance", who.center, who.image_id])
    meta = FileMetaDataset()
    _tag(meta, MediaStorageSOPClassUID=kind, MediaStorageSOPInstanceUID=instance, TransferSyntaxUID=vendor.syntax)
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    _tag(
        data,
        SOPClassUID=kind,
        SOPInstanceUID=instance,
        StudyInstanceUID=generate_uid(entropy_srcs=["study", who.center, who.patient_id]),
        SeriesInstanceUID=generate_uid(entropy_srcs=["series", who.center, who.image_id]),
    )
    _write_exam(data, vendor, who)
    _write_spacing(data, vendor, exposure, full_size)
    _write_voi(data, vendor, exposure)
    _write_pixels(data, stored, vendor)
    content = io.BytesIO()
    data.save_as(content, enforce_file_format=True)
    path.write_bytes(content.getvalue())  # an error of the disk keeps its number, which pydicom's own lacks


def _tag(data: Dataset, **values: object) -> Dataset:
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def _write_exam(data: Dataset, vendor: Vendor, who: Identity) -> None:
    left = chest_wall_left(vendor, who.laterality)
    other = "R" if who.laterality == "L" else "L"
    towards = {"CC": other, "MLO": f"F{other}"}[who.view]
    _tag(data, PatientName="", PatientID=who.patient_id, PatientBirthDate="", PatientSex="F")
    _tag(data, StudyDate="20200101", StudyTime="120000", StudyID="1", AccessionNumber="", ReferringPhysicianName="")
    _tag(data, Modality="MG", PresentationIntentType="FOR PRESENTATION", SeriesNumber=1, InstanceNumber=1)
    _tag(data, Manufacturer=vendor.name, ManufacturerModelName="Synthetic")
    _tag(data, ImageType=["DERIVED", "PRIMARY"], BurnedInAnnotation="YES", LossyImageCompression="00")
    _tag(data, PixelIntensityRelationship="LOG", PixelIntensityRelationshipSign=-1 if vendor.inverted else 1)
    _tag(data, BodyPartExamined="BREAST", OrganExposed="BREAST", BreastImplantPresent="NO")
    _tag(
        data, ImageLaterality=who.laterality, ViewPosition=who.view, PatientOrientation=["A" if left else "P", towards]
    )
    code, meaning = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}[who.view]
    plain = Sequence([])
    view = _tag(
        Dataset(), CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning=meaning, ViewModifierCodeSequence=plain
    )
    _tag(data, ViewCodeSequence=Sequence([view]))


def _write_spacing(data: Dataset, vendor: Vendor, exposure: Exposure, full_size: bool) -> None:
    """Write the plane of the breast in one of four ways, all of them seen in practice."""
    detector = detector_spacing_mm(vendor, full_size)
    breast = breast_spacing_mm(vendor, exposure, full_size)
    _tag(data, ImagerPixelSpacing=[detector, detector])
    if vendor.geometry == "magnification_factor":
        _tag(data, EstimatedRadiographicMagnificationFactor=exposure.magnification)
    elif vendor.geometry == "distances":
        patient = round(DETECTOR_DISTANCE_MM / exposure.magnification, 6)
        _tag(data, DistanceSourceToDetector=DETECTOR_DISTANCE_MM, DistanceSourceToPatient=patient)
    else:
        _tag(data, PixelSpacing=[breast, breast])
    if vendor.geometry == "calibrated":
        plane = "plane of the breast"
        _tag(data, PixelSpacingCalibrationType="GEOMETRY", PixelSpacingCalibrationDescription=plane)


def _write_voi(data: Dataset, vendor: Vendor, exposure: Exposure) -> None:
    dark, bright = exposure.dark, exposure.bright
    if vendor.voi == "lut":
        _tag(data, VOILUTSequence=Sequence([_square_lut(vendor, exposure)]))
        return
    width = bright - dark
    if vendor.voi == "sigmoid":
        width *= 2.0 / np.log(1.0 / SIGMOID_REACH - 1.0)
    _tag(
        data,
        WindowCenter=(dark + bright) / 2.0,
        WindowWidth=round(float(width), 3),
        VOILUTFunction=vendor.voi.upper(),
        WindowCenterWidthExplanation="NORMAL",
    )


def _square_lut(vendor: Vendor, exposure: Exposure) -> Dataset:
    """A table that undoes the square root of `stored_values`, in the polarity of the stored values."""
    first, last = int(exposure.dark), int(exposure.bright)
    shade = np.linspace(0.0, 1.0, last - first + 1)
    shown = 1.0 - (1.0 - shade) ** 2 if vendor.inverted else shade**2
    entries = np.rint(shown * 65535.0).astype("<u2").tobytes()
    lut = _tag(Dataset(), LUTDescriptor=[shade.size, first, 16], LUTExplanation="NORMAL", LUTData=entries)
    lut["LUTData"].VR = "OW"
    return lut


def _write_pixels(data: FileDataset, stored: Stored, vendor: Vendor) -> None:
    interpretation, shape = ("MONOCHROME1", "INVERSE") if vendor.inverted else ("MONOCHROME2", "IDENTITY")
    _tag(data, SamplesPerPixel=1, PhotometricInterpretation=interpretation, PresentationLUTShape=shape)
    _tag(data, Rows=stored.shape[0], Columns=stored.shape[1], PixelRepresentation=0)
    _tag(data, BitsAllocated=16, BitsStored=vendor.bits, HighBit=vendor.bits - 1)
    _tag(data, RescaleIntercept=0, RescaleSlope=1, RescaleType="US")
    encode = ENCODERS.get(vendor.syntax)
    pixels = (
        encapsulate([bytes(encode(np.ascontiguousarray(stored), vendor.bits))])
        if encode
        else stored.astype("<u2").tobytes()
    )
    _tag(data, PixelData=pixels)
    data["PixelData"].VR = "OB" if encode else "OW"
