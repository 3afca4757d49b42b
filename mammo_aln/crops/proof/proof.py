"""Contact sheets: every lesion's view with its windows drawn in, beside the crops that training reads, worst first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.ledger import CROP_CODES, in_words
from mammo_aln.crops.proof.sheet import Drawn, Row, Tile, View, draw_sheet
from mammo_aln.crops.regions import PRIMARY, ImagePlan, plan_crops
from mammo_aln.crops.store.store import CropStore
from mammo_aln.crops.window import Window, resample
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.read import read_image
from mammo_aln.files import write_csv, written_whole
from mammo_aln.progress import say, track
from mammo_aln.settings import STRATEGIES, CropConfig, PixelConfig

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
    "no_spacing",
)


@dataclass(frozen=True)
class _Lesion:
    """One row of a sheet: a primary box (or the whole breast) on one view."""

    image_id: str
    ordinal: int
    crops: pd.DataFrame


def write_proof(
    cohort: Cohort,
    crops: CropSet,
    pixels: PixelConfig,
    crop: CropConfig,
    out_dir: str | Path,
    *,
    patients: int = 100,
) -> Path:
    """Draw contact sheets `proof_001.png`, ... of the primary lesions, worst first, and `exclusions.csv`.

    A row shows the view (chest wall left) with the four windows, a 5 cm scale bar and the laterality mark, then the
    four crops and auxiliary ones of the same view, read back from the store. The only identifier is `image_id`.

    Args:
        cohort: the tables.
        crops: what `build_crops` gave; its flags decide the order, its store receives the crops that the sheets add.
        pixels: the pixel settings of `crops`.
        crop: the crop settings of `crops`.
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
    part = replace(cohort, patients=cohort.patients[cohort.patients["patient_id"].isin(shown)])
    everything = replace(crop, strategy="all")
    every = build_crops(part, pixels, everything, store=crops.store_path, list_exclusions=False)
    plans = {image.image_id: image for image in plan_crops(part, everything).images}
    lesions = _lesions(every.table, shown)
    store = every.open_store()
    sheets = [lesions[first : first + LESIONS_PER_SHEET] for first in range(0, len(lesions), LESIONS_PER_SHEET)]
    for number, sheet in enumerate(track(sheets, total=len(sheets), what="proof", unit="sheet"), start=1):
        rows = [_row(lesion, plans[lesion.image_id], pixels, crop, store) for lesion in sheet]
        picture = draw_sheet(rows, f"Crop proof, sheet {number} of {len(sheets)}, worst first")
        with written_whole(out / f"proof_{number:03d}.png") as file:
            picture.save(file, format="PNG")
    write_csv(out / "exclusions.csv", crops.exclusions)
    return out


def rank_patients(table: pd.DataFrame) -> list[str]:
    """Patients from worst to best: most serious flags first, then least confidence, then most padding."""
    codes = table["fallbacks"].str.split(";")
    serious = codes.map(lambda found: sum(code in _SERIOUS for code in found))
    padding = table["padding_share"].where(table["strategy"] != "whole_breast", 0.0)
    ranks = table.assign(serious=serious, padding=padding).groupby("patient_id", sort=True)
    worst = ranks.agg(serious=("serious", "max"), confidence=("confidence", "min"), padding=("padding", "max"))
    ordered = worst.sort_values(["serious", "confidence", "padding"], ascending=[False, True, False], kind="stable")
    return [str(patient) for patient in ordered.index]


def _lesions(table: pd.DataFrame, shown: list[str]) -> list[_Lesion]:
    place = {patient: number for number, patient in enumerate(shown)}
    primary = table[table["region"] == PRIMARY]
    found = primary[["patient_id", "image_id", "ordinal"]].drop_duplicates().to_dict("records")
    found.sort(key=lambda one: (place[one["patient_id"]], one["image_id"], one["ordinal"]))
    whole = table.set_index("image_id", drop=False)
    return [_Lesion(one["image_id"], one["ordinal"], whole.loc[[one["image_id"]]]) for one in found]


