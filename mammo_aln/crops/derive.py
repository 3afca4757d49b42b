"""From one DICOM file to all its crops: what identifies a crop, and how it is made. One decode serves every request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.anatomy import LOW_CONFIDENCE, Anatomy, find_anatomy
from mammo_aln.crops.mirror import BreastPlace, mirror_box
from mammo_aln.crops.regions import CropRequest, ImagePlan
from mammo_aln.crops.store.store import SegmentWriter, StoreUnwritable
from mammo_aln.crops.window import CropRefused, Window, crop_window, cut
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.read import DisplayImage, read_image
from mammo_aln.dicom.spacing import Spacing
from mammo_aln.errors import InputError
from mammo_aln.settings import CropConfig, PixelConfig

PIXEL_PATH_VERSION = 2
"""Raise this when any step from file to crop changes its result: every stored crop is then made anew."""

Known: TypeAlias = "dict[str, dict[str, Any]]"
"""What the store holds of some images: key -> record."""

PADDING_FLAG = 0.10
OFF_BREAST_SHARE = 0.5


def digest(*parts: Any) -> str:
    """SHA-256 of plain JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def place_key(path: Path) -> str:
    """Key under which the store remembers a file's content; holds path, size and times only as a digest.

    The status change time is among them, since a copy that keeps size and modification time is another file still.

    Raises:
        OSError: the file is not there.
    """
    status = path.stat()
    return digest("content", str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_key(content: str, image: ImagePlan, pixels: PixelConfig) -> str:
    """Identity of one image's display pixels and what was learned from them."""
    settings = {name: value for name, value in asdict(pixels).items() if name != "max_pixels"}
    stated = [image.spacing_mm, image.table_laterality, image.table_view]
    return digest("image", PIXEL_PATH_VERSION, content, settings, stated)


def crop_key(request: CropRequest, own_image: str, mirrored_image: str | None, crop: CropConfig) -> str:
    """Identity of one crop: its image and only those settings that shape this crop."""
    wanted: dict[str, Any] = {"strategy": request.strategy, "size_px": crop.size_px}
    if request.strategy == "fixed_5cm":
        wanted["size_mm"] = request.size_mm
    if request.strategy == "lesion_margin":
        wanted["margin"] = crop.margin
    if request.scale != 1.0:
        wanted["scale"] = request.scale
    if request.strategy != "whole_breast" or request.scale != 1.0:
        wanted["box"] = request.box
        wanted["estimate"] = request.estimate
        wanted["mirror"] = [mirrored_image, request.mirror_of[1]] if request.mirror_of else None
    return digest("crop", own_image, wanted)


@dataclass(frozen=True)
class Job:
    """One image, its missing crops each under its key, and the keys of the images that they mirror."""

    image: ImagePlan
    key: str
    requests: tuple[tuple[str, CropRequest], ...]
    mirrors: Mapping[str, str]


def image_record(key: str, display: DisplayImage, anatomy: Anatomy) -> dict[str, Any]:
    """What the journal says of an image: shape, spacing, orientation, recipe, anatomy; nothing of the patient."""
    spacing, turned = display.spacing, display.orientation
    return {
        "kind": "image",
        "key": key,
        "shape": list(display.pixels.shape),
        "spacing": None if spacing is None else asdict(spacing),
        "orientation": asdict(turned),
        "laterality": display.laterality,
        "view": display.view,
        "recipe": {"digest": display.recipe.digest(), "steps": display.recipe.cards()},
        "fallbacks": list(display.fallbacks),
        "anatomy": anatomy.to_json(),
    }


def breast_place(record: Mapping[str, Any]) -> BreastPlace:
    """Where the breast lies in an image, read back from its record."""
    spacing = record["spacing"]
    rows, columns = record["shape"]
    return BreastPlace(
        Anatomy.from_json(record["anatomy"]),
        Orientation(**record["orientation"]),
        (rows, columns),
        None if spacing is None else Spacing(**spacing),
    )


def derive(job: Job, pixels: PixelConfig, crop: CropConfig, known: Known, writer: SegmentWriter) -> None:
    """Decode one image, cut what is wanted, append it to the store, and add it to what is known.

    A request whose mirrored image has no record yet is left for a later call; one that cannot be had is recorded as
    refused.

    Raises:
        InputError: the file cannot be read as an image.
        OSError: the file is not there.
    """
    image = job.image
    display = read_image(
        image.path, pixels, spacing_mm=image.spacing_mm, laterality=image.table_laterality, view=image.table_view
    )
    anatomy = find_anatomy(display.pixels, display.spacing, display.orientation, display.view or "")
    own = image_record(job.key, display, anatomy)
    records: list[dict[str, Any]] = [own]
    crops: list[tuple[dict[str, Any], NDArray[np.uint16]]] = []
    made: dict[Window, NDArray[np.uint16]] = {}
    for key, request in job.requests:
        mirrored = job.mirrors.get(request.mirror_of[0]) if request.mirror_of else None
        if request.mirror_of and (mirrored is None or mirrored not in known):
            continue
        record: dict[str, Any] = {"kind": "crop", "key": key, "image": job.key, "strategy": request.strategy}
        try:
            box, confidence = find_box(request, anatomy, own, known[mirrored] if mirrored else None)
            window = find_window(request, box, display, anatomy, crop)
        except CropRefused as refusal:
            records.append({**record, "kind": "refused", "reason": str(refusal)})
            continue
        if window not in made:
            made[window] = cut_levels(display, window, crop.size_px)
        record |= {
            "window": list(window.box),
            "box": None if box is None else list(box),
            "confidence": confidence,
            "padding_share": window.padding_share(display.pixels.shape),
            "flags": _flags(request, box, window, confidence, display, anatomy),
        }
        crops.append((record, made[window]))
    writer.append(records, crops)
    known |= {record["key"]: record for record in (*records, *(record for record, _ in crops))}


def cut_levels(display: DisplayImage, window: Window, size_px: int) -> NDArray[np.uint16]:
    """One crop as the store holds it: uint16 (size_px, size_px), chest wall on the left."""
    levels = np.rint(np.clip(cut(display.pixels, window, size_px), 0.0, 1.0) * 65535.0)
    return display.orientation.apply(levels.astype(np.uint16))


def find_box(
    request: CropRequest, anatomy: Anatomy, own: Mapping[str, Any], mirrored: Mapping[str, Any] | None
) -> tuple[Box | None, float]:
    """The box to cut around and its confidence: drawn by a human (1), or estimated; none for the whole breast."""
    if request.strategy == "whole_breast" and request.scale == 1.0:
        return None, anatomy.breast_confidence
    if request.estimate == "axilla":
        if anatomy.axilla_box is None:
            raise CropRefused("the axilla could not be estimated: no breast was found on an MLO view")
        return anatomy.axilla_box, anatomy.axilla_confidence
    if request.mirror_of is not None and mirrored is not None:
        box, confidence = mirror_box(request.mirror_of[1], breast_place(mirrored), breast_place(own))
        if not confidence:
            raise CropRefused("the mirror place could not be estimated: no breast was found in one of the two images")
        return box, confidence
    return request.box, 1.0


def find_window(
    request: CropRequest, box: Box | None, display: DisplayImage, anatomy: Anatomy, crop: CropConfig
) -> Window:
    """The window of a request around the box that `find_box` gave.

    Raises:
        CropRefused: the box lies outside the image, or millimetres are asked of an image without spacing.
    """
    rows, columns = display.pixels.shape
    if box is not None and (box[0] >= columns or box[1] >= rows or box[2] <= 0 or box[3] <= 0):
        raise CropRefused(f"the box {_rounded(box)} lies outside the image of {columns} x {rows} pixels")
    sized = CropConfig(size_mm=request.size_mm, margin=crop.margin)
    return crop_window(request.strategy, box, display.spacing, anatomy.breast_box, sized, scale=request.scale)


def _rounded(box: Box) -> str:
    return ", ".join(f"{edge:.1f}" for edge in box)


def _flags(
    request: CropRequest,
    box: Box | None,
    window: Window,
    confidence: float,
    display: DisplayImage,
    anatomy: Anatomy,
) -> list[str]:
    """Codes that put a crop among the worst cases, in a fixed order."""
    shape = (display.pixels.shape[0], display.pixels.shape[1])
    drawn = box is not None and not request.estimated
    inside = box is None or (box[0] >= -1 and box[1] >= -1 and box[2] <= shape[1] + 1 and box[3] <= shape[0] + 1)
    off_breast = drawn and box is not None and anatomy.breast_share(box, shape) < OFF_BREAST_SHARE
    codes = {
        # A whole breast is padded to its square by rule.
        "padding_over_10_percent": request.strategy != "whole_breast" and window.padding_share(shape) > PADDING_FLAG,
        "box_partly_outside_image": drawn and not inside,
        "box_off_breast": off_breast,
        "low_confidence": confidence < LOW_CONFIDENCE,
    }
    return [code for code, holds in codes.items() if holds]


def derive_group(
    group: Iterable[ImagePlan], pixels: PixelConfig, crop: CropConfig, known: Known, writer: SegmentWriter
) -> dict[str, str]:
    """Make what is missing of images that belong together (lesion, mirror place); image_id -> why it failed.

    Args:
        group: the images.
        pixels: how stored values become display values.
        crop: which crops.
        known: what the store holds of this group; what is made is added.
        writer: takes what is made.
    """
    images = list(group)
    keys, failures = image_keys(images, pixels, known, writer)
    # Mirrored lesions first; two breasts that mirror each other take a second round.
    sources = {request.mirror_of[0] for image in images for request in image.requests if request.mirror_of}
    ordered = sorted(images, key=lambda image: image.image_id not in sources)
    for image in [*ordered, *ordered]:
        if image.image_id in failures:
            continue
        missing = tuple(
            (key, request)
            for request in image.requests
            if (key := request_key(request, keys, crop)) is not None and key not in known
        )
        described = image.image_id not in sources or keys[image.image_id] in known
        if not missing and described:
            continue
        try:
            derive(Job(image, keys[image.image_id], _once(missing), keys), pixels, crop, known, writer)
        except StoreUnwritable:
            raise
        except (InputError, OSError) as error:
            failures[image.image_id] = without_path(error, image.path)
    return failures


def without_path(error: Exception, path: Path) -> str:
    """What went wrong, without the file's name: exports are often named after the patient. `images.csv` knows it."""
    return str(error).replace(f"{path}: ", "cannot be read: ").replace(str(path), "the file")


def image_keys(
    images: Iterable[ImagePlan], pixels: PixelConfig, known: Known, writer: SegmentWriter
) -> tuple[dict[str, str], dict[str, str]]:
    """Keys of images by their files' content, and image_id -> why a file cannot be read; contents not known yet are
    read, appended and added."""
    keys, failures = {}, {}
    for image in images:
        try:
            place = place_key(image.path)
            if place not in known:
                record = {"kind": "content", "key": place, "sha256": content_digest(image.path)}
                known[place] = record
                with suppress(StoreUnwritable):  # a finished store may be read-only; a crop that it lacks will say so
                    writer.append([record])
        except OSError as error:
            failures[image.image_id] = f"cannot be read: {error.strerror or type(error).__name__}"
        else:
            keys[image.image_id] = image_key(known[place]["sha256"], image, pixels)
    return keys, failures


def _once(requests: Iterable[tuple[str, CropRequest]]) -> tuple[tuple[str, CropRequest], ...]:
    return tuple(dict(requests).items())


def request_key(request: CropRequest, keys_of: Mapping[str, str], crop: CropConfig) -> str | None:
    """Key of a request, or `None` where an image that it needs could not be read."""
    own = keys_of.get(request.image_id)
    mirrored = keys_of.get(request.mirror_of[0]) if request.mirror_of else None
    if own is None or (request.mirror_of and mirrored is None):
        return None
    return crop_key(request, own, mirrored, crop)
