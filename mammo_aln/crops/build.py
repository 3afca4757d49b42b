"""A cohort's crops: what is missing is made in parallel, then all is told as one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.derive import request_key
from mammo_aln.crops.parallel import make_crops
from mammo_aln.crops.regions import CropPlan, CropRequest, Exclusion, ImagePlan, linked_groups, plan_crops
from mammo_aln.crops.store.known import is_complete, known_image_keys
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import InputError
from mammo_aln.files import write_csv
from mammo_aln.progress import say
from mammo_aln.settings import CropConfig, PixelConfig

CROP_COLUMNS = (
    "key",
    "unit_id",
    "patient_id",
    "center",
    "image_id",
    "region",
    "ordinal",
    "strategy",
    "laterality",
    "view",
    "estimated",
    "confidence",
    "padding_share",
    "spacing_row_mm",
    "spacing_column_mm",
    "spacing_source",
    "recipe",
    "fallbacks",
)
UNCROPPED_COLUMNS = ("image_id", "center", "fallbacks")
EXCLUSION_COLUMNS = ("image_id", "patient_id", "region", "reason")


@dataclass(frozen=True)
class CropSet:
    """All crops that a cohort yields under some settings.

    Attributes:
        table: one row per crop, columns `CROP_COLUMNS`; `key` reads the pixels from the store, `fallbacks` holds codes
            joined by `;`.
        exclusions: what was asked for and cannot be had: `image_id`, `patient_id`, `region`, `reason`.
        store_path: the store's folder.
        recipe: `pixels` and `crop` settings and `cards`, the exact steps of each distinct recipe with its image count.
        uncropped: images that gave no crop at all: `image_id`, `center`, `fallbacks` (`unreadable` where the file is).
    """

    table: pd.DataFrame
    exclusions: pd.DataFrame
    store_path: Path
    recipe: dict[str, Any]
    uncropped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(UNCROPPED_COLUMNS)))

    def open_store(self) -> CropStore:
        """The store that `key` reads from."""
        return CropStore(self.store_path)


def build_crops(
    cohort: Cohort,
    pixels: PixelConfig,
    crop: CropConfig,
    *,
    store: Path | None = None,
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    list_exclusions: bool = True,
) -> CropSet:
    """Make every crop that is missing in the store, then describe all of them.

    Args:
        cohort: the tables.
        pixels: how stored values become display values.
        crop: which crops.
        store: folder of the crop store; by default `.crops` in the cohort folder.
        workers: processes; by default one per core.
        shard: (3, 16) does the third of sixteen parts, for as many machines on one store.
        list_exclusions: write `exclusions.csv` beside the segments: what was asked for and cannot be had, and why.

    Raises:
        InputError: nothing can be cropped, an unknown auxiliary region or shard, or percentiles in the wrong order.
    """
    if not pixels.percentile_low < pixels.percentile_high:
        raise InputError(
            f"pixels.percentile_low = {pixels.percentile_low:g}: expected less than pixels.percentile_high = "
            f"{pixels.percentile_high:g}"
        )
    path = Path(store) if store is not None else cohort.root / ".crops"
    plan = _part(plan_crops(cohort, crop), shard)
    reader = CropStore(path)
    waiting = [group for group in linked_groups(plan.images) if not is_complete(group, pixels, crop, reader)]
    failures = make_crops(waiting, pixels, crop, reader, workers)
    reader.refresh()
    rows, exclusions, cards = _describe(plan, pixels, crop, reader, failures)
    uncropped = _uncropped(
        plan, {row["image_id"] for row in rows}, known_image_keys(plan.images, pixels, reader), reader
    )
    if not rows and shard is None:
        raise InputError(_nothing_left(cohort, exclusions))
    excluded = pd.DataFrame([asdict(one) for one in exclusions], columns=list(EXCLUSION_COLUMNS))
    name = "exclusions.csv" if shard is None else f"exclusions.{shard[0]}-of-{shard[1]}.csv"
    if list_exclusions:
        _write_exclusions(path / name, excluded)
    return CropSet(
        pd.DataFrame(rows, columns=list(CROP_COLUMNS)),
        excluded,
        path,
        {"pixels": asdict(pixels), "crop": asdict(crop), "cards": cards},
        pd.DataFrame(uncropped, columns=list(UNCROPPED_COLUMNS)),
    )


def _write_exclusions(path: Path, excluded: pd.DataFrame) -> None:
    """A finished store may be shared read-only: that its list cannot be written anew is told, no reason to stop."""
    try:
        write_csv(path, excluded)
    except (OSError, InputError) as error:
        say(f"{len(excluded)} exclusions, their list was not written: {error}")


def _part(plan: CropPlan, shard: tuple[int, int] | None) -> CropPlan:
    if shard is None:
        return plan
    number, parts = shard
    if not 1 <= number <= parts:
        raise InputError(f"shard = {number}/{parts}: expected 1/{parts} to {parts}/{parts}")
    kept = {image.image_id for group in linked_groups(plan.images)[number - 1 :: parts] for image in group}
    return CropPlan(tuple(image for image in plan.images if image.image_id in kept), plan.exclusions)


def _describe(
    plan: CropPlan, pixels: PixelConfig, crop: CropConfig, store: CropStore, failures: dict[str, str]
) -> tuple[list[dict[str, Any]], list[Exclusion], list[dict[str, Any]]]:
    """Rows of the crop table, all exclusions, and the recipe cards."""
    keys = known_image_keys(plan.images, pixels, store)
    rows: list[dict[str, Any]] = []
    exclusions = list(plan.exclusions)
    cards: dict[str, dict[str, Any]] = {}
    used: Counter[str] = Counter()
    for image in plan.images:
        own: dict[str, Any] | None = None
        for request in image.requests:
            key = request_key(request, keys, crop)
            reason = failures.get(image.image_id) or (failures.get(request.mirror_of[0]) if request.mirror_of else None)
            if key is None or key not in store:
                exclusions.append(_exclusion(request, reason or "the image could not be read"))
                continue
            record = store.record(key)
            if record["kind"] == "refused":
                exclusions.append(_exclusion(request, record["reason"]))
                continue
            if own is None:
                own = store.record(record["image"])
                card = own["recipe"]
                cards.setdefault(card["digest"], card)
                used[card["digest"]] += 1
            rows.append(_row(image, request, record, own))
    listed = [{"digest": name, "images": used[name], "steps": card["steps"]} for name, card in cards.items()]
    return rows, list(dict.fromkeys(exclusions)), listed


def _uncropped(plan: CropPlan, cropped: set[str], keys: dict[str, str], store: CropStore) -> list[tuple[str, str, str]]:
    """Images without any crop, with the codes of what their header and pixels lacked."""
    lost = [image for image in plan.images if image.image_id not in cropped]
    codes = [
        store.record(key)["fallbacks"] if (key := keys.get(image.image_id)) and key in store else ["unreadable"]
        for image in lost
    ]
    return [(image.image_id, image.center, ";".join(found)) for image, found in zip(lost, codes, strict=True)]


def _exclusion(request: CropRequest, reason: str) -> Exclusion:
    return Exclusion(request.image_id, request.patient_id, request.region, reason)


def _row(image: ImagePlan, request: CropRequest, record: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    spacing = own["spacing"] or {"row_mm": float("nan"), "column_mm": float("nan"), "source": ""}
    codes = [*own["fallbacks"], *record["flags"], *([f"{request.estimate}_estimated"] if request.estimate else [])]
    return {
        "key": record["key"],
        "unit_id": request.unit_id,
        "patient_id": request.patient_id,
        "center": image.center,
        "image_id": image.image_id,
        "region": request.region,
        "ordinal": request.ordinal,
        "strategy": request.strategy,
        "laterality": own["laterality"] or "",
        "view": own["view"] or "",
        "estimated": request.estimated,
        "confidence": record["confidence"],
        "padding_share": record["padding_share"],
        "spacing_row_mm": spacing["row_mm"],
        "spacing_column_mm": spacing["column_mm"],
        "spacing_source": spacing["source"],
        "recipe": own["recipe"]["digest"],
        "fallbacks": ";".join(dict.fromkeys(codes)),
    }


def _nothing_left(cohort: Cohort, exclusions: Sequence[Exclusion]) -> str:
    reasons = Counter(one.reason for one in exclusions).most_common(3)
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons)
    return f"{cohort.root}: no crop can be made ({told or 'no eligible patient has an image'})"
