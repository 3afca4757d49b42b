"""From DICOM files to all their crops: a decode serves every crop of its image."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.anatomy import Anatomy, find_anatomy
from mammo_aln.crops.keys import CropJob, CropKeys, Held
from mammo_aln.crops.outside import covers, shown
from mammo_aln.crops.placement import place_crop
from mammo_aln.crops.requests import CropRequest, ImagePlan
from mammo_aln.crops.store.records import ContentRecord, CropRecord, ImageRecord, RefusedCrop, SampledRecord
from mammo_aln.crops.store.store import SegmentWriter, StoreUnwritable
from mammo_aln.crops.window import CropRefused, Window, cut, surround_px
from mammo_aln.dicom.archive import content_digest, file_key, file_state, inode_key, samples_digest
from mammo_aln.dicom.orientation import Box
from mammo_aln.dicom.polarity import POLARITY_UNLIKELY
from mammo_aln.dicom.read import DisplayImage
from mammo_aln.errors import InputError, UnreadableDicom
from mammo_aln.machine.cage import doing


@dataclass(frozen=True)
class Contents:
    """SHA-256 of files, by the key of each file and by `image_id`, and why other files cannot be read.

    `states` are the files' own as they were before, by `image_id`: pixels of a file in another state are not of these.
    """

    of_files: Mapping[str, str]
    of_images: Mapping[str, str]
    states: Mapping[str, tuple[int, ...]]
    unreadable: Mapping[str, str]


def take_contents(group: Sequence[ImagePlan], held: Held, writer: SegmentWriter) -> Contents:
    """Digest those files of a group whose content the store does not know yet, and append them to it."""
    of_files = dict(held.contents)
    of_images: dict[str, str] = {}
    states: dict[str, tuple[int, ...]] = {}
    unreadable: dict[str, str] = {}
    for image in group:
        try:
            states[image.image_id] = file_state(image.path)
            key = file_key(image.path)
            if key not in of_files:
                inode = inode_key(image.path)
                digest = content_digest(image.path)
                _refuse_changed(image.path, states[image.image_id])
                of_files[key] = digest
                sampled = [SampledRecord(inode, of_files[key], samples_digest(image.path))] if inode else []
                with suppress(StoreUnwritable):  # a finished store may be read-only; a crop that it lacks will say so
                    writer.append([ContentRecord(key, of_files[key]), *sampled])
            of_images[image.image_id] = of_files[key]
        except UnreadableDicom as error:
            unreadable[image.image_id] = without_path(error, image.path)
        except OSError as error:
            unreadable[image.image_id] = f"cannot be read: {error.strerror or error}"
    return Contents(of_files, of_images, states, unreadable)


def _refuse_changed(path: Path, state: tuple[int, ...]) -> None:
    """`UnreadableDicom` where a file is no longer the one that it was."""
    if file_state(path) != state:
        raise UnreadableDicom(f"{path}: the file changed while it was read; run the command again")


def derive_group(group: Sequence[ImagePlan], job: CropJob, held: Held, writer: SegmentWriter) -> dict[str, str]:
    """Make the missing crops of images that belong together (a lesion and its mirror in the other breast).

    Returns:
        image_id -> why it failed.
    """
    contents = take_contents(group, held, writer)
    keys = CropKeys.of(group, contents.of_images, job)
    failures = {**contents.unreadable, **held.refused}
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
            doing(image.image_id)
            try:
                state = contents.states[image.image_id]
                images[key] = derive(image, keys, ready, images, job, writer, state)
            except (StoreUnwritable, MemoryError):
                raise
            except (InputError, OSError) as error:
                failures[image.image_id] = without_path(error, image.path)
            except Exception as error:  # noqa: BLE001 - of one image, told as the reason why it is left out
                failures[image.image_id] = without_path(
                    f"cannot be cropped: {type(error).__name__}: {error}", image.path
                )
            crops |= ready.keys()
        later = {request.mirror_of[0] for crop, request in missing.items() if request.mirror_of and crop not in ready}
        if any(waiting.image_id in later for waiting in queue):
            queue.append(image)
    return failures


def without_path(error: Exception | str, path: Path) -> str:
    """Word an error without the file's name: exports are often named after the patient. `images.csv` knows it."""
    return str(error).replace(f"{path}: ", "cannot be read: ").replace(str(path), "the file")


