"""Identities of files' contents, images and crops in the store, and what a store holds under those of some images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo_aln.crops.requests import CropRequest, ImagePlan, linked_groups
from mammo_aln.crops.store.records import ContentRecord, CropRecord, ImageRecord
from mammo_aln.crops.store.store import CropStore
from mammo_aln.dicom.archive import file_key, inode_key, samples_digest
from mammo_aln.machine.code import code_digest
from mammo_aln.settings import CropConfig, PixelConfig

if TYPE_CHECKING:
    from mammo_aln.cohort.tables import Cohort

PIXEL_PATH_VERSION = 4
"""Raise this when any step from file to crop changes its result: every stored crop is then made anew."""
SAME_CROPS = (3, 4)
"""Versions whose crops are the same to the last bit: 3 kept nothing around them, which only test-time copies show."""


@dataclass(frozen=True)
class CropJob:
    """Settings of one build; small enough to travel to every worker process, so without the cohort's tables.

    Attributes:
        pixels: how stored values become display values.
        crop: which crops.
        store: folder of the crop store.
    """

    pixels: PixelConfig
    crop: CropConfig
    store: Path


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


BOUNDS = ("max_pixels", "decode_timeout_s")
"""Settings that decide which images are read, not what their pixels are."""


def _shaping(pixels: PixelConfig) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(pixels).items() if name not in BOUNDS}


def refusal_key(content: str, pixels: PixelConfig) -> str:
    """Identity of a content that is not decoded: other decoders or wider bounds may read it."""
    return _digest("refused content", content, pixels.max_pixels, pixels.decode_timeout_s, code_digest(("dicom",)))


def _image_key(content: str, image: ImagePlan, settings: Mapping[str, Any]) -> str:
    """Identity of one image's display pixels and what was learned from them."""
    stated = [image.spacing_mm, image.table_laterality, image.table_view]
    return _digest("image", PIXEL_PATH_VERSION, content, settings, stated)


def _crop_key(request: CropRequest, own_image: str, mirrored_image: str | None, crop: CropConfig) -> str:
    """Identity of one crop: its image and only those settings that shape this crop."""
    shaping: Any = {"strategy": request.strategy, "size_px": crop.size_px, "outside": crop.outside_breast}
    if request.strategy == "fixed_5cm":
        shaping["size_mm"] = request.size_mm
    if request.strategy == "lesion_margin":
        shaping["margin"] = crop.margin
    if request.scale != 1.0:
        shaping["scale"] = request.scale
    if request.needs_box:
        shaping["box"] = request.box
        shaping["estimate"] = request.estimate
        shaping["mirror"] = [mirrored_image, request.mirror_of[1]] if request.mirror_of else None
    return _digest("crop", own_image, shaping)


@dataclass(frozen=True)
class CropKeys:
    """Keys of some images and of the crops that they are asked for; the one place where keys are computed.

    `images` holds the key of each image whose file's content is known, by `image_id`; `contents` those contents.
    """

    images: Mapping[str, str]
    crop: CropConfig
    contents: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Iterable[ImagePlan], contents: Mapping[str, str], job: CropJob) -> CropKeys:
        """Keys of images from the SHA-256 of their files, by `image_id`; an image without one has no key."""
        settings = _shaping(job.pixels)
        keys = {
            image.image_id: _image_key(contents[image.image_id], image, settings)
            for image in images
            if image.image_id in contents
        }
        return cls(keys, job.crop, {image_id: contents[image_id] for image_id in keys})

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


@dataclass(frozen=True)
class Held:
    """A store's records of some images, for workers: they never read it, lest their memory grows with it.

    Attributes:
        contents: SHA-256 of their files, by the key of each file.
        images: records of their pixels, by image key.
        crops: keys of their crops, cut or refused.
        refused: why images are not decoded, by `image_id`.
    """

    contents: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImageRecord] = field(default_factory=dict)
    crops: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)


def look_up(images: Sequence[ImagePlan], job: CropJob, store: CropStore) -> Held:
    """Read every record of these images' files, pixels and crops."""
    files = _file_keys(images, store)
    contents = {key: store.content(key).sha256 for key in files.values()}
    keys = CropKeys.of(images, {image_id: contents[key] for image_id, key in files.items()}, job)
    crops = frozenset(key for key, _ in keys.requests(*images) if key in store)
    images_held = {key: store.image(key) for key in keys.images.values() if key in store}
    return Held(contents, images_held, crops, refusals(images, keys, job, store))


