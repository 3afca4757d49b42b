"""From DICOM files to all their crops: a decode serves every crop of its image."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.anatomy import LOW_CONFIDENCE, find_anatomy
from mammo_aln.crops.job import CropJob
from mammo_aln.crops.keys import CropKeys, content_digest, file_key
from mammo_aln.crops.mirror import mirror_box
from mammo_aln.crops.regions import CropRequest, ImagePlan
from mammo_aln.crops.store.held import Held
from mammo_aln.crops.store.records import ContentRecord, CropRecord, ImageRecord, RefusedCrop
from mammo_aln.crops.store.store import SegmentWriter, StoreUnwritable
from mammo_aln.crops.window import CropRefused, Window, crop_window, cut
from mammo_aln.dicom.orientation import Box
from mammo_aln.dicom.read import DisplayImage
from mammo_aln.errors import InputError
from mammo_aln.settings import CropConfig

PADDING_FLAG = 0.10
OFF_BREAST_SHARE = 0.5


@dataclass(frozen=True)
class Contents:
    """SHA-256 of files, by the key of each file and by `image_id`, and why other files cannot be read."""

    of_files: Mapping[str, str]
    of_images: Mapping[str, str]
    unreadable: Mapping[str, str]


def take_contents(group: Sequence[ImagePlan], held: Held, writer: SegmentWriter) -> Contents:
    """Digest those files of a group whose content the store does not know yet, and append them to it."""
    of_files = dict(held.contents)
    of_images: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for image in group:
        try:
            key = file_key(image.path)
            if key not in of_files:
                of_files[key] = content_digest(image.path)
                with suppress(StoreUnwritable):  # a finished store may be read-only; a crop that it lacks will say so
                    writer.append([ContentRecord(key, of_files[key])])
            of_images[image.image_id] = of_files[key]
        except OSError as error:
            unreadable[image.image_id] = f"cannot be read: {error.strerror or type(error).__name__}"
    return Contents(of_files, of_images, unreadable)


def derive_group(group: Sequence[ImagePlan], job: CropJob, held: Held, writer: SegmentWriter) -> dict[str, str]:
    """Make the missing crops of images that belong together (a lesion and its mirror in the other breast).

    Returns:
        image_id -> why it failed.
    """
    contents = take_contents(group, held, writer)
    keys = CropKeys.of(group, contents.of_images, job)
    failures = dict(contents.unreadable)
    images, crops = dict(held.images), set(held.crops)
    mirrored = {request.mirror_of[0] for image in group for request in image.requests if request.mirror_of}
    # Mirrored images come first. Two that mirror each other take turns: the first one comes again after the second.
    queue = deque(sorted(group, key=lambda image: image.image_id not in mirrored))
    while queue:
        image = queue.popleft()
        if image.image_id in failures:
            continue
        key = keys.images[image.image_id]
        missing = {crop: request for crop, request in keys.requests(image) if crop not in crops}
        ready = {
            crop: request
            for crop, request in missing.items()
            if request.mirror_of is None or keys.images[request.mirror_of[0]] in images
        }
        if ready or (key not in images and (missing or image.image_id in mirrored)):
            try:
                images[key] = derive(image, keys, ready, images, job, writer)
            except StoreUnwritable:
                raise
            except (InputError, OSError) as error:
                failures[image.image_id] = without_path(error, image.path)
            crops |= ready.keys()
        later = {request.mirror_of[0] for crop, request in missing.items() if request.mirror_of and crop not in ready}
        if any(waiting.image_id in later for waiting in queue):
            queue.append(image)
    return failures


def without_path(error: Exception, path: Path) -> str:
    """Word an error without the file's name: exports are often named after the patient. `images.csv` knows it."""
    return str(error).replace(f"{path}: ", "cannot be read: ").replace(str(path), "the file")


def derive(
    image: ImagePlan,
    keys: CropKeys,
    requests: Mapping[str, CropRequest],
    images: Mapping[str, ImageRecord],
    job: CropJob,
    writer: SegmentWriter,
) -> ImageRecord:
    """Decode one image, cut its crops and append all to the store; a crop that cannot be cut is recorded as refused.

    `requests` are the crops, each under its key; `images` holds, by key, those that the image mirrors.

    Raises:
        InputError: the file cannot be read as an image.
        OSError: the file is not there.
    """
    display = image.read(job.pixels)
    own = describe(keys.images[image.image_id], display)
    refused: list[RefusedCrop] = []
    crops: list[tuple[CropRecord, NDArray[np.uint16]]] = []
    levels: dict[Window, NDArray[np.uint16]] = {}
    for key, request in requests.items():
        lesion_image = images[keys.images[request.mirror_of[0]]] if request.mirror_of else None
        try:
            record = crop_record(key, request, own, lesion_image, job.crop)
        except CropRefused as refusal:
            refused.append(RefusedCrop(key, own.key, request.strategy, str(refusal)))
            continue
        if record.window not in levels:
            levels[record.window] = cut_levels(display, record.window, record.size_px)
        crops.append((record, levels[record.window]))
    writer.append([own, *refused], crops)
    return own


