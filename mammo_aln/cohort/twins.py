"""Files with identical content under different rows: copies leak between patients and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from mammo_aln.dicom.archive import content_digest, file_on_disk, image_bytes, open_image

EDGE_BYTES = 1 << 16
Key = TypeVar("Key", bound=Hashable)


def identical_files(files: Mapping[str, Path]) -> list[list[str]]:
    """Groups of keys whose files hold the same bytes; files that do not exist are left out.

    Only files of equal size are opened, and only those whose first and last 64 KiB agree are read whole, so that a
    cohort of uncompressed images of one size costs two short reads each.

    Args:
        files: a path per key.

    Returns:
        Groups of at least two keys, sorted.
    """
    sizes = {key: image_bytes(path) for key, path in files.items() if file_on_disk(path).is_file()}
    groups = _alike((size, key) for key, size in sizes.items())
    for fingerprint in (_edges, content_digest):
        groups = [same for group in groups for same in _alike((fingerprint(files[key]), key) for key in group)]
    return sorted(groups)


def _alike(pairs: Iterable[tuple[Key, str]]) -> list[list[str]]:
    groups: dict[Key, list[str]] = {}
    for value, key in pairs:
        groups.setdefault(value, []).append(key)
    return [sorted(keys) for keys in groups.values() if len(keys) > 1]


def _edges(path: Path) -> str:
    with open_image(path) as file:
        first = file.read(EDGE_BYTES)
        file.seek(max(0, image_bytes(path) - EDGE_BYTES))
        return hashlib.sha256(first + file.read(EDGE_BYTES)).hexdigest()
