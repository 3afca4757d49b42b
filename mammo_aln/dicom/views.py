"""Read the view that a header names, however it says it; one rule for `index` and for the pixels."""

from __future__ import annotations

import re

SCREENING_VIEWS = ("CC", "MLO")
"""The views of a cohort's images."""

MAGNIFICATION_VIEW_FROM = 1.3
"""An EstimatedRadiographicMagnificationFactor from here on is a magnification view, whatever its modifiers say."""

VIEW_BY_CODE = {
    **dict.fromkeys(("R-10242", "399162004"), "CC"),
    **dict.fromkeys(("R-10226", "399368009"), "MLO"),
    **dict.fromkeys(("R-10224", "399260004"), "ML"),
    **dict.fromkeys(("R-10228", "399352003"), "LM"),
    **dict.fromkeys(("R-10230", "399099002"), "LMO"),
    **dict.fromkeys(("R-10244", "399196006"), "FB"),
    **dict.fromkeys(("R-102D0", "399188001"), "SIO"),
    **dict.fromkeys(("R-40AAA", "441555000"), "ISO"),
    **dict.fromkeys(("R-1024A", "399192008"), "XCCL"),
    **dict.fromkeys(("R-1024B", "399101009"), "XCCM"),
    **dict.fromkeys(("G-8310", "127457009"), "SPECIMEN"),
}
"""DICOM PS3.16 context group 4014 (view for mammography), SNOMED-RT and SNOMED-CT codes."""

VIEW_BY_MEANING = {"craniocaudal": "CC", "mediolateraloblique": "MLO", "mediolateral": "ML", "lateromedial": "LM"}

MODIFIER_BY_CODE = {
    **dict.fromkeys(("R-102D5", "399209000"), "implant_displaced"),
    **dict.fromkeys(("R-102D6", "399163009"), "magnification"),
    **dict.fromkeys(("R-102D7", "399055006"), "spot_compression"),
}
"""DICOM PS3.16 context group 4015 (view modifier), those that change what a crop shows."""

MODIFIER_BY_WORD = {
    "magnif": "magnification",
    "spot": "spot_compression",
    "implant": "implant_displaced",
    "cleavage": "cleavage",
    "axillary": "axillary_tail",
    "rolled": "rolled",
    "tangential": "tangential",
}
# a side before (RCC, LMLO) and the mark of an implant-displaced view behind (MLOID) are no view of their own
_VIEW_TEXT = re.compile(r"(?P<side>[LR]?)[ -]?(?P<view>CC|MLO)[ -]?(?P<implant>(ID)?)")


def view_named(stated: str, code: str, meaning: str, orientation: str = "") -> tuple[str, str, bool]:
    """Name the view, the side that its text names, and whether it is implant-displaced; empty where none is stated.

    Args:
        stated: ViewPosition, which wins.
        code: CodeValue of ViewCodeSequence, which comes next.
        meaning: CodeMeaning of the same.
        orientation: PatientOrientation, where the digitised films of CBIS-DDSM keep `CC` or `MLO`; letters of a
            direction (`A\\FR`) are no view. It is read only where the others state nothing.

    Returns:
        `CC`, `MLO`, or the name of another view as the header gives it; `L`, `R` or empty.
    """
    stated = stated.strip().upper()
    match = _VIEW_TEXT.fullmatch(stated)
    if match:
        return match["view"], match["side"], bool(match["implant"])
    if stated:
        return stated, "", False
    letters = re.sub("[^a-z]", "", meaning.lower())
    view = VIEW_BY_CODE.get(code) or VIEW_BY_MEANING.get(letters, "")
    if not view and not code and not letters and orientation in SCREENING_VIEWS:
        view = orientation
    return view, "", False


def modifiers_named(code: str, meaning: str) -> set[str]:
    """View modifiers that an item names, by its code and by the words of its meaning."""
    words = meaning.lower()
    named = {name for word, name in MODIFIER_BY_WORD.items() if word in words}
    return named | ({MODIFIER_BY_CODE[code]} if code in MODIFIER_BY_CODE else set())
