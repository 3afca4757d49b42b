"""Contact sheets: every lesion's view with its windows drawn in, beside the crops that training reads, worst first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.proof.sheet import Row, Thumbnail, Tile, draw_sheet
from mammo_aln.crops.provenance import CROP_CODES, in_words
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.requests import PRIMARY, ImagePlan
from mammo_aln.crops.store.records import ImageRecord
from mammo_aln.crops.store.store import CropStore
from mammo_aln.files import write_csv, written_whole
from mammo_aln.progress import say, track
from mammo_aln.settings import STRATEGIES

LESIONS_PER_SHEET = 10
VIEW_HEIGHT_PX = 420
AUXILIARY_TILES = 2
_SERIOUS = (
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
        crops: all rows of the crop table of this image.
    """

    patient: int
    image_id: str
    ordinal: int
    crops: pd.DataFrame


def write_proof(cohort: Cohort, crops: CropSet, out_dir: str | Path, *, patients: int = 100) -> Path:
    """Draw contact sheets `proof_001.png`, ... of the primary lesions, worst first, and `exclusions.csv`.

    A row shows the view (chest wall left) with the four windows, a 5 cm scale bar and the laterality mark, then the
    four crops and auxiliary ones of the same view, read back from the store. The only identifier is `image_id`;
    patients are running numbers.

    Args:
        cohort: the tables.
        crops: what `build_crops` gave; its flags decide the order, its store receives the crops that the sheets add.
        out_dir: folder of the sheets.
        patients: at most so many patients are drawn.

    Returns:
        the folder.
    """
    out = Path(out_dir)
    ranked = rank_patients(crops.table)
    shown = ranked[:patients]
    if len(ranked) > len(shown):
        say(f"proof: the {len(shown)} worst of {len(ranked)} patients are drawn")
    few = replace(cohort, patients=cohort.patients[cohort.patients["patient_id"].isin(shown)])
    pixels, everything = crops.job.pixels, replace(crops.job.crop, strategy="all")
    every = build_crops(few, pixels, everything, store=crops.job.store, list_exclusions=False)
    plans = {image.image_id: image for image in plan_crops(few, everything).images}
    lesions = _lesions(every.table, shown)
    store = every.open_store()
    sheets = [lesions[first : first + LESIONS_PER_SHEET] for first in range(0, len(lesions), LESIONS_PER_SHEET)]
    for number, sheet in enumerate(track(sheets, total=len(sheets), what="proof", unit="sheet"), start=1):
        rows = [_row(lesion, plans[lesion.image_id], every, store) for lesion in sheet]
        picture = draw_sheet(rows, f"Crop proof, sheet {number} of {len(sheets)}, worst first")
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


def _lesions(table: pd.DataFrame, shown: list[str]) -> list[_Lesion]:
    numbers = {patient: number for number, patient in enumerate(shown, start=1)}
    primary = table.loc[table["region"] == PRIMARY, ["patient_id", "image_id", "ordinal"]].drop_duplicates()
    by_image = table.set_index("image_id", drop=False)
    lesions = [
        _Lesion(numbers[patient], image_id, ordinal, by_image.loc[[image_id]])
        for patient, image_id, ordinal in primary.itertuples(index=False)
    ]
    return sorted(lesions, key=lambda lesion: (lesion.patient, lesion.image_id, lesion.ordinal))


def _row(lesion: _Lesion, plan: ImagePlan, crops: CropSet, store: CropStore) -> Row:
    table, auxiliary_strategy = lesion.crops, crops.job.crop.auxiliary_strategy
    primary = table[(table["region"] == PRIMARY) & (table["ordinal"] == lesion.ordinal)]
    keys = dict(zip(primary["strategy"], primary["key"], strict=True))
    if "whole_breast" not in keys:  # stored once per image, under its first box
        whole = table[(table["region"] == PRIMARY) & (table["strategy"] == "whole_breast")]
        keys |= dict(zip(whole["strategy"][:1], whole["key"][:1], strict=True))
    auxiliary = table[(table["region"] != PRIMARY) & (table["strategy"] == auxiliary_strategy)]
    image = store.image(store.crop(table["key"].iloc[0]).image)
    tiles = [_tile(strategy, strategy, keys.get(strategy), image, store) for strategy in STRATEGIES]
    shown = auxiliary[:AUXILIARY_TILES]
    tiles += [
        _tile("auxiliary", region, key, image, store) for region, key in zip(shown["region"], shown["key"], strict=True)
    ]
    lines = _lines(lesion, pd.concat([primary, auxiliary]), image, tiles)
    return Row(Thumbnail.of(plan.read(crops.job.pixels), VIEW_HEIGHT_PX), tiles, lines)


def _tile(colour: str, name: str, key: str | None, image: ImageRecord, store: CropStore) -> Tile:
    title = name.replace("_", " ")
    if key is None:
        return Tile(colour, title, None, None, None)
    window = store.crop(key).window
    return Tile(colour, title, (store.read(key) >> 8).astype(np.uint8), window.box, image.side_mm(window))


def _lines(lesion: _Lesion, rows: pd.DataFrame, image: ImageRecord, tiles: list[Tile]) -> tuple[tuple[str, str], ...]:
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
        ("plain", f"patient {lesion.patient}, {image.laterality or '?'} {image.view or '?'}"),
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
