"""Identities in the crop store: of a file's content, of an image's pixels, and of every crop cut from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mammo_aln.crops.job import CropJob
from mammo_aln.crops.regions import CropRequest, ImagePlan
from mammo_aln.settings import CropConfig, PixelConfig

PIXEL_PATH_VERSION = 2
"""Raise this when any step from file to crop changes its result: every stored crop is then made anew."""


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_key(path: Path) -> str:
    """Key under which the store remembers a file's content; holds path, size and times only as a digest.

    The status change time is among them, since a copy that keeps size and modification time is another file still.

    Raises:
        OSError: the file is not there.
    """
    status = path.stat()
    return _digest("content", str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _image_key(content: str, image: ImagePlan, pixels: PixelConfig) -> str:
    """Identity of one image's display pixels and what was learned from them."""
    settings = {name: value for name, value in asdict(pixels).items() if name != "max_pixels"}
    stated = [image.spacing_mm, image.table_laterality, image.table_view]
    return _digest("image", PIXEL_PATH_VERSION, content, settings, stated)


def _crop_key(request: CropRequest, own_image: str, mirrored_image: str | None, crop: CropConfig) -> str:
    """Identity of one crop: its image and only those settings that shape this crop."""
    shaping: Any = {"strategy": request.strategy, "size_px": crop.size_px}
    if request.strategy == "fixed_5cm":
        shaping["size_mm"] = request.size_mm
    if request.strategy == "lesion_margin":
        shaping["margin"] = crop.margin
    if request.scale != 1.0:
        shaping["scale"] = request.scale
    if request.strategy != "whole_breast" or request.scale != 1.0:
        shaping["box"] = request.box
        shaping["estimate"] = request.estimate
        shaping["mirror"] = [mirrored_image, request.mirror_of[1]] if request.mirror_of else None
    return _digest("crop", own_image, shaping)


@dataclass(frozen=True)
class CropKeys:
    """Keys of some images and of the crops that they are asked for; the one place where keys are computed.

    Attributes:
        images: key of each image whose file's content is known, by `image_id`.
        crop: which crops.
    """

    images: Mapping[str, str]
    crop: CropConfig

    @classmethod
    def of(cls, images: Iterable[ImagePlan], contents: Mapping[str, str], job: CropJob) -> CropKeys:
        """Keys of images from the SHA-256 of their files, by `image_id`; an image without one has no key."""
        keys = {
            image.image_id: _image_key(contents[image.image_id], image, job.pixels)
            for image in images
            if image.image_id in contents
        }
        return cls(keys, job.crop)

    def of_request(self, request: CropRequest) -> str | None:
        """Key of a crop, or None where an image that it needs has none."""
        own = self.images.get(request.image_id)
        mirrored = self.images.get(request.mirror_of[0]) if request.mirror_of else None
        if own is None or (request.mirror_of and mirrored is None):
            return None
        return _crop_key(request, own, mirrored, self.crop)

    def requests(self, *images: ImagePlan) -> Iterator[tuple[str, CropRequest]]:
        """All requests of images that have a key, each under it."""
        for image in images:
            for request in image.requests:
                if (key := self.of_request(request)) is not None:
                    yield key, request
