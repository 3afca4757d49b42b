"""The tags that everything below needs, typed and read in one pass; what is broken is named, not hidden."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from mammo_aln.dicom import decode as dicom
from mammo_aln.dicom.kinds import FOR_PROCESSING_CLASSES, kind_of
from mammo_aln.dicom.tags import Lut, Pair, TagReader, VoiWindow
from mammo_aln.dicom.views import modifier_named, view_named


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """Tags of one image. Lengths in millimetres; pairs are (row, column) spacing; None = absent or broken (see
    `broken_tags`)."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    transfer_syntax: str
    modality: str
    sop_class: str
    image_type: tuple[str, ...]
    kind: str
    for_processing: bool
    laterality: str | None
    view: str | None
    view_modifiers: tuple[str, ...]
    patient_orientation: tuple[str, str] | None
    pixel_spacing: Pair | None
    calibration_type: str | None
    imager_spacing: Pair | None
    magnification: float | None
    source_to_detector_mm: float | None
    source_to_patient_mm: float | None
    rescale: Pair | None
    modality_luts: tuple[Lut | None, ...]
    voi_luts: tuple[Lut | None, ...]
    windows: tuple[VoiWindow | None, ...]
    padding: tuple[int, int] | None
    presentation_lut_shape: str
    intensity_relationship: str
    intensity_sign: int | None
    implant: bool
    broken_tags: tuple[str, ...]


def _first(values: list[Any]) -> Any:
    return next((value for value in values if value not in (None, "", ())), None)


def _windows(tags: TagReader, place: Dataset) -> list[VoiWindow | None]:
    centers, widths = tags.numbers("WindowCenter", place), tags.numbers("WindowWidth", place)
    function = tags.word("VOILUTFunction", place) or "LINEAR"
    found: list[VoiWindow | None] = [VoiWindow(c, w, function) for c, w in zip(centers, widths, strict=False)]
    return found + [None] * abs(len(centers) - len(widths))


def _views(tags: TagReader) -> tuple[str | None, str, tuple[str, ...]]:
    """The view, the side that its text names, and the modifiers that matter."""
    codes = tags.items("ViewCodeSequence")
    modifiers = [
        *tags.items("ViewModifierCodeSequence"),
        *(m for code in codes for m in tags.items("ViewModifierCodeSequence", code)),
    ]
    named = {modifier_named(tags.word("CodeValue", m), tags.word("CodeMeaning", m)) for m in modifiers}
    coded = [(tags.word("CodeValue", code), tags.word("CodeMeaning", code)) for code in codes[:1]] or [("", "")]
    view, side, displaced = view_named(tags.word("ViewPosition"), *coded[0])
    named |= {"implant_displaced"} if displaced else set()
    return view or None, side, tuple(sorted(name for name in named if name))


def _laterality(tags: TagReader, side_of_view: str) -> str | None:
    anatomy = tags.places("FrameAnatomySequence")[1:]
    found = [
        tags.word("ImageLaterality"),
        *(tags.word("FrameLaterality", place) for place in anatomy),
        tags.word("Laterality"),
        side_of_view,
    ]
    return _first([letter for letter in found if letter in ("L", "R")])


def _padding(tags: TagReader, bits_allocated: int, signed: bool) -> tuple[int, int] | None:
    """The padding values, whatever sign their own VR gives them: as words they are what the pixels' sign makes them."""
    first, last = tags.number("PixelPaddingValue"), tags.number("PixelPaddingRangeLimit")
    if first is None:
        return None
    words, smallest = 1 << bits_allocated, -(1 << (bits_allocated - 1)) if signed else 0
    ends = [(int(value) - smallest) % words + smallest for value in (first, first if last is None else last)]
    return min(ends), max(ends)


