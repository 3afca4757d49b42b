"""Contact sheets: every lesion's view with its windows drawn in, beside the crops that training reads, worst first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.parallel import read_apart
from mammo_aln.crops.proof.sheet import Row, Thumbnail, Tile, draw_sheet
from mammo_aln.crops.provenance import CROP_CODES, in_words
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.requests import PRIMARY, ImagePlan
from mammo_aln.crops.store.records import ImageRecord
from mammo_aln.crops.store.store import CropStore
from mammo_aln.crops.unused import unused_words
from mammo_aln.files import write_csv, written_whole
from mammo_aln.progress import say, track
from mammo_aln.settings import STRATEGIES

LESIONS_PER_SHEET = 10
VIEW_HEIGHT_PX = 420
AUXILIARY_TILES = 2
_SERIOUS = (
    "polarity_unlikely",
    "box_off_breast",
    "box_partly_outside_image",
    "orientation_disagrees",
    "laterality_unlikely",
    "laterality_conflict",
    "view_conflict",
    "padding_over_10_percent",
    "low_confidence",
    "breast_outline_unsure",
    "no_spacing",
)


@dataclass(frozen=True)
class _Lesion:
    """One row of a sheet: a primary box (or the whole breast) on one view.

    Attributes:
        patient: running number over the sheets, 1 for the worst.
        image_id: the view.
        ordinal: 1, 2, ... for several boxes of one image.
        crops: all rows of the crop table of this image; none where no crop of it can be made.
        reasons: why it has no primary crop under the strategy that was asked for.
    """

    patient: int
    image_id: str
    ordinal: int
    crops: pd.DataFrame
    reasons: tuple[str, ...] = ()


def write_proof(cohort: Cohort, crops: CropSet, out_dir: str | Path, *, patients: int = 100) -> Path:
    """Draw contact sheets `proof_001.png`, ... of the primary lesions, worst first, and `exclusions.csv`.

    A row shows the view (chest wall left) with the breast's outline, the four windows, a 5 cm scale bar and the
    laterality mark, then the four crops and auxiliary ones of the same view, read back from the store. Images that give
    no primary crop come first, with the reason. The only identifier is `image_id`; patients are running numbers.

    Args:
        cohort: the tables.
        crops: what `build_crops` gave; its flags decide the order, its store receives the crops that the sheets add.
        out_dir: folder of the sheets.
        patients: at most so many patients are drawn.

    Returns:
        the folder.
    """
    out = Path(out_dir)
    refused = crops.exclusions[(crops.exclusions["region"] == PRIMARY) & (crops.exclusions["image_id"] != "")]
    ranked = list(dict.fromkeys([*refused["patient_id"], *rank_patients(crops.table)]))
    shown = ranked[:patients]
    if len(ranked) > len(shown):
        say(f"proof: the {len(shown)} worst of {len(ranked)} patients are drawn")
    few = replace(cohort, patients=cohort.patients[cohort.patients["patient_id"].isin(shown)])
    pixels, everything = crops.job.pixels, replace(crops.job.crop, strategy="all")
    every = build_crops(few, pixels, everything, store=crops.job.store, list_exclusions=False)
    plans = {image.image_id: image for image in plan_crops(few, everything).images}
    lesions = _lesions(every.table, refused, shown)
    studies = _studies(cohort)
    unused = unused_words(cohort, crops)
    store = every.open_store()
    sheets = [lesions[first : first + LESIONS_PER_SHEET] for first in range(0, len(lesions), LESIONS_PER_SHEET)]
    for number, sheet in enumerate(track(sheets, total=len(sheets), what="proof", unit="sheet"), start=1):
        rows = [
            _row(lesion, plans[lesion.image_id], every, store, studies.get(lesion.image_id, "")) for lesion in sheet
        ]
        title = f"Crop proof, sheet {number} of {len(sheets)}, worst first"
        picture = draw_sheet(rows, f"{title}; {unused}" if unused else title)
        with written_whole(out / f"proof_{number:03d}.png") as file:
            picture.save(file, format="PNG")
    write_csv(out / "exclusions.csv", crops.exclusions)
    return out


def rank_patients(table: pd.DataFrame) -> list[str]:
    """Rank patients from worst to best: most serious flags first, then least confidence, then most padding."""
    serious = table["fallbacks"].str.split(";").map(lambda codes: sum(code in _SERIOUS for code in codes))
    padding = table["padding_share"].where(table["strategy"] != "whole_breast", 0.0)
    ranks = table.assign(serious=serious, padding=padding).groupby("patient_id", sort=True)
    worst = ranks.agg(serious=("serious", "max"), confidence=("confidence", "min"), padding=("padding", "max"))
    ordered = worst.sort_values(["serious", "confidence", "padding"], ascending=[False, True, False], kind="stable")
    return [str(patient) for patient in ordered.index]


def _studies(cohort: Cohort) -> dict[str, str]:
    """Names of the images' exams, where `images.csv` has them."""
    if "study" not in cohort.images:
        return {}
    named = cohort.images[["image_id", "study"]].dropna().astype(str)
    return dict(zip(named["image_id"], named["study"], strict=True))


