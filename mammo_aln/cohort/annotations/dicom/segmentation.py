"""DICOM SEG and label maps: each frame's segments become boxes on the image that the frame was drawn on.

The values of a FRACTIONAL segmentation count from half of MaximumFractionalValue on. A frame names its image in
DerivationImageSequence; where it does not, and the object refers to one image alone, that is the one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import iter_pixels

from mammo_aln.cohort.annotations.components import mask_annotations
from mammo_aln.cohort.annotations.dicom import objects
from mammo_aln.cohort.annotations.record import Annotation, Reading, Skipped
from mammo_aln.dicom.decode import MAX_PIXELS, refusing, whole_number
from mammo_aln.errors import InputError, UnreadableDicom

HALF = 0.5
DERIVED_FROM = ("DerivationImageSequence", "SourceImageSequence")
REFERENCED = ("ReferencedSeriesSequence", "ReferencedInstanceSequence")
TYPES = ("BINARY", "FRACTIONAL", "LABELMAP")
WITHOUT_IMAGE = "a frame that names no source image"
SEVERAL_IMAGES = "a frame that names several source images"
WITHOUT_PIXELS = "a segment without a pixel"


def read_segmentation_object(path: Path) -> Reading:
    """Read the segments of a DICOM SEG, frame by frame; the label is SegmentLabel.

    Raises:
        UnreadableDicom: no DICOM file, a broken one, or another object.
        InputError: an unknown segmentation type, a tiled one, a frame or value without its segment, or a mask that is
            no set of lesions (see `mask_annotations`).
    """
    return objects.read_object(path, objects.SEG_CLASSES, _segment_boxes)


def _segment_boxes(dataset: FileDataset, path: Path) -> Reading:
    kind = objects.words(dataset, "SegmentationType")
    if kind not in TYPES:
        raise InputError(f"{path}, SegmentationType = {kind!r}: expected {', '.join(TYPES)}")
    if "TotalPixelMatrixRows" in dataset:
        raise InputError(f"{path}: a tiled segmentation (TotalPixelMatrixRows): expected one frame for one picture")
    segments = objects.items(dataset, "SegmentSequence")
    labels = {objects.integer(segment, "SegmentNumber"): objects.words(segment, "SegmentLabel") for segment in segments}
    groups = _functional_groups(dataset, path)
    drawn: set[int] = set()
    derived = [reference for group in groups for reference in objects.items(group, *DERIVED_FROM)]
    reading = objects.listed_images([*derived, *objects.items(dataset, *REFERENCED)])
    for number, (mask, group) in enumerate(zip(_frames(dataset, len(groups), path), groups, strict=True), 1):
        source = f"{path.name} frame {number}"
        for segment, region in _segments(mask, group, dataset, kind, source):
            if segment not in labels:
                raise InputError(f"{source}: segment {segment} is not in SegmentSequence ({sorted(labels)})")
            boxes = _located(mask_annotations(region, "", labels[segment], source), group, dataset)
            reading += boxes
            if boxes:
                drawn.add(segment)
    empty = [segment for segment in labels if segment and segment not in drawn]
    return reading + [Skipped(WITHOUT_PIXELS, f"{path.name} segment {segment}") for segment in empty]


def _functional_groups(dataset: FileDataset, path: Path) -> list[Dataset]:
    """The functional groups of each frame, those that all frames share beneath its own."""
    frames = whole_number(dataset, "NumberOfFrames", path, 1) or 1
    per_frame = objects.items(dataset, "PerFrameFunctionalGroupsSequence") or [Dataset()] * frames
    if len(per_frame) != frames:
        raise InputError(f"{path}: {frames} frames and functional groups of {len(per_frame)}: expected the same number")
    shared = next(iter(objects.items(dataset, "SharedFunctionalGroupsSequence")), Dataset())
    groups = []
    for group in per_frame:
        merged = Dataset()
        merged.update(shared)
        merged.update(group)
        groups.append(merged)
    return groups


def _frames(dataset: FileDataset, count: int, path: Path) -> Iterator[np.ndarray]:
    """Decode one frame after the other, as stored values (rows, columns)."""
    rows, columns = (whole_number(dataset, keyword, path) for keyword in ("Rows", "Columns"))
    if min(rows, columns) < 1 or rows * columns > MAX_PIXELS:
        raise InputError(f"{path}: frames of {rows} x {columns} pixels: expected at most {MAX_PIXELS} in each")
    if "PixelData" not in dataset:
        raise UnreadableDicom(f"{path}: holds no pixel data (absent, or the file is cut off before its end)")
    with refusing(path, "decoding"):
        stored = iter_pixels(dataset, raw=True)
    for number in range(1, count + 1):
        with refusing(path, f"decoding frame {number}"):
            frame = next(stored, None)
        if frame is None:
            raise UnreadableDicom(f"{path}: holds {number - 1} frames, its header says {count}")
        if frame.shape != (rows, columns):
            raise UnreadableDicom(f"{path}: frame {number} has an array {frame.shape}: expected {rows} x {columns}")
        yield frame


def _segments(
    frame: np.ndarray, group: Dataset, dataset: FileDataset, kind: str, source: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Segment number and mask (bool) of each segment that a frame holds."""
    if kind == "LABELMAP":
        background = (objects.integers(dataset, "PixelPaddingValue") or [0])[0]
        for value in np.unique(frame).tolist():
            if value not in (0, background):
                yield int(value), frame == value
        return
    identification = objects.items(group, "SegmentIdentificationSequence")
    if not identification:
        raise InputError(f"{source}: SegmentIdentificationSequence is missing: expected the frame's segment")
    segment = objects.integer(identification[0], "ReferencedSegmentNumber")
    if kind == "BINARY":
        yield segment, frame > 0
        return
    largest = (objects.floats(dataset, "MaximumFractionalValue") or [0.0])[0]
    if not 0 < largest <= np.iinfo(np.uint16).max or int(frame.max()) > largest:
        raise InputError(
            f"{source}: values up to {int(frame.max())} and MaximumFractionalValue = {largest:g}: expected no value "
            "above it"
        )
    yield segment, frame >= HALF * largest


def _located(boxes: list[Annotation | Skipped], group: Dataset, dataset: FileDataset) -> list[Annotation | Skipped]:
    """The boxes of a frame with the image that it names; the reason where it names none or several."""
    images = list(objects.image_references(objects.items(group, *DERIVED_FROM)))
    reason = SEVERAL_IMAGES if images else WITHOUT_IMAGE
    images = images or list(objects.image_references(objects.items(dataset, *REFERENCED)))
    if len(set(images)) == 1:
        uid, frame = images[0]
        return [replace(box, image=uid, frame=frame) if isinstance(box, Annotation) else box for box in boxes]
    return [Skipped(reason, box.source) if isinstance(box, Annotation) else box for box in boxes]
