"""What was missing, odd or guessed, counted per centre and told in words."""

from __future__ import annotations

import pandas as pd

from mammo_aln.crops.build import CropSet
from mammo_aln.crops.fallbacks import FALLBACK_CODES

CROP_CODES: dict[str, str] = {
    "uncropped": "no crop of the image could be made; exclusions.csv tells why",
    "padding_over_10_percent": "more than 10 % of the crop lies outside the image",
    "box_partly_outside_image": "the box reaches beyond the image",
    "box_off_breast": "less than half of the box lies on the breast",
    "low_confidence": "the anatomy behind this crop was found with low confidence",
    "axilla_estimated": "the axilla was not drawn but estimated",
    "contralateral_estimated": "the mirror place was estimated",
}
"""Codes that crops add to those of their image."""


def in_words(code: str) -> str:
    """A fallback code as a radiologist reads it."""
    return CROP_CODES.get(code) or FALLBACK_CODES.get(code) or code.replace("_", " ")


def fallback_ledger(crop_set: CropSet) -> dict[str, dict[str, int]]:
    """Per centre, the number of images, those that gave no crop among them, and how many each fallback code touches.

    Returns:
        `{center: {"images": n, code: count, ...}}`, centres and codes sorted.
    """
    lost = crop_set.uncropped
    lost = lost.assign(fallbacks=[";".join(filter(None, ("uncropped", codes))) for codes in lost["fallbacks"]])
    table = pd.concat([crop_set.table[["image_id", "center", "fallbacks"]], lost], ignore_index=True)
    ledger: dict[str, dict[str, int]] = {}
    for center, rows in sorted(table.groupby("center"), key=lambda item: str(item[0])):
        codes = rows["fallbacks"].str.split(";").explode()
        touched = rows.loc[codes.index, "image_id"].groupby(codes.to_numpy()).nunique()
        counts = {str(code): int(count) for code, count in touched.sort_index().items() if code}
        ledger[str(center)] = {"images": int(rows["image_id"].nunique()), **counts}
    return ledger
