"""What a store already holds of some images: asked by the one process that reads it, told to those that fill it.

Workers never read the store themselves, so that their memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from mammo_aln.crops.derive import Known, image_key, place_key, request_key
from mammo_aln.crops.regions import ImagePlan
from mammo_aln.crops.store.store import CropStore
from mammo_aln.settings import CropConfig, PixelConfig


def known_image_keys(images: Iterable[ImagePlan], pixels: PixelConfig, store: CropStore) -> dict[str, str]:
    """Keys of those images whose file stands as the store knows it."""
    return {name: key for name, (_, key) in _known_files(images, pixels, store).items()}


def is_complete(group: Iterable[ImagePlan], pixels: PixelConfig, crop: CropConfig, store: CropStore) -> bool:
    """Whether the store holds, or has refused, every crop that these images are asked for."""
    images = list(group)
    keys = known_image_keys(images, pixels, store)
    wanted = [request_key(request, keys, crop) for image in images for request in image.requests]
    return all(key is not None and key in store for key in wanted)


def known_records(group: Iterable[ImagePlan], pixels: PixelConfig, crop: CropConfig, store: CropStore) -> Known:
    """Every record of these images' files, pixels and crops that the store holds."""
    images = list(group)
    files = _known_files(images, pixels, store)
    keys = {name: key for name, (_, key) in files.items()}
    wanted = [request_key(request, keys, crop) for image in images for request in image.requests]
    held = [key for key in (*(place for place, _ in files.values()), *keys.values(), *wanted) if key and key in store]
    return {key: store.record(key) for key in held}


def _known_files(images: Iterable[ImagePlan], pixels: PixelConfig, store: CropStore) -> dict[str, tuple[str, str]]:
    """image_id -> the key of its file's place and that of its pixels."""
    found = {}
    for image in images:
        try:
            place = place_key(image.path)
        except OSError:
            continue  # its absence is told when it is read
        if place in store:
            found[image.image_id] = place, image_key(store.record(place)["sha256"], image, pixels)
    return found
