"""Crops as plain files for other tools: what the store holds, read back, with all that leads back to the image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mammo_aln.cohort.lineage import Source, licence_text, warn_of
from mammo_aln.crops.build import CropSet
from mammo_aln.crops.outside import with_outside
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import CheckFailed, InputError
from mammo_aln.files import write_csv, write_json, write_text, written_whole
from mammo_aln.progress import track
from mammo_aln.spreadsheet.characters import folded


def export_name(image_id: str, region: str, ordinal: int, strategy: str) -> str:
    """`IMAGE_ID.REGION.STRATEGY`, a second box of that region `IMAGE_ID.REGION.2.STRATEGY`."""
    numbered = region if ordinal == 1 else f"{region}.{ordinal}"
    return f"{image_id}.{numbered}.{strategy}"


def export_crops(crop_set: CropSet, out_dir: str | Path, sources: Sequence[Source] = ()) -> Path:
    """Write one NPY (uint16, size_px x size_px, chest wall on the left) and one JSON per crop, and `exclusions.csv`.

    Where the cohort states the data sets that it comes from (`sources`), LICENCE.txt has their licences and terms, and
    what they forbid is said. A power cut within seconds of the end may leave files empty: the store has them still.

    Returns:
        the folder.

    Raises:
        InputError: two different crops would have one name, as dots in names may cause; nothing is written then.
        CheckFailed: the store's pixels of a crop are not those that were written.
    """
    out = Path(out_dir)
    store = crop_set.open_store()
    rows = crop_set.table.to_dict("records")
    key_of: dict[str, str] = {}
    for row in rows:
        name = _name(row)
        # a disk of macOS or Windows takes names that differ in case, or in their Unicode form, for one
        if key_of.setdefault(folded(name), row["key"]) != row["key"]:
            raise InputError(f"two crops would be named {name}: rename the one with a dot, or that differs in case")
    for row in track(rows, total=len(rows), what="export", unit="crop"):
        name = _name(row)
        if not store.is_intact(row["key"]):
            raise CheckFailed(
                f"{store.path}: the stored pixels of {name} do not have the checksum that was recorded; remove that "
                "folder and make the crops anew"
            )
        with written_whole(out / f"{name}.npy", durable=False) as unfinished, unfinished.open("wb") as file:
            np.save(file, store.read(row["key"]))
        card = _card(row, store, crop_set.job.crop.outside_breast)
        write_json(out / f"{name}.json", card, durable=False)
    write_csv(out / "exclusions.csv", crop_set.exclusions)
    if sources:
        write_text(out / "LICENCE.txt", licence_text(sources, "crops"))
        warn_of(sources, "crops")
    return out


def _name(row: Mapping[Hashable, Any]) -> str:
    return export_name(row["image_id"], row["region"], row["ordinal"], row["strategy"])


def _card(row: Mapping[Hashable, Any], store: CropStore, outside_breast: str) -> dict[str, object]:
    """The JSON beside a crop: lengths in millimetres of breast, window and box in pixels of the stored matrix."""
    crop = store.crop(row["key"])
    image = store.image(crop.image)
    spacing = image.spacing
    recipe = with_outside(image.recipe, image.anatomy, outside_breast)
    side_mm = image.side_mm(crop.window)
    asked = ("image_id", "region", "ordinal", "strategy", "laterality", "view", "estimated")
    return {
        **{name: row[name] for name in asked},
        "size_px": crop.size_px,
        "window": asdict(crop.window),
        "box": crop.box,
        "image_shape": image.shape,
        "spacing_mm": None if spacing is None else [spacing.row_mm, spacing.column_mm],
        "spacing_source": None if spacing is None else spacing.source,
        "side_mm": side_mm,
        "mm_per_crop_px": None if side_mm is None else side_mm / crop.size_px,
        "orientation": dict(sorted(asdict(image.orientation).items())),
        "padding_share": crop.padding_share,
        "confidence": crop.confidence,
        "fallbacks": [code for code in row["fallbacks"].split(";") if code],
        "outside_breast": crop.outside,
        "breast_confidence": image.anatomy.breast_confidence,
        "recipe": {"digest": recipe.digest(), "steps": recipe.cards()},
        "key": row["key"],
    }
