"""Which view a header names, however it says it; one rule for `index` and for the pixels."""

from __future__ import annotations

import re

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

_MODIFIER_WORDS = {"implant": "implant_displaced", "magnif": "magnification", "spot": "spot_compression"}
# a side before (RCC, LMLO) and the mark of an implant-displaced view behind (MLOID) are no view of their own
_STATED = re.compile(r"(?P<side>[LR]?)[ -]?(?P<view>CC|MLO)[ -]?(?P<implant>(ID)?)")


def view_named(stated: str, code: str, meaning: str) -> tuple[str, str, bool]:
    """View, the side that its text names, and whether it is implant-displaced; empty text where nothing tells.

    Args:
        stated: ViewPosition, which wins.
        code: CodeValue of ViewCodeSequence, which comes next.
        meaning: CodeMeaning of the same.

    Returns:
        `CC`, `MLO`, or the name of another view as the header gives it; `L`, `R` or empty.
    """
    stated = stated.strip().upper()
    match = _STATED.fullmatch(stated)
    if match:
        return match["view"], match["side"], bool(match["implant"])
    if stated:
        return stated, "", False
    letters = re.sub("[^a-z]", "", meaning.lower())
    return VIEW_BY_CODE.get(code) or VIEW_BY_MEANING.get(letters, ""), "", False


def modifier_named(code: str, meaning: str) -> str | None:
    """A view modifier that changes what a crop shows, by its code or else by its meaning."""
    words = meaning.lower()
    return MODIFIER_BY_CODE.get(code) or next((name for word, name in _MODIFIER_WORDS.items() if word in words), None)
