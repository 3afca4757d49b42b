"""The tags that pixels need, typed and read in one pass; a broken one is named, not hidden."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from mammo_aln.dicom import decode as dicom
from mammo_aln.dicom.image_tags import ImageTags, read_image_tags
from mammo_aln.dicom.tags import Level, Pair, TagReader
from mammo_aln.dicom.voi import Lut, VoiWindow


@dataclass(frozen=True, eq=False)
class ImageHeader(ImageTags):
    """All tags that display values need; None = absent or broken (see `broken_tags`)."""

    signed: bool
    patient_orientation: tuple[str, str] | None
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


def _windows(tags: TagReader, level: Level) -> list[VoiWindow | None]:
    centers, widths = tags.numbers("WindowCenter", level), tags.numbers("WindowWidth", level)
    function = tags.word("VOILUTFunction", level) or "LINEAR"
    windows: list[VoiWindow | None] = [VoiWindow(c, w, function) for c, w in zip(centers, widths, strict=False)]
    return windows + [None] * abs(len(centers) - len(widths))


def _lut(tags: TagReader, item: Level) -> Lut | None:
    """One item of a LUT sequence; None where descriptor and data do not fit (the tag is then broken)."""
    descriptor = [int(value) for value in tags.numbers("LUTDescriptor", item, count=3)]
    data = tags.raw("LUTData", item)
    if not descriptor or data is None:
        tags.broken.append("LUTData")
        return None
    count, first, bits = descriptor[0] % 65536 or 65536, descriptor[1], descriptor[2]
    entries = np.asarray([0])
    if isinstance(data, bytes):
        entries = (
            np.frombuffer(data[:count], np.uint8)
            if len(data) - count in (0, 1)
            else np.frombuffer(data, "<u2", len(data) // 2)
        )
    elif all(isinstance(value, int) for value in data):
        entries = np.asarray(data) & 0xFFFF
    if len(entries) != count or not 1 <= bits <= 16:
        tags.broken.append("LUTData")
        return None
    return Lut(entries.astype(np.float64), first, bits)


def _padding(tags: TagReader, bits_allocated: int, signed: bool) -> tuple[int, int] | None:
    """The padding values, whatever sign their own VR gives them: as words they are what the pixels' sign makes them."""
    first, last = tags.number("PixelPaddingValue"), tags.number("PixelPaddingRangeLimit")
    if first is None:
        return None
    words, smallest = 1 << bits_allocated, -(1 << (bits_allocated - 1)) if signed else 0
    ends = [(int(value) - smallest) % words + smallest for value in (first, first if last is None else last)]
    return min(ends), max(ends)


def header_of(dataset: FileDataset, path: str | Path) -> ImageHeader:
    """Read the typed header of a parsed file.

    Raises:
        UnreadableDicom: a tag that no image can do without is absent or broken.
    """
    path = Path(path)
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        dicom.whole_number(dataset, keyword, path)
    for keyword in ("NumberOfFrames", "SamplesPerPixel", "BitsStored"):
        dicom.whole_number(dataset, keyword, path, 0)
    tags = TagReader(dataset)
    shared = read_image_tags(tags, str(UID(dataset.file_meta.get("TransferSyntaxUID") or "")), ImageTags)
    signed = dicom.whole_number(dataset, "PixelRepresentation", path, 0) == 1
    voi_levels = tags.levels("FrameVOILUTSequence")
    value_levels = tags.levels("PixelValueTransformationSequence")
    slope = tags.first(tags.number, "RescaleSlope", value_levels)
    intercept = tags.first(tags.number, "RescaleIntercept", value_levels)
    orientation = tuple(str(value).strip().upper() for value in tags.several("PatientOrientation"))
    sign = tags.number("PixelIntensityRelationshipSign")
    no_rescale = slope is None and intercept is None
    return ImageHeader(
        **vars(shared),
        signed=signed,
        patient_orientation=(orientation[0], orientation[1]) if len(orientation) == 2 else None,
        rescale=None if no_rescale else (1.0 if slope is None else slope, 0.0 if intercept is None else intercept),
        modality_luts=tuple(_lut(tags, item) for item in tags.items("ModalityLUTSequence")),
        voi_luts=tuple(_lut(tags, item) for level in voi_levels for item in tags.items("VOILUTSequence", level)),
        windows=tuple(window for level in voi_levels for window in _windows(tags, level)),
        padding=_padding(tags, shared.bits_allocated, signed),
        presentation_lut_shape=tags.word("PresentationLUTShape"),
        intensity_relationship=tags.word("PixelIntensityRelationship"),
        intensity_sign=int(sign) if sign in (-1.0, 1.0) else None,
        implant=tags.word("BreastImplantPresent") == "YES",
        broken_tags=tuple(sorted(set(tags.broken))),
    )


def read_header(path: str | Path, *, max_pixels: int = dicom.MAX_PIXELS) -> ImageHeader:
    """Read the typed header of a file; the pixel data is not read.

    Raises:
        UnreadableDicom: not DICOM, or no image in it.
    """
    with dicom.refusing(Path(path), "reading the header"):
        return header_of(dicom.read_file(path, max_pixels=max_pixels, with_pixels=False), path)
