"""A cohort's crops: what is missing is made in parallel, then all of them become one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.frozen import Freezer, FrozenCrops
from mammo_aln.crops.keys import PIXEL_PATH_VERSION, CropJob, CropKeys, is_complete, refusals, stored_keys
from mammo_aln.crops.outside import with_outside
from mammo_aln.crops.parallel import make_crops
from mammo_aln.crops.provenance import RecipeCard, grouped_cards
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.requests import CropPlan, CropRequest, Exclusion, ImagePlan, linked_groups
from mammo_aln.crops.store.records import CropRecord, ImageRecord
from mammo_aln.crops.store.store import CropStore
from mammo_aln.dicom.provenance import PixelRecipe
from mammo_aln.errors import InputError
from mammo_aln.files import make_folder, write_csv
from mammo_aln.machine.deaths import ENDED, REASONS
from mammo_aln.machine.locks import await_lock
from mammo_aln.progress import say
from mammo_aln.settings import CropConfig, PixelConfig

LOCK_FILE = ".building"
"""In the store's folder; held by the one of several processes of a training that builds its crops."""
MOST_TOLD = 5
UNCROPPED_COLUMNS = ("image_id", "center", "fallbacks")


@dataclass(frozen=True)
class CropRow:
    """One row of the crop table: what was asked for, and what the store's records say of it."""

    key: str
    unit_id: str
    patient_id: str
    center: str
    image_id: str
    region: str
    ordinal: int
    strategy: str
    laterality: str
    view: str
    estimated: bool
    confidence: float
    padding_share: float
    side_mm: float
    spacing_row_mm: float
    spacing_column_mm: float
    spacing_source: str
    recipe: str
    fallbacks: str


@dataclass(frozen=True)
class CropSet:
    """All crops that a cohort yields under some settings.

    Attributes:
        table: one row per crop, columns are `CropRow`'s; `key` reads the pixels from the store, `fallbacks` holds codes
            joined by `;`.
        exclusions: what was asked for and cannot be had: the columns are `Exclusion`'s fields.
        job: the settings, and the store's folder.
        cards: the steps of the recipes, grouped (`provenance.grouped_cards`), plain JSON.
        uncropped: images that gave no crop at all: `image_id`, `center`, `fallbacks` (`unreadable` where the file is).
        contents: SHA-256 of each image's file, by `image_id`.
        reader: reads the pixels.
    """

    table: pd.DataFrame
    exclusions: pd.DataFrame
    job: CropJob
    cards: list[Any]
    uncropped: pd.DataFrame
    contents: Mapping[str, str]
    reader: CropStore

    @property
    def recipe(self) -> dict[str, Any]:
        """Version of the pixel path, pixel and crop settings, and the steps taken, as plain JSON."""
        return {
            "pixel_path_version": PIXEL_PATH_VERSION,
            "pixels": {name: value for name, value in asdict(self.job.pixels).items() if name != "decode_timeout_s"},
            "crop": asdict(self.job.crop),
            "cards": self.cards,
        }

    @property
    def store_path(self) -> Path:
        """The store's folder."""
        return self.job.store

    def open_store(self) -> CropStore:
        """The store that `key` reads from; its journals are read once in a process, or not at all."""
        return self.reader


