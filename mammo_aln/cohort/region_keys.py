"""Rows of `regions.csv` that name their image by SOP Instance UID or path get its image_id."""

from __future__ import annotations

import unicodedata

import pandas as pd

from mammo_aln.cohort.annotations.matching import image_id_of_instance

KEYS = ("sop_instance_uid", "path")
"""Columns that may stand in place of `image_id`."""


def with_image_ids(regions: pd.DataFrame, images: pd.DataFrame | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """Fill `image_id` where it is missing or empty from the other keys.

    Args:
        regions: text of `regions.csv`.
        images: text of `images.csv`; its `sop_instance_uid` column, if any, wins over the rule by which `index` names
            images.

    Returns:
        The table, and the column whose values stand in `image_id` now (a key that no image has stays as it is, so that
        the fault shows it), as `{"image_id": column}`.
    """
    keys = [key for key in KEYS if key in regions]
    if not keys or images is None or "image_id" not in images:
        return regions, {}
    ids = regions["image_id"].copy() if "image_id" in regions else pd.Series(None, regions.index, dtype=object)
    shown_as = {} if "image_id" in regions else {"image_id": keys[0]}
    for key in keys:
        by_key = _images_by(key, images)
        missing = ids.isna() & regions[key].notna()
        ids[missing] = [_image_id(key, str(text), by_key) for text in regions.loc[missing, key]]
    return regions.assign(image_id=ids), shown_as


def _images_by(key: str, images: pd.DataFrame) -> dict[str, str]:
    if key not in images:
        return {}
    rows = images[[key, "image_id"]].dropna().drop_duplicates(key, keep=False)
    return {_plain(text): image_id for text, image_id in rows.itertuples(index=False)}


def _image_id(key: str, text: str, by_key: dict[str, str]) -> str:
    if key == "sop_instance_uid" and not by_key:
        return image_id_of_instance(text)
    return by_key.get(_plain(text), text)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", str(text)).replace("\\", "/")