def derive(
    image: ImagePlan,
    keys: CropKeys,
    requests: Mapping[str, CropRequest],
    images: Mapping[str, ImageRecord],
    job: CropJob,
    writer: SegmentWriter,
    state: tuple[int, ...],
) -> ImageRecord:
    """Decode one image, cut its crops and append all to the store; a crop that cannot be cut is recorded as refused.

    `requests` are the crops, each under its key; `images` holds, by key, those that the image mirrors; `state` is the
    file's when its content was digested.

    Raises:
        InputError: the file cannot be read as an image.
        OSError: the file is not there, or another one.
    """
    display = image.read(job.pixels)
    _refuse_changed(image.path, state)
    own = describe(keys.images[image.image_id], display)
    refused: list[RefusedCrop] = []
    crops: list[tuple[CropRecord, NDArray[np.uint16]]] = []
    levels: dict[tuple[Window, str, Box | None], NDArray[np.uint16]] = {}
    for key, request in requests.items():
        lesion_image = images[keys.images[request.mirror_of[0]]] if request.mirror_of else None
        try:
            record = place_crop(key, request, own, lesion_image, job.crop)
        except CropRefused as refusal:
            refused.append(RefusedCrop(key, own.key, request.strategy, str(refusal)))
            continue
        pixels = record.window, record.outside, record.box if record.outside == "background_beside_box" else None
        if pixels not in levels:
            levels[pixels] = cut_levels(display, record, own.anatomy, surround_px(record.size_px))
        crops.append((record, levels[pixels]))
    writer.append([own, *refused], crops)
    return own


def describe(key: str, display: DisplayImage) -> ImageRecord:
    """Estimate an image's landmarks and gather what the journal says of it; nothing of the patient."""
    shape = display.pixels.shape[0], display.pixels.shape[1]
    turned, side, view = display.orientation, display.laterality, display.view
    negative = POLARITY_UNLIKELY in display.fallbacks
    pixels = np.subtract(1.0, display.pixels, dtype=np.float32) if negative else display.pixels
    anatomy = find_anatomy(pixels, display.spacing, turned, view or "")
    if negative:  # the landmarks are those of the inverse, and nothing of the image is taken away
        anatomy = replace(anatomy, breast_confidence=0.0, reasons=(*anatomy.reasons, POLARITY_UNLIKELY))
    return ImageRecord(key, shape, display.spacing, turned, side, view, display.recipe, display.fallbacks, anatomy)


def cut_levels(display: DisplayImage, record: CropRecord, anatomy: Anatomy, beyond: int = 0) -> NDArray[np.uint16]:
    """Cut one crop as the store holds it: uint16 (size_px, size_px), chest wall on the left, 0 outside the breast.

    `beyond` more pixels stand on each side of it; they do not change the crop between them.
    """
    size_px = record.size_px
    levels = np.rint(np.clip(cut(display.pixels, record.window, size_px, beyond), 0.0, 1.0) * 65535.0)
    if record.outside in ("background", "background_beside_box") and anatomy.kept is not None:
        shape = display.pixels.shape[0], display.pixels.shape[1]
        box = record.box if record.outside == "background_beside_box" else None
        if not covers(anatomy.kept, record.window.grown(beyond, size_px).box, shape):
            inside = shown(anatomy.kept, record.window, size_px, shape, box, beyond)
            if covers(anatomy.kept, record.window.box, shape):
                inside[beyond : beyond + size_px, beyond : beyond + size_px] = True
            levels[~inside] = 0.0
    return display.orientation.apply(levels.astype(np.uint16))
