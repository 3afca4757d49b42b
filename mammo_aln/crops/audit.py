"""The audit: a share of the stored crops is made again from the files and compared."""

from __future__ import annotations

import math
import random
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.export import export_name
from mammo_aln.crops.keys import CropJob, stored_keys
from mammo_aln.crops.parallel import make_crops
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.requests import CropRequest, linked_groups
from mammo_aln.crops.store.records import CropRecord
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import CheckFailed, InputError

SEED = 0
"""Draws the crops that are compared."""


def audit_crops(cohort: Cohort, job: CropJob, *, share: float, workers: int | None = None) -> int:
    """Make a random share of the stored crops again from their files, in a store of their own, and compare all pixels.

    Args:
        cohort: the tables.
        job: the settings that the crops were made with, and their store.
        share: share of the crops in (0, 1]; at least one is taken.
        workers: processes; by default one per core.

    Returns:
        the number of crops compared.

    Raises:
        CheckFailed: a crop differs; all of them are listed.
        InputError: the store has none of these, or `share` is out of range.
    """
    if not 0.0 < share <= 1.0:
        raise InputError(f"audit share = {share}: expected more than 0 and at most 1")
    kept = CropStore(job.store)
    plan = plan_crops(cohort, job.crop)
    stored: dict[str, CropRequest] = {}
    for key, request in stored_keys(plan.images, job, kept).requests(*plan.images):
        if key in kept and isinstance(kept.outcome(key), CropRecord):
            stored.setdefault(key, request)
    if not stored:
        raise InputError(f"{job.store}: the store holds no crop of this cohort under these settings; nothing to audit")
    chosen = random.Random(SEED).sample(sorted(stored), max(1, math.ceil(share * len(stored))))
    requests: dict[str, list[CropRequest]] = defaultdict(list)
    for request in [stored[key] for key in chosen]:
        requests[request.image_id].append(request)
        if request.mirror_of is not None:
            requests.setdefault(request.mirror_of[0], [])
    images = [
        replace(image, requests=tuple(requests[image.image_id])) for image in plan.images if image.image_id in requests
    ]
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        again = CropStore(folder)
        failures = make_crops(linked_groups(images), replace(job, store=Path(folder)), again, workers)
        again.refresh()
        faults = [
            f"  {export_name(crop.image_id, crop.region, crop.ordinal, crop.strategy)}: {fault}"
            for key in chosen
            if (fault := _difference(key, kept, again, failures.get((crop := stored[key]).image_id)))
        ]
    if faults:
        listed = "\n".join(faults)
        raise CheckFailed(
            f"{job.store}: {len(faults)} of {len(chosen)} audited crops are not what the files give:\n{listed}\nremove "
            "that folder and make the crops anew"
        )
    return len(chosen)


def _difference(key: str, kept: CropStore, again: CropStore, failure: str | None) -> str | None:
    if failure:
        return failure
    if not kept.is_intact(key):
        return "the stored pixels do not have the checksum that was recorded"
    if key not in again:
        return "the file's content has changed since"
    differing = kept.read_surround(key).astype(np.int64) - again.read_surround(key)
    if not differing.any():
        return None
    return f"{np.count_nonzero(differing)} pixels differ, by at most {np.abs(differing).max()} of 65535"