def refusals(images: Iterable[ImagePlan], keys: CropKeys, job: CropJob, store: CropStore) -> dict[str, str]:
    """Why images are not decoded, by `image_id`: their content ended the process that tried to."""
    reasons = {}
    for image in images:
        if (own := keys.images.get(image.image_id)) is not None and own not in store:
            key = refusal_key(keys.contents[image.image_id], job.pixels)
            if key in store:
                reasons[image.image_id] = store.refused_content(key).reason
    return reasons


def stored_keys(images: Sequence[ImagePlan], job: CropJob, store: CropStore) -> CropKeys:
    """Keys of those images whose file stands as the store knows it."""
    contents = {image_id: store.content(key).sha256 for image_id, key in _file_keys(images, store).items()}
    return CropKeys.of(images, contents, job)


def is_complete(images: Sequence[ImagePlan], keys: CropKeys, store: CropStore, refused: Mapping[str, str]) -> bool:
    """True where the store holds, or has refused, every crop that these images are asked for.

    Args:
        images: asked for crops.
        keys: of the images and their crops.
        store: of the crops.
        refused: images that are not decoded, see `refusals`.
    """
    for request in (request for image in images for request in image.requests):
        needed = {request.image_id, *([request.mirror_of[0]] if request.mirror_of else [])}
        key = keys.of_request(request)
        if needed.isdisjoint(refused) and (key is None or key not in store):
            return False
    return True


def _file_keys(images: Iterable[ImagePlan], store: CropStore) -> dict[str, str]:
    """Keys of those files whose content the store knows, by `image_id`."""
    keys = {}
    folders: dict[str, str] = {}
    for image in images:
        try:
            key = file_key(image.path, folders)
        except OSError:
            continue  # a missing file is reported when it is read
        if key in store or _knows_by_samples(store, key, image.path):
            keys[image.image_id] = key
    return keys


def _knows_by_samples(store: CropStore, key: str, path: Path) -> bool:
    """Take a file for the one that the store knows, where its status alone has changed, and remember it under `key`.

    chmod, chown, a hard link and a rename change the status; inode, size and modification time stay, and the samples
    of its bytes are compared.
    """
    try:
        inode = inode_key(path)
        if inode is None or inode not in store:
            return False
        known = store.sampled(inode)
        if samples_digest(path) != known.samples:
            return False
    except OSError:
        return False  # reported when it is read
    store.remember(ContentRecord(key, known.sha256))
    return True


@dataclass(frozen=True)
class KnownCrops:
    """Crops that settings ask for.

    Attributes:
        images: images that they are cut from.
        waiting: how many of these are still to be decoded.
        requests: crops that are asked for.
        units: treated axillae that ask for them.
        keys: keys of the crops that stand in the store, in the order of the crop table.
    """

    images: int
    waiting: int
    requests: int
    units: int
    keys: tuple[str, ...]


def known_crops(cohort: Cohort, pixels: PixelConfig, crop: CropConfig, store: Path | None = None) -> KnownCrops:
    """Look what a store holds of the crops that settings ask for.

    Args:
        cohort: the tables.
        pixels: how stored values become display values.
        crop: which crops.
        store: folder of the crop store; by default `.crops` in the cohort folder.

    Raises:
        InputError: an unknown auxiliary region.
    """
    from mammo_aln.crops.regions import plan_crops  # needs the tables' libraries, which no process of a pool does

    job = CropJob(pixels, crop, store or cohort.root / ".crops")
    images = plan_crops(cohort, crop).images
    reader = CropStore(job.store)
    keys = stored_keys(images, job, reader)
    requests = [request for image in images for request in image.requests]
    standing = [key for request in requests if (key := keys.of_request(request)) is not None and key in reader]
    refused = refusals(images, keys, job, reader)
    groups = [group for group in linked_groups(images) if not is_complete(group, keys, reader, refused)]
    return KnownCrops(
        images=sum(bool(image.requests) for image in images),
        waiting=len({image.path for group in groups for image in group}),
        requests=len(requests),
        units=len({request.unit_id for request in requests}),
        keys=tuple(key for key in standing if isinstance(reader.outcome(key), CropRecord)),
    )
