"""The tags that index, check, the centre shift and the pixels share, read from any header by the same rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mammo_aln.dicom.kinds import FOR_PROCESSING_CLASSES, Kind, KindTags, kind_of
from mammo_aln.dicom.tags import Level, Pair, TagReader
from mammo_aln.dicom.views import modifiers_named, view_named

SIDES = ("L", "R")
Header = TypeVar("Header", bound="ImageTags")


@dataclass(frozen=True)
class ImageTags:
    """Tags of one image. Lengths in millimetres; spacings are (row, column); None and "" = absent or broken.

    `sides` are those that the tags state, in the order in which they are believed (`L`, `R`, `B`, or what else stands
    there); `laterality` is the first `L` or `R` of them, else the side that the view's text names. `kind_tag` is
    the tag that tells the kind.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    transfer_syntax: str
    modality: str
    sop_class: str
    image_type: tuple[str, ...]
    kind: Kind
    kind_tag: str
    for_processing: bool
    sides: tuple[str, ...]
    laterality: str | None
    view: str | None
    view_modifiers: tuple[str, ...]
    pixel_spacing: Pair | None
    calibration_type: str | None
    imager_spacing: Pair | None
    magnification: float | None
    source_to_detector_mm: float | None
    source_to_patient_mm: float | None


def read_image_tags(tags: TagReader, transfer_syntax: str, header: Callable[..., Header], **own: object) -> Header:
    """Read the shared tags into a header with its own ones; an absent or broken count is 0 (frames and samples: 1)."""
    frames = tags.whole("NumberOfFrames", 1) or 1
    sop_class, bits_allocated = tags.word("SOPClassUID"), tags.whole("BitsAllocated", 0)
    image_type = tuple(str(value).strip().upper() for value in tags.several("ImageType"))
    modality = tags.word("Modality")
    kind, kind_tag = kind_of(
        KindTags(
            sop_class,
            image_type,
            (tags.word("SeriesDescription"), tags.word("AcquisitionDeviceProcessingDescription")),
            frames,
            modality,
            tags.word("ContrastBolusAgent"),
            tags.number("KVP"),
            tags.word("BurnedInAnnotation"),
        )
    )
    view, side_of_view, modifiers = _view(tags)
    anatomy = [tags.word("FrameLaterality", level) for level in tags.levels("FrameAnatomySequence")[1:]]
    sides = tuple(filter(None, [tags.word("ImageLaterality"), *anatomy, tags.word("Laterality")]))
    measures = tags.levels("PixelMeasuresSequence")
    geometry = [*tags.levels("XRay3DAcquisitionSequence"), *tags.items("XRay3DAcquisitionSequence")]

    return header(
        rows=tags.whole("Rows", 0),
        columns=tags.whole("Columns", 0),
        frames=frames,
        samples=tags.whole("SamplesPerPixel", 1),
        photometric=tags.word("PhotometricInterpretation"),
        bits_allocated=bits_allocated,
        bits_stored=tags.whole("BitsStored", bits_allocated),
        transfer_syntax=transfer_syntax,
        modality=modality,
        sop_class=sop_class,
        image_type=image_type,
        kind=kind,
        kind_tag=kind_tag,
        for_processing=tags.word("PresentationIntentType") == "FOR PROCESSING" or sop_class in FOR_PROCESSING_CLASSES,
        sides=sides,
        laterality=next((side for side in (*sides, side_of_view) if side in SIDES), None),
        view=view or None,
        view_modifiers=tuple(sorted(modifiers)),
        pixel_spacing=tags.first(tags.pair, "PixelSpacing", measures),
        calibration_type=tags.word("PixelSpacingCalibrationType") or None,
        imager_spacing=tags.first(tags.pair, "ImagerPixelSpacing", measures),
        magnification=tags.first(tags.number, "EstimatedRadiographicMagnificationFactor", geometry),
        source_to_detector_mm=tags.first(tags.number, "DistanceSourceToDetector", geometry),
        source_to_patient_mm=tags.first(tags.number, "DistanceSourceToPatient", geometry),
        **own,
    )


def _view(tags: TagReader) -> tuple[str, str, set[str]]:
    """The view, the side that its text names, and the modifiers."""
    codes = tags.items("ViewCodeSequence")
    first: Level = codes[0] if codes else {}
    code, meaning = tags.word("CodeValue", first), tags.word("CodeMeaning", first)
    orientation = tags.text("PatientOrientation").upper()
    view, side, displaced = view_named(tags.word("ViewPosition"), code, meaning, orientation)
    modifiers = {"implant_displaced"} if displaced else set()
    for level in (None, *codes):
        for item in tags.items("ViewModifierCodeSequence", level):
            modifiers |= modifiers_named(tags.word("CodeValue", item), tags.word("CodeMeaning", item))
    return view, side, modifiers
