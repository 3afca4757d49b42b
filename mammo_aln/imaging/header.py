"""The tags that everything below needs, typed and read in one pass; what is broken is named, not hidden."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from mammo_aln.imaging import dicom
from mammo_aln.imaging.tags import Lut, Pair, TagReader, VoiWindow


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


VIEW_BY_CODE = {
    **dict.fromkeys(("R-10242", "399162004"), "CC"),
    **dict.fromkeys(("R-10226", "399368009"), "MLO"),
    **dict.fromkeys(("R-10224", "399260004"), "ML"),
    **dict.fromkeys(("R-10228", "399352003"), "LM"),
    **dict.fromkeys(("R-10230", "399099002"), "LMO"),
    **dict.fromkeys(("R-10244", "399196006"), "FB"),
    **dict.fromkeys(("R-102D0", "399188001"), "SIO"),
    **dict.fromkeys(("R-40AAA", "441555000"), "ISO"),
    **dict.fromkeys(("R-1024A", "399192008"), "XCCL"),
    **dict.fromkeys(("R-1024B", "399101009"), "XCCM"),
    **dict.fromkeys(("G-8310", "127457009"), "SPECIMEN"),
}
"""DICOM PS3.16 context group 4014 (view for mammography), SNOMED-RT and SNOMED-CT codes."""

MODIFIER_BY_CODE = {
    **dict.fromkeys(("R-102D5", "399209000"), "implant_displaced"),
    **dict.fromkeys(("R-102D6", "399163009"), "magnification"),
    **dict.fromkeys(("R-102D7", "399055006"), "spot_compression"),
}
"""DICOM PS3.16 context group 4015 (view modifier), those that change what a crop shows."""

MODIFIER_WORDS = {"implant displaced": "implant_displaced", "magnif": "magnification", "spot": "spot_compression"}

TOMOSYNTHESIS_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.13.1.{number}" for number in (3, 4, 5))
"""Breast Tomosynthesis, and Breast Projection X-Ray For Presentation and For Processing."""

FOR_PROCESSING_CLASSES = ("1.2.840.10008.5.1.4.1.1.1.2.1", "1.2.840.10008.5.1.4.1.1.1.1.1")
SYNTHETIC_WORDS = (
    "TOMO_2D",
    "GENERATED_2D",
    "C-VIEW",
    "CVIEW",
    "S-VIEW",
    "INSIGHT2D",
    "INSIGHT 2D",
    "V-PREVIEW",
    "SYNTHETIC 2D",
    "SYNTHETIC_2D",
)


def _first(values: list[Any]) -> Any:
    return next((value for value in values if value not in (None, "", ())), None)


def _windows(tags: TagReader, place: Dataset) -> list[VoiWindow | None]:
    centers, widths = tags.numbers("WindowCenter", place), tags.numbers("WindowWidth", place)
    function = tags.word("VOILUTFunction", place) or "LINEAR"
    found: list[VoiWindow | None] = [VoiWindow(c, w, function) for c, w in zip(centers, widths, strict=False)]
    return found + [None] * abs(len(centers) - len(widths))


def _kind(tags: TagReader, image_type: tuple[str, ...], frames: int) -> str:
    """`tomosynthesis`, `synthetic_2d`, `stereotactic` or `projection`."""
    words = "|".join(
        (
            *image_type,
            *(tags.word(keyword) for keyword in ("SeriesDescription", "AcquisitionDeviceProcessingDescription")),
        )
    )
    if frames == 1 and any(word in words for word in SYNTHETIC_WORDS):
        return "synthetic_2d"
    if tags.word("SOPClassUID") in TOMOSYNTHESIS_CLASSES or any(
        "TOMO" in value and "2D" not in value for value in image_type
    ):
        return "tomosynthesis"
    if "STEREO" in words:
        return "stereotactic"
    return "projection"


def _views(tags: TagReader) -> tuple[str | None, tuple[str, ...]]:
    codes = tags.items("ViewCodeSequence")
    modifiers = [
        *tags.items("ViewModifierCodeSequence"),
        *(m for code in codes for m in tags.items("ViewModifierCodeSequence", code)),
    ]
    named = [
        MODIFIER_BY_CODE.get(tags.word("CodeValue", m)) or _by_meaning(tags.word("CodeMeaning", m)) for m in modifiers
    ]
    view = tags.word("ViewPosition") or _first([VIEW_BY_CODE.get(tags.word("CodeValue", code)) for code in codes])
    return view or None, tuple(sorted({name for name in named if name}))


def _by_meaning(meaning: str) -> str | None:
    return next((name for word, name in MODIFIER_WORDS.items() if word in meaning.lower()), None)


def _laterality(tags: TagReader) -> str | None:
    anatomy = tags.places("FrameAnatomySequence")[1:]
    found = [
        tags.word("ImageLaterality"),
        *(tags.word("FrameLaterality", place) for place in anatomy),
        tags.word("Laterality"),
    ]
    return _first([letter for letter in found if letter in ("L", "R")])


def _padding(tags: TagReader) -> tuple[int, int] | None:
    first, last = tags.number("PixelPaddingValue"), tags.number("PixelPaddingRangeLimit")
    if first is None:
        return None
    last = first if last is None else last
    return int(min(first, last)), int(max(first, last))


def header_of(dataset: FileDataset, path: str | Path) -> ImageHeader:
    """Typed header of a parsed file.

    Raises:
        UnreadableDicom: a tag that no image can do without is absent or broken.
    """
    path = Path(path)
    tags = TagReader(dataset)
    whole = {k: dicom.whole_number(dataset, k, path) for k in ("Rows", "Columns", "BitsAllocated")}
    frames = dicom.whole_number(dataset, "NumberOfFrames", path, 1) or 1
    voi_places = tags.places("FrameVOILUTSequence")
    value_places = tags.places("PixelValueTransformationSequence")
    spacing_places = tags.places("PixelMeasuresSequence")
    geometry_places = [*tags.places("XRay3DAcquisitionSequence"), *tags.items("XRay3DAcquisitionSequence")]
    image_type = tuple(str(value).strip().upper() for value in tags.several("ImageType"))
    view, modifiers = _views(tags)
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
        signed=dicom.whole_number(dataset, "PixelRepresentation", path, 0) == 1,
        transfer_syntax=str(UID(dataset.file_meta.get("TransferSyntaxUID") or "")),
        modality=tags.word("Modality"),
        sop_class=tags.word("SOPClassUID"),
        image_type=image_type,
        kind=_kind(tags, image_type, frames),
        for_processing=tags.word("PresentationIntentType") == "FOR PROCESSING"
        or tags.word("SOPClassUID") in FOR_PROCESSING_CLASSES,
        laterality=_laterality(tags),
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
        padding=_padding(tags),
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