def header_of(dataset: FileDataset, path: str | Path) -> ImageHeader:
    """Typed header of a parsed file.

    Raises:
        UnreadableDicom: a tag that no image can do without is absent or broken.
    """
    path = Path(path)
    tags = TagReader(dataset)
    whole = {k: dicom.whole_number(dataset, k, path) for k in ("Rows", "Columns", "BitsAllocated")}
    frames = dicom.whole_number(dataset, "NumberOfFrames", path, 1) or 1
    signed = dicom.whole_number(dataset, "PixelRepresentation", path, 0) == 1
    voi_places = tags.places("FrameVOILUTSequence")
    value_places = tags.places("PixelValueTransformationSequence")
    spacing_places = tags.places("PixelMeasuresSequence")
    geometry_places = [*tags.places("XRay3DAcquisitionSequence"), *tags.items("XRay3DAcquisitionSequence")]
    image_type = tuple(str(value).strip().upper() for value in tags.several("ImageType"))
    described = ("SeriesDescription", "AcquisitionDeviceProcessingDescription")
    descriptions = [tags.word(keyword) for keyword in described]
    view, side_of_view, modifiers = _views(tags)
    orientation = tuple(str(value).strip().upper() for value in tags.several("PatientOrientation"))
    slope = _first([tags.numbers("RescaleSlope", place, count=1) for place in value_places])
    intercept = _first([tags.numbers("RescaleIntercept", place, count=1) for place in value_places])
    sign = tags.number("PixelIntensityRelationshipSign")

    def geometry(keyword: str) -> float | None:
        return _first([tags.number(keyword, place) for place in geometry_places])

    return ImageHeader(
        rows=whole["Rows"],
        columns=whole["Columns"],
        frames=frames,
        samples=dicom.whole_number(dataset, "SamplesPerPixel", path, 1),
        photometric=tags.word("PhotometricInterpretation"),
        bits_allocated=whole["BitsAllocated"],
        bits_stored=dicom.whole_number(dataset, "BitsStored", path, whole["BitsAllocated"]),
        signed=signed,
        transfer_syntax=str(UID(dataset.file_meta.get("TransferSyntaxUID") or "")),
        modality=tags.word("Modality"),
        sop_class=tags.word("SOPClassUID"),
        image_type=image_type,
        kind=kind_of(tags.word("SOPClassUID"), image_type, descriptions, frames),
        for_processing=tags.word("PresentationIntentType") == "FOR PROCESSING"
        or tags.word("SOPClassUID") in FOR_PROCESSING_CLASSES,
        laterality=_laterality(tags, side_of_view),
        view=view,
        view_modifiers=modifiers,
        patient_orientation=(orientation[0], orientation[1]) if len(orientation) == 2 else None,
        pixel_spacing=_first([tags.pair("PixelSpacing", place) for place in spacing_places]),
        calibration_type=tags.word("PixelSpacingCalibrationType") or None,
        imager_spacing=_first([tags.pair("ImagerPixelSpacing", place) for place in spacing_places]),
        magnification=geometry("EstimatedRadiographicMagnificationFactor"),
        source_to_detector_mm=geometry("DistanceSourceToDetector"),
        source_to_patient_mm=geometry("DistanceSourceToPatient"),
        rescale=(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0) if slope or intercept else None,
        modality_luts=tuple(tags.lut(item) for item in tags.items("ModalityLUTSequence")),
        voi_luts=tuple(tags.lut(item) for place in voi_places for item in tags.items("VOILUTSequence", place)),
        windows=tuple(window for place in voi_places for window in _windows(tags, place)),
        padding=_padding(tags, whole["BitsAllocated"], signed),
        presentation_lut_shape=tags.word("PresentationLUTShape"),
        intensity_relationship=tags.word("PixelIntensityRelationship"),
        intensity_sign=int(sign) if sign in (-1.0, 1.0) else None,
        implant=tags.word("BreastImplantPresent") == "YES",
        broken_tags=tuple(sorted(set(tags.broken))),
    )


def read_header(path: str | Path, *, max_pixels: int = dicom.MAX_PIXELS) -> ImageHeader:
    """Typed header of a file; the pixel data is not read.

    Raises:
        UnreadableDicom: not DICOM, or no image in it.
    """
    with dicom.refusing(Path(path), "reading the header"):
        return header_of(dicom.read_file(path, max_pixels=max_pixels, with_pixels=False), path)
