"""Does the store still hold what the files give? A share of the crops is made again and compared."""

from __future__ import annotations

import math
import random
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.derive import request_key
from mammo_aln.crops.export import export_name
from mammo_aln.crops.parallel import make_crops
from mammo_aln.crops.regions import CropRequest, linked_groups, plan_crops
from mammo_aln.crops.store.known import known_image_keys
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import CheckFailed, InputError
from mammo_aln.settings import CropConfig, PixelConfig


def audit_crops(
    cohort: Cohort,
    pixels: PixelConfig,
    crop: CropConfig,
    *,
    share: float,
    seed: int = 0,
    store: Path | None = None,
    workers: int | None = None,
) -> int:
    """Make a random share of the stored crops again from their files, in a store of their own, and compare all pixels.

    Args:
        cohort: the tables.
        pixels: how stored values become display values.
        crop: which crops.
        share: share of the crops in (0, 1]; at least one is taken.
        seed: draws them.
        store: folder of the crop store; by default `.crops` in the cohort folder.
        workers: processes; by default one per core.

    Returns:
        the number of crops compared.

    Raises:
        CheckFailed: a crop differs; all of them are listed.
        InputError: the store has none of these, or `share` is out of range.
    """
    if not 0.0 < share <= 1.0:
        raise InputError(f"audit share = {share}: expected more than 0 and at most 1")
    path = Path(store) if store is not None else cohort.root / ".crops"
    kept = CropStore(path)
    plan = plan_crops(cohort, crop)
    keys = known_image_keys(plan.images, pixels, kept)
    stored: dict[str, CropRequest] = {}
    for image in plan.images:
        for request in image.requests:
            key = request_key(request, keys, crop)
            if key is not None and key in kept and kept.record(key)["kind"] == "crop":
                stored.setdefault(key, request)
    if not stored:
        raise InputError(f"{path}: the store holds no crop of this cohort under these settings; nothing to audit")
    chosen = random.Random(seed).sample(sorted(stored), max(1, math.ceil(share * len(stored))))
    wanted: dict[str, list[CropRequest]] = defaultdict(list)
    for key in chosen:
        request = stored[key]
        wanted[request.image_id].append(request)
        if request.mirror_of is not None:
            wanted.setdefault(request.mirror_of[0], [])
    images = [
        replace(image, requests=tuple(wanted[image.image_id])) for image in plan.images if image.image_id in wanted
    ]
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        again = CropStore(folder)
        failures = make_crops(linked_groups(images), pixels, crop, again, workers)
        again.refresh()
        faults = [
            f"  {export_name(one.image_id, one.region, one.ordinal, one.strategy)}: {fault}"
            for key in chosen
            if (fault := _difference(key, kept, again, failures.get((one := stored[key]).image_id)))
        ]
    if faults:
        listed = "\n".join(faults)
        raise CheckFailed(
            f"{path}: {len(faults)} of {len(chosen)} audited crops are not what the files give:\n{listed}\nremove that "
            "folder and make the crops anew"
        )
    return len(chosen)


def _difference(key: str, kept: CropStore, again: CropStore, failure: str | None) -> str | None:
    if failure:
        return failure
    if not kept.is_intact(key):
        return "the stored pixels do not have the checksum that was recorded"
    if key not in again:
        return "the file's content has changed since"
    differing = kept.read(key).astype(np.int64) - again.read(key)
    if not differing.any():
        return None
    return f"{np.count_nonzero(differing)} pixels differ, by at most {np.abs(differing).max()} of 65535"