def _lesions(table: pd.DataFrame, refused: pd.DataFrame, shown: list[str]) -> list[_Lesion]:
    numbers = {patient: number for number, patient in enumerate(shown, start=1)}
    reasons = {image_id: tuple(dict.fromkeys(rows["reason"])) for image_id, rows in refused.groupby("image_id")}
    primary = table.loc[table["region"] == PRIMARY, ["patient_id", "image_id", "ordinal"]].drop_duplicates()
    nothing = refused.loc[~refused["image_id"].isin(primary["image_id"]), ["patient_id", "image_id"]].assign(ordinal=1)
    asked = pd.concat([primary, nothing]).drop_duplicates() if len(nothing) else primary
    lesions = [
        _Lesion(
            numbers[patient], image_id, ordinal, table[table["image_id"] == image_id], reasons.get(str(image_id), ())
        )
        for patient, image_id, ordinal in asked.itertuples(index=False)
        if patient in numbers
    ]
    return sorted(lesions, key=lambda lesion: (lesion.patient, not lesion.reasons, lesion.image_id, lesion.ordinal))


def _row(lesion: _Lesion, plan: ImagePlan, crops: CropSet, store: CropStore, study: str) -> Row:
    table, auxiliary_strategy = lesion.crops, crops.job.crop.auxiliary_strategy
    who = f"patient {lesion.patient}, {{}}{f', study {study}' if study else ''}"
    if table.empty:
        mark = f"{plan.laterality or '?'} {plan.view or '?'}"
        lines = (("head", lesion.image_id), ("plain", who.format(mark)), *_without_crop(lesion))
        empty = [Tile(strategy, strategy.replace("_", " "), None, None, None) for strategy in STRATEGIES]
        return Row(Thumbnail.blank(mark, VIEW_HEIGHT_PX), empty, lines)
    primary = table[(table["region"] == PRIMARY) & (table["ordinal"] == lesion.ordinal)]
    keys = dict(zip(primary["strategy"], primary["key"], strict=True))
    auxiliary = table[(table["region"] != PRIMARY) & (table["strategy"] == auxiliary_strategy)]
    image = store.image(store.crop(table["key"].iloc[0]).image)
    tiles = [_tile(strategy, strategy, keys.get(strategy), image, store) for strategy in STRATEGIES]
    shown = auxiliary[:AUXILIARY_TILES]
    tiles += [
        _tile("auxiliary", region, key, image, store) for region, key in zip(shown["region"], shown["key"], strict=True)
    ]
    about = who.format(f"{image.laterality or '?'} {image.view or '?'}")
    lines = _lines(lesion, about, pd.concat([primary, auxiliary]), image, tiles)
    anatomy = image.anatomy if crops.job.crop.outside_breast == "mask" else None
    return Row(Thumbnail.of(read_apart(plan, crops.job.pixels), VIEW_HEIGHT_PX, anatomy), tiles, lines)


def _without_crop(lesion: _Lesion) -> tuple[tuple[str, str], ...]:
    return tuple(("flag", f"no primary crop: {reason}") for reason in lesion.reasons)


def _tile(colour: str, name: str, key: str | None, image: ImageRecord, store: CropStore) -> Tile:
    title = name.replace("_", " ")
    if key is None:
        return Tile(colour, title, None, None, None)
    window = store.crop(key).window
    return Tile(colour, title, (store.read(key) >> 8).astype(np.uint8), window.box, image.side_mm(window))


def _lines(
    lesion: _Lesion, about: str, rows: pd.DataFrame, image: ImageRecord, tiles: list[Tile]
) -> tuple[tuple[str, str], ...]:
    """Lines beside a row, each with its weight: `head`, `plain` or `flag`."""
    spacing, turned = image.spacing, image.orientation
    millimetres = (
        "pixel spacing unknown"
        if spacing is None
        else f"{spacing.row_mm:.4g} x {spacing.column_mm:.4g} mm per pixel, from {spacing.source.replace('_', ' ')}"
    )
    numbered = f", lesion {lesion.ordinal}" if lesion.ordinal > 1 else ""
    mirrored = [name for name, so in (("left-right", turned.flip_horizontal), ("up-down", turned.flip_vertical)) if so]
    shown = f"turned {' and '.join(mirrored)} for display" if mirrored else "shown as stored"
    lines = [
        ("head", f"{lesion.image_id}{numbered}"),
        ("plain", about),
        *_without_crop(lesion),
    ]
    lines += [("plain", millimetres), ("plain", shown)]
    codes: dict[str, list[str]] = {}
    for region, strategy, fallbacks in rows[["region", "strategy", "fallbacks"]].itertuples(index=False):
        shown_as = (strategy if region == PRIMARY else region).replace("_", " ")
        for code in filter(None, fallbacks.split(";")):
            codes.setdefault(code, []).append(shown_as if code in CROP_CODES else "")
    serious = sorted(codes, key=lambda code: (code not in _SERIOUS, code))
    for code in serious:
        about = ", ".join(dict.fromkeys(name for name in codes[code] if name))
        lines.append(("flag" if code in _SERIOUS else "plain", f"{in_words(code)}{f' ({about})' if about else ''}"))
    missing = [tile.title for tile in tiles if tile.pixels is None]
    if missing:
        lines.append(("flag", f"no crop: {', '.join(missing)}"))
    return tuple(lines)
