"""Names of regions: which ones the crops know, labels that most likely mean one of them, and the user's own mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from mammo_aln.errors import InputError

PRIMARY = "primary"
AXILLA = "axilla"
BUILT_IN = (PRIMARY, AXILLA)
ALL_OTHERS = "*"
NO_LABEL = ""
MEANS = {
    PRIMARY: ("tumor", "tumour", "lesion", "mass", "cancer", "carcinoma", "index", "index lesion", "malignant", "roi"),
    AXILLA: ("axillary", "node", "lymph node", "lymphnode", "ln", "axillary node", "suspicious lymph node"),
}
"""Labels of annotators that may mean a built-in region; only a person can say so."""


def parse_region_names(text: str) -> dict[str, str]:
    """Read `mass=primary,node=axilla`: labels (without regard to case) and the regions they become.

    `*` is every label that is not listed, an empty label the boxes without one, an empty region drops the boxes.

    Raises:
        InputError: a part without `=`, a label that stands twice, or a region with a slash.
    """
    names: dict[str, str] = {}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        label, equals, region = (piece.strip() for piece in item.rpartition("="))
        if not equals:
            raise InputError(f"--regions {item}: expected LABEL=REGION, e.g. mass=primary")
        if label.casefold() in names:
            raise InputError(f"--regions {item}: the label {label!r} stands twice")
        if region and not is_file_name(region):
            raise InputError(f"--regions {item}: the region becomes part of file names: expected no / and no \\")
        names[label.casefold()] = region
    return names


def region_of(label: str, names: Mapping[str, str]) -> str | None:
    """The region that a label becomes, or None where the mapping drops it.

    Several labels of one box stand with commas between; it is mapped where the whole is listed, or where all listed
    ones of them agree. A box without a label is `primary` unless the mapping says otherwise.
    """
    key = label.strip().casefold()
    if key in names:
        return names[key] or None
    listed = {names[piece.strip()] for piece in key.split(",") if piece.strip() in names}
    if len(listed) == 1:
        return listed.pop() or None
    if ALL_OTHERS in names:
        return names[ALL_OTHERS] or None
    return label.strip() or PRIMARY


def idle_labels(names: Mapping[str, str], labels: Iterable[str]) -> list[str]:
    """Labels of a mapping that no box has, alone or among several."""
    keys = {label.strip().casefold() for label in labels}
    pieces = {piece.strip() for key in keys for piece in key.split(",")}
    return [label for label in names if label not in keys | pieces | {ALL_OTHERS}]


def is_file_name(region: str) -> bool:
    """Test that a region can be part of a file's name."""
    return not (set(region) & set("/\\") or region.startswith(".") or any(character < " " for character in region))


def name_advice(regions: Iterable[str]) -> dict[str, str]:
    """Names that are nearly, or most likely mean, a built-in region, and that region.

    A near-miss (`Primary`, `primry`) is always one; a word such as `mass` only while no box has the built-in name.
    """
    names = set(regions)
    advice: dict[str, str] = {}
    for name in sorted(names - set(BUILT_IN)):
        plain = name.strip().casefold().replace("_", " ").replace("-", " ")
        near = get_close_matches(plain, BUILT_IN, n=1, cutoff=0.8)
        meant = next((region for region, words in MEANS.items() if plain in words and region not in names), None)
        if near or meant:
            advice[name] = near[0] if near else str(meant)
    return advice
