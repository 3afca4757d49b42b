"""Is this header a mammogram that the product can use, and of which side and view? Rules as tables."""

from __future__ import annotations

from dataclasses import dataclass

from mammo_aln.dicom.fast_header import Excluded, Header
from mammo_aln.dicom.kinds import FOR_PROCESSING_CLASSES, Kind, kind_of
from mammo_aln.dicom.views import view_named

MG_CLASSES = ("1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1")  # for presentation, for processing
# Projection modalities that film scanners, computed radiography and exports give to mammograms.
OTHER_MODALITIES = ("CR", "DX", "RG", "OT", "SC", "RF", "XA")
BREAST_CODES = ("T-04000", "76752008")  # SNOMED RT and CT: breast
NOT_SCREENING = ("BIOPSY", "SPECIMEN", "SCOUT")
MODIFIERS = {
    "magnification": "magnification view",
    "spot": "spot compression view",
    "implant": "implant-displaced view",
    "cleavage": "cleavage view",
    "axillary": "axillary tail view",
    "rolled": "rolled view",
    "tangential": "tangential view",
}
KIND_WORDS = {"synthetic_2d": "synthetic 2D image made from tomosynthesis", "stereotactic": "stereotactic image"}
SPACING_MM = (0.005, 1.0)
"""Least and largest millimetres of breast that a mammogram's pixel can measure."""

NO_SPACING = "no spacing in the header: crops in millimetres are refused until spacing_mm is given"


@dataclass(frozen=True)
class Mammogram:
    """Side (`L`, `R`, empty = unknown), view (`CC`, `MLO`, empty = unknown) and what a user should know, in words."""

    laterality: str
    view: str
    flags: tuple[str, ...]


def judge(header: Header) -> Mammogram | Excluded:
    """Apply the rules, in this order.

    1. Without rows and columns it is no image.
    2. Modality MG or a mammography SOP class is a mammogram. CR, DX, RG, OT, SC, RF, XA are one if a tag says breast:
       BodyPartExamined, OrganExposed, AnatomicRegionSequence, PositionerType MAMMOGRAPHIC, or `mammo` in a
       description. Any other modality is none, even of the breast (US, MR, PT, SEG).
    3. Tomosynthesis, several frames, colour, biopsy, specimen and quality-control images are left out; a synthetic 2D
       image made from tomosynthesis and a stereotactic one stay, flagged.
    4. View: ViewPosition, else ViewCodeSequence by code, else by meaning. A view other than CC and MLO is left out,
       with its name as the reason; an unknown one stays, flagged. View modifiers are flagged.
    5. Side: ImageLaterality (or the functional groups'), else Laterality, else that in ViewPosition. `B` is left out.
    """
    if header.rows == 0 or header.columns == 0:
        return Excluded(f"no image (modality {header.modality or 'unknown'}, no rows or columns)")
    evidence = _evidence(header)
    if not evidence:
        return Excluded(f"modality {header.modality or 'unknown'}, and no tag says mammogram")
    reason = _unsuitable(header)
    if reason:
        return Excluded(reason)
    view, side_of_view, view_flags = _view(header)
    if view not in ("CC", "MLO", ""):
        return Excluded(f"view {view} is neither CC nor MLO")
    side = header.image_laterality or header.laterality or side_of_view
    if side == "B":
        return Excluded("both breasts in one image (laterality B)")
    side = side if side in ("L", "R") else ""
    flags = [*_flags(header, evidence), *view_flags]
    flags += [] if side else ["laterality unknown: fill it in"]
    flags += [] if view else ["view unknown: fill it in"]
    if header.laterality in ("L", "R") and side and header.laterality != side:
        flags.append("ImageLaterality and Laterality disagree: the first was taken")
    return Mammogram(side, view, tuple(flags))


def has_spacing(header: Header) -> bool:
    """Whether the header states a positive pixel spacing of its own, as DESIGN's order of spacings knows it."""
    return bool(spacing_text(header.imager_spacing_mm) or spacing_text(header.spacing_mm))


def spacing_text(tag: str) -> str:
    """`0.07` for `0.07\\0.07`, `0.07x0.08` (row x column) where they differ, empty where the tag is no pair above 0."""
    try:
        values = [float(part) for part in tag.split("\\")]
    except ValueError:
        return ""
    if len(values) != 2 or not all(0 < value < float("inf") for value in values):
        return ""
    row, column = (f"{value:g}" for value in values)
    return row if row == column else f"{row}x{column}"


def _unsuitable(header: Header) -> str:
    if _kind(header) == "tomosynthesis":
        return "tomosynthesis; only single 2D mammograms are read"
    if header.frames > 1:
        return f"{header.frames} frames; only single 2D mammograms are read"
    if header.samples > 1:
        return "colour image"
    if header.quality_control == "YES":
        return "quality-control image"
    words = " ".join(header.image_type).upper()
    found = next((word for word in NOT_SCREENING if word in words), "")
    return f"{found.lower()} image" if found else ""


def _evidence(header: Header) -> str:
    if header.modality == "MG" or header.sop_class in MG_CLASSES:
        return "mammography modality or SOP class"
    if header.modality not in OTHER_MODALITIES:
        return ""
    described = f"{header.study_description} {header.series_description}".lower()
    signs = {
        "BodyPartExamined": "BREAST" in header.body_part.upper(),
        "OrganExposed": "BREAST" in header.organ_exposed.upper(),
        "AnatomicRegionSequence": header.region_code in BREAST_CODES,
        "PositionerType": header.positioner.startswith("MAMMO"),
        "its description": "mammo" in described,
    }
    return next((name for name, says_breast in signs.items() if says_breast), "")


def _flags(header: Header, evidence: str) -> list[str]:
    flags = []
    if header.modality != "MG":
        flags.append(f"modality {header.modality or 'unknown'}, not MG: taken as a mammogram because of {evidence}")
    if not has_spacing(header):
        flags.append(NO_SPACING)
    if header.presentation_intent == "FOR PROCESSING" or header.sop_class in FOR_PROCESSING_CLASSES:
        flags.append("for processing: raw detector values")
    flags += [KIND_WORDS[kind]] if (kind := _kind(header)) in KIND_WORDS else []
    return flags


def _kind(header: Header) -> Kind:
    described = [header.series_description.upper(), header.processing.upper()]
    return kind_of(header.sop_class, [value.upper() for value in header.image_type], described, header.frames)


def _view(header: Header) -> tuple[str, str, list[str]]:
    """View, the side that ViewPosition names, and flags of the view's modifiers."""
    modifiers = " ".join(header.view_modifiers).lower()
    flags = [words for key, words in MODIFIERS.items() if key in modifiers]
    view, side, displaced = view_named(header.view_position, header.view_code, header.view_meaning)
    if displaced and MODIFIERS["implant"] not in flags:
        flags.append(MODIFIERS["implant"])
    return view or header.view_meaning or header.view_code, side, flags