def describe(key: str, display: DisplayImage) -> ImageRecord:
    """Estimate an image's landmarks and gather what the journal says of it; nothing of the patient."""
    return ImageRecord(
        key,
        (display.pixels.shape[0], display.pixels.shape[1]),
        display.spacing,
        display.orientation,
        display.laterality,
        display.view,
        display.recipe,
        display.fallbacks,
        find_anatomy(display.pixels, display.spacing, display.orientation, display.view or ""),
    )


def crop_record(
    key: str, request: CropRequest, own: ImageRecord, lesion_image: ImageRecord | None, crop: CropConfig
) -> CropRecord:
    """Find a crop's box and window, and judge them.

    Raises:
        CropRefused: the crop cannot be cut from this image.
    """
    box, confidence = find_box(request, own, lesion_image)
    window = find_window(request, box, own, crop)
    return CropRecord(
        key,
        own.key,
        request.strategy,
        window,
        box,
        confidence,
        window.padding_share(own.shape),
        _flags(request, box, window, confidence, own),
        crop.size_px,
    )


def cut_levels(display: DisplayImage, window: Window, size_px: int) -> NDArray[np.uint16]:
    """Cut one crop as the store holds it: uint16 (size_px, size_px), chest wall on the left."""
    levels = np.rint(np.clip(cut(display.pixels, window, size_px), 0.0, 1.0) * 65535.0)
    return display.orientation.apply(levels.astype(np.uint16))


def find_box(request: CropRequest, own: ImageRecord, lesion_image: ImageRecord | None) -> tuple[Box | None, float]:
    """The box to cut around and its confidence: drawn by a human (1), or estimated; none for the whole breast.

    Raises:
        CropRefused: the box cannot be estimated.
    """
    if request.strategy == "whole_breast" and request.scale == 1.0:
        return None, own.anatomy.breast_confidence
    if request.estimate == "axilla":
        if own.anatomy.axilla_box is None:
            raise CropRefused("the axilla could not be estimated: no breast was found on an MLO view")
        return own.anatomy.axilla_box, own.anatomy.axilla_confidence
    if request.mirror_of is not None and lesion_image is not None:
        box, confidence = mirror_box(request.mirror_of[1], lesion_image, own)
        if not confidence:
            raise CropRefused("the mirror place could not be estimated: no breast was found in one of the two images")
        return box, confidence
    return request.box, 1.0


def find_window(request: CropRequest, box: Box | None, own: ImageRecord, crop: CropConfig) -> Window:
    """The window of a request around the box that `find_box` gave.

    Raises:
        CropRefused: the box lies outside the image, or millimetres are asked of an image without spacing.
    """
    rows, columns = own.shape
    if box is not None and (box[0] >= columns or box[1] >= rows or box[2] <= 0 or box[3] <= 0):
        edges = ", ".join(f"{edge:.1f}" for edge in box)
        raise CropRefused(f"the box {edges} lies outside the image of {columns} x {rows} pixels")
    sized = CropConfig(size_mm=request.size_mm, margin=crop.margin)
    return crop_window(request.strategy, box, own.spacing, own.anatomy.breast_box, sized, scale=request.scale)


def _flags(
    request: CropRequest, box: Box | None, window: Window, confidence: float, own: ImageRecord
) -> tuple[str, ...]:
    """Codes that put a crop among the worst cases, in a fixed order."""
    rows, columns = own.shape
    padded = window.padding_share(own.shape) > PADDING_FLAG
    inside = box is None or (box[0] >= -1 and box[1] >= -1 and box[2] <= columns + 1 and box[3] <= rows + 1)
    drawn = box is not None and not request.estimated
    off_breast = drawn and box is not None and own.anatomy.breast_share(box, own.shape) < OFF_BREAST_SHARE
    codes = {
        # A whole breast is padded to its square by rule.
        "padding_over_10_percent": padded and request.strategy != "whole_breast",
        "box_partly_outside_image": drawn and not inside,
        "box_off_breast": off_breast,
        "low_confidence": confidence < LOW_CONFIDENCE,
    }
    return tuple(code for code, holds in codes.items() if holds)