def build_crops(
    cohort: Cohort,
    pixels: PixelConfig,
    crop: CropConfig,
    *,
    store: Path | None = None,
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    list_exclusions: bool = True,
    once: bool = False,
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
            Without it no crop at all is no error either: a proof sheet shows that too.
        once: other processes of the same training build the same crops now: the first one does, the others wait for it.

    Raises:
        InputError: nothing can be cropped, an unknown auxiliary region or shard, or percentiles in the wrong order.
    """
    if not pixels.percentile_low < pixels.percentile_high:
        raise InputError(
            f"pixels.percentile_low = {pixels.percentile_low:g}: expected less than pixels.percentile_high = "
            f"{pixels.percentile_high:g}"
        )
    job = CropJob(pixels, crop, Path(store) if store is not None else cohort.root / ".crops")
    freezer = Freezer.of(cohort, job) if shard is None else None
    kept = freezer.read(job.store) if freezer is not None else None
    if kept is None and freezer is not None and once:
        with _alone(job.store):
            kept = freezer.read(job.store)
            built = _described(cohort, job, workers, shard, freezer) if kept is None else _thawed(kept, job)
    else:
        built = _described(cohort, job, workers, shard, freezer) if kept is None else _thawed(kept, job)
    if built.table.empty and shard is None and list_exclusions:
        reasons = Counter(built.exclusions["reason"]).most_common(3)
        common = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        raise InputError(f"{cohort.root}: no crop can be made ({common or 'no eligible patient has an image'})")
    name = "exclusions.csv" if shard is None else f"exclusions.{shard[0]}-of-{shard[1]}.csv"
    if list_exclusions:
        _tell_deaths(built.exclusions, job.store / name)
        try:
            write_csv(job.store / name, built.exclusions)
        except (OSError, InputError) as error:  # a finished store may be shared read-only: no reason to stop
            say(f"{len(built.exclusions)} exclusions, their list was not written: {error}")
    return built


def _tell_deaths(exclusions: pd.DataFrame, path: Path) -> None:
    """Say which images are left out since their decoders died of them: their files are worth a look."""
    died = exclusions[exclusions["reason"].str.startswith(REASONS)].drop_duplicates("image_id")
    if len(died):
        say(f"{len(died)} images are left out, their decoders died of them: {path}")
        for image_id, reason in died[["image_id", "reason"]].head(MOST_TOLD).itertuples(index=False):
            say(f"  {image_id}: {reason}")


def _alone(store: Path) -> AbstractContextManager[object]:
    """Hold the store's building for this process, once nobody else does."""
    try:
        return await_lock(make_folder(store) / LOCK_FILE)
    except OSError:  # shared read-only: there is nothing that could be built twice
        return nullcontext()


def _thawed(kept: FrozenCrops, job: CropJob) -> CropSet:
    reader = CropStore(job.store, kept.index)
    return CropSet(kept.table, kept.exclusions, job, kept.cards, kept.uncropped, kept.contents, reader)


def _described(
    cohort: Cohort, job: CropJob, workers: int | None, shard: tuple[int, int] | None, freezer: Freezer | None
) -> CropSet:
    """Make what is missing, describe all, and keep the description where the next start would get the same one."""
    plan = _of_shard(plan_crops(cohort, job.crop), shard)
    reader = CropStore(job.store)
    keys = stored_keys(plan.images, job, reader)
    refused = refusals(plan.images, keys, job, reader)
    waiting = [group for group in linked_groups(plan.images) if not is_complete(group, keys, reader, refused)]
    if reader.remembered:
        say(
            f"{reader.remembered} files have another status change time (chmod, a link, another name); inode, size, "
            "modification time and samples of their bytes are as they were: taken as unchanged; "
            "`mammo-aln crop --audit 1` compares them whole"
        )
    failures = refused | make_crops(waiting, job, reader, workers)
    reader.refresh()
    if waiting:
        keys = stored_keys(plan.images, job, reader)
    built = _describe(plan, job, reader, keys, failures)
    # A file that could not be read is tried again by the next start.
    lasting = all(image_id in built.contents and not reason.startswith(ENDED) for image_id, reason in failures.items())
    if freezer is not None and lasting and len(built.table):
        index = reader.index_of(built.table["key"])
        freezer.keep(FrozenCrops(built.table, built.exclusions, built.uncropped, built.cards, built.contents, index))
    return built


def _of_shard(plan: CropPlan, shard: tuple[int, int] | None) -> CropPlan:
    if shard is None:
        return plan
    number, shards = shard
    if not 1 <= number <= shards:
        raise InputError(f"shard = {number}/{shards}: expected 1/{shards} to {shards}/{shards}")
    kept = {image.image_id for group in linked_groups(plan.images)[number - 1 :: shards] for image in group}
    return CropPlan(tuple(image for image in plan.images if image.image_id in kept), plan.exclusions)


def _describe(plan: CropPlan, job: CropJob, store: CropStore, keys: CropKeys, failures: Mapping[str, str]) -> CropSet:
    """Read back what the store holds of every request, and say why it lacks the others."""
    rows: list[CropRow] = []
    exclusions = list(plan.exclusions)
    cropped: dict[str, tuple[ImageRecord, PixelRecipe, str]] = {}  # with the recipe's digest
    for image in plan.images:
        for request in image.requests:
            key = keys.of_request(request)
            record = store.outcome(key) if key is not None and key in store else None
            if not isinstance(record, CropRecord):
                lesion_image = request.mirror_of[0] if request.mirror_of else ""
                failure = failures.get(image.image_id) or failures.get(lesion_image) or "the image could not be read"
                reason = failure if record is None else record.reason
                exclusions.append(Exclusion(request.image_id, request.patient_id, request.region, reason))
                continue
            if image.image_id not in cropped:
                own = store.image(record.image)
                recipe = with_outside(own.recipe, own.anatomy, job.crop.outside_breast)
                cropped[image.image_id] = own, recipe, recipe.digest()
            own, _, digest = cropped[image.image_id]
            rows.append(_row(image, request, record, own, digest))
    uncropped = []
    for image in plan.images:
        if image.image_id not in cropped:
            key = keys.images.get(image.image_id)
            codes = store.image(key).fallbacks if key is not None and key in store else ("unreadable",)
            uncropped.append((image.image_id, image.center, ";".join(codes)))
    recipes = {digest: recipe for _, recipe, digest in cropped.values()}
    counts = Counter(digest for _, _, digest in cropped.values())
    return CropSet(
        pd.DataFrame([vars(row) for row in rows], columns=[column.name for column in fields(CropRow)]),
        pd.DataFrame(map(vars, dict.fromkeys(exclusions)), columns=[column.name for column in fields(Exclusion)]),
        job,
        grouped_cards([RecipeCard(counts[digest], recipe) for digest, recipe in recipes.items()]),
        pd.DataFrame(uncropped, columns=list(UNCROPPED_COLUMNS)),
        keys.contents,
        store,
    )


def _row(image: ImagePlan, request: CropRequest, record: CropRecord, own: ImageRecord, recipe: str) -> CropRow:
    side_mm = own.side_mm(record.window)
    estimate = [f"{request.estimate}_estimated"] if request.estimate else []
    return CropRow(
        record.key,
        request.unit_id,
        request.patient_id,
        image.center,
        image.image_id,
        request.region,
        request.ordinal,
        request.strategy,
        own.laterality or "",
        own.view or "",
        request.estimated,
        record.confidence,
        record.padding_share,
        float("nan") if side_mm is None else round(side_mm, 6),
        own.spacing.row_mm if own.spacing else float("nan"),
        own.spacing.column_mm if own.spacing else float("nan"),
        own.spacing.source if own.spacing else "",
        recipe,
        ";".join(dict.fromkeys([*own.fallbacks, *record.flags, *estimate])),
    )
