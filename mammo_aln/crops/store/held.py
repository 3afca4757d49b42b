"""Records that a store holds of some images: looked up by the one process that reads it, sent to those that fill it.

Workers never read the store themselves, so that their memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mammo_aln.crops.job import CropJob
from mammo_aln.crops.keys import CropKeys, file_key
from mammo_aln.crops.regions import ImagePlan
from mammo_aln.crops.store.records import ImageRecord
from mammo_aln.crops.store.store import CropStore


@dataclass(frozen=True)
class Held:
    """The store's records of some images.

    Attributes:
        contents: SHA-256 of their files, by the key of each file.
        images: records of their pixels, by image key.
        crops: keys of their crops, cut or refused.
    """

    contents: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImageRecord] = field(default_factory=dict)
    crops: frozenset[str] = frozenset()


def look_up(images: Sequence[ImagePlan], job: CropJob, store: CropStore) -> Held:
    """Read every record of these images' files, pixels and crops."""
    files = _file_keys(images, store)
    contents = {key: store.content(key).sha256 for key in files.values()}
    keys = CropKeys.of(images, {image_id: contents[key] for image_id, key in files.items()}, job)
    crops = frozenset(key for key, _ in keys.requests(*images) if key in store)
    return Held(contents, {key: store.image(key) for key in keys.images.values() if key in store}, crops)


def stored_keys(images: Sequence[ImagePlan], job: CropJob, store: CropStore) -> CropKeys:
    """Keys of those images whose file stands as the store knows it."""
    contents = {image_id: store.content(key).sha256 for image_id, key in _file_keys(images, store).items()}
    return CropKeys.of(images, contents, job)


def is_complete(images: Sequence[ImagePlan], job: CropJob, store: CropStore) -> bool:
    """True where the store holds, or has refused, every crop that these images are asked for."""
    keys = stored_keys(images, job, store)
    crops = [keys.of_request(request) for image in images for request in image.requests]
    return all(key is not None and key in store for key in crops)


def _file_keys(images: Iterable[ImagePlan], store: CropStore) -> dict[str, str]:
    """Keys of those files whose content the store knows, by `image_id`."""
    keys = {}
    for image in images:
        try:
            key = file_key(image.path)
        except OSError:
            continue  # a missing file is reported when it is read
        if key in store:
            keys[image.image_id] = key
    return keys