def _row(lesion: _Lesion, plan: ImagePlan, pixels: PixelConfig, crop: CropConfig, store: CropStore) -> Row:
    table = lesion.crops
    primary = table[(table["region"] == PRIMARY) & (table["ordinal"] == lesion.ordinal)]
    by_strategy = {row["strategy"]: row for row in primary.to_dict("records")}
    if "whole_breast" not in by_strategy:  # stored once per image, under its first box
        first = table[(table["region"] == PRIMARY) & (table["strategy"] == "whole_breast")].to_dict("records")
        by_strategy |= {row["strategy"]: row for row in first[:1]}
    auxiliary = table[(table["region"] != PRIMARY) & (table["strategy"] == crop.auxiliary_strategy)]
    chosen: list[tuple[str, str, dict[Any, Any] | None]] = [
        (strategy, strategy.replace("_", " "), by_strategy.get(strategy)) for strategy in STRATEGIES
    ]
    chosen += [
        ("auxiliary", str(row["region"]).replace("_", " "), row)
        for row in auxiliary.to_dict("records")[:AUXILIARY_TILES]
    ]
    tiles = [_tile(colour, title, row, store) for colour, title, row in chosen]
    some = next(row for _, _, row in chosen if row is not None)
    image = store.record(store.record(some["key"])["image"])
    rows = [*primary.to_dict("records"), *auxiliary.to_dict("records")]
    return Row(_view(plan, pixels, image, tiles), tiles, _words(lesion, rows, image, tiles))


def _tile(colour: str, title: str, row: dict[Any, Any] | None, store: CropStore) -> Tile:
    if row is None:
        return Tile(colour, title, None, None, None)
    record = store.record(row["key"])
    spacing = store.record(record["image"])["spacing"]
    window = Window(*record["window"])
    side_mm = None if spacing is None else window.width * spacing["column_mm"]
    return Tile(colour, title, (store.read(row["key"]) >> 8).astype(np.uint8), window.box, side_mm)


def _view(plan: ImagePlan, pixels: PixelConfig, image: dict[str, Any], tiles: list[Tile]) -> View:
    """The whole image, chest wall left, with every tile's window in the thumbnail's pixels."""
    display = read_image(
        plan.path, pixels, spacing_mm=plan.spacing_mm, laterality=plan.table_laterality, view=plan.table_view
    )
    rows, columns = display.pixels.shape
    spacing = display.spacing
    row_mm, column_mm = (spacing.row_mm, spacing.column_mm) if spacing else (1.0, 1.0)
    scale = VIEW_HEIGHT_PX / (rows * row_mm)
    width = max(1, round(columns * column_mm * scale))
    thumbnail = display.orientation.apply(resample(display.pixels, Window(0, 0, columns, rows), VIEW_HEIGHT_PX, width))

    def place(box: Box) -> Box:
        x_min, y_min, x_max, y_max = display.orientation.box_to_oriented(box, (rows, columns))
        across, down = width / columns, VIEW_HEIGHT_PX / rows
        return (x_min * across, y_min * down, x_max * across, y_max * down)

    drawn = [Drawn(tile.colour, place(tile.window)) for tile in tiles if tile.window is not None]
    mark = f"{image['laterality'] or '?'} {image['view'] or '?'}"
    return View(_bytes(thumbnail), mark, tuple(drawn), 50.0 * scale if spacing else None)


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)


def _words(
    lesion: _Lesion, rows: list[dict[Any, Any]], image: dict[str, Any], tiles: list[Tile]
) -> tuple[tuple[str, str], ...]:
    """Lines beside a row, each with its weight: `head`, `plain` or `flag`."""
    spacing = image["spacing"]
    millimetres = (
        "pixel spacing unknown"
        if spacing is None
        else f"{spacing['row_mm']:.4g} x {spacing['column_mm']:.4g} mm per pixel, "
        f"from {spacing['source'].replace('_', ' ')}"
    )
    numbered = f", lesion {lesion.ordinal}" if lesion.ordinal > 1 else ""
    turned = Orientation(**image["orientation"])
    mirrored = [name for name, so in (("left-right", turned.flip_horizontal), ("up-down", turned.flip_vertical)) if so]
    told = f"turned {' and '.join(mirrored)} for display" if mirrored else "shown as stored"
    lines = [("head", f"{lesion.image_id}{numbered}"), ("plain", millimetres), ("plain", told)]
    codes: dict[str, list[str]] = {}
    for row in rows:
        shown_as = (row["strategy"] if row["region"] == PRIMARY else row["region"]).replace("_", " ")
        for code in filter(None, row["fallbacks"].split(";")):
            codes.setdefault(code, []).append(shown_as if code in CROP_CODES else "")
    serious = sorted(codes, key=lambda code: (code not in _SERIOUS, code))
    for code in serious:
        about = ", ".join(dict.fromkeys(name for name in codes[code] if name))
        lines.append(("flag" if code in _SERIOUS else "plain", f"{in_words(code)}{f' ({about})' if about else ''}"))
    missing = [tile.title for tile in tiles if tile.pixels is None]
    if missing:
        lines.append(("flag", f"no crop: {', '.join(missing)}"))
    return tuple(lines)
