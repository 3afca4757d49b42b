"""Requests for crops, image by image, so that each image is decoded once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mammo_aln.dicom.orientation import Box
from mammo_aln.dicom.read import DisplayImage, read_image
from mammo_aln.settings import PixelConfig

PRIMARY = "primary"
WHOLE_IMAGE = "image"


@dataclass(frozen=True, slots=True)
class CropRequest:
    """One crop that a treated axilla (`unit_id`) asks of one image.

    Attributes:
        region: `primary` or an auxiliary name.
        ordinal: 1, 2, ... for several boxes of one region in one image.
        strategy: one of `config.STRATEGIES`.
        box: the region's box in stored pixels; `None` where it is estimated or not needed.
        size_mm: side of a `fixed_5cm` window.
        scale: multiplies the window's side (`peritumoral`).
        estimate: `axilla` or `contralateral` where the box comes from the anatomy, else empty.
        mirror_of: image that holds the lesion to be mirrored, and the lesion's box.
    """

    unit_id: str
    patient_id: str
    image_id: str
    region: str
    ordinal: int
    strategy: str
    box: Box | None
    size_mm: float
    scale: float = 1.0
    estimate: str = ""
    mirror_of: tuple[str, Box] | None = None

    @property
    def estimated(self) -> bool:
        """True where no human drew the box."""
        return bool(self.estimate)

    @property
    def needs_box(self) -> bool:
        """False for the whole breast as it is."""
        return self.strategy != "whole_breast" or self.scale != 1.0


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image, what its table row says of it, and all crops asked of it.

    `table_laterality`, `table_view` and `spacing_mm` are `None` where the table leaves them to the file; `laterality`
    and `view` are then the file's.
    """

    image_id: str
    patient_id: str
    center: str
    path: Path
    laterality: str
    view: str
    table_laterality: str | None
    table_view: str | None
    spacing_mm: float | None
    requests: tuple[CropRequest, ...] = ()
    boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)

    def read(self, pixels: PixelConfig) -> DisplayImage:
        """Read the file's pixels; what the table states wins over the header."""
        return read_image(
            self.path, pixels, spacing_mm=self.spacing_mm, laterality=self.table_laterality, view=self.table_view
        )


@dataclass(frozen=True)
class Exclusion:
    """A crop that cannot be had, and why; `image_id` is empty where the image itself is missing.

    Of an image that is set aside as a whole (after NAT, a second one of its view ...) the region is `WHOLE_IMAGE`.
    """

    image_id: str
    patient_id: str
    region: str
    reason: str


@dataclass(frozen=True)
class CropPlan:
    """All images with their requests, in the order of `images.csv`, and what the tables already rule out."""

    images: tuple[ImagePlan, ...]
    exclusions: tuple[Exclusion, ...]


def linked_groups(images: Iterable[ImagePlan]) -> list[tuple[ImagePlan, ...]]:
    """Group images that are worked on together: a mirrored lesion's image comes with the image that mirrors it."""
    by_id = {image.image_id: image for image in images}
    group_of = {image_id: image_id for image_id in by_id}

    def root(image_id: str) -> str:
        while group_of[image_id] != image_id:
            image_id = group_of[image_id]
        return image_id

    for image in by_id.values():
        for request in image.requests:
            if request.mirror_of is not None:
                group_of[root(image.image_id)] = root(request.mirror_of[0])
    groups: dict[str, list[ImagePlan]] = defaultdict(list)
    for image_id, image in by_id.items():
        groups[root(image_id)].append(image)
    return [tuple(group) for group in groups.values()]
