"""Judge whether a header is that of a mammogram that can be used, and of which side and view; rules as tables."""

from __future__ import annotations

from dataclasses import dataclass

from mammo_aln.dicom.fast_header import Excluded, FastHeader
from mammo_aln.dicom.kinds import REASONS
from mammo_aln.dicom.spacing import Spacing, breast_spacing
from mammo_aln.dicom.views import SCREENING_VIEWS, view_named

MG_CLASSES = ("1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1")  # for presentation, for processing
# Projection modalities that film scanners, computed radiography and exports give to mammograms.
OTHER_MODALITIES = ("CR", "DX", "RG", "OT", "SC", "RF", "XA")
BREAST_CODES = ("T-04000", "76752008")  # SNOMED RT and CT: breast
NOT_SCREENING = ("BIOPSY", "SPECIMEN", "SCOUT")
MODIFIER_FLAGS = {
    "magnification": "magnification view",
    "spot_compression": "spot compression view",
    "implant_displaced": "implant-displaced view",
    "cleavage": "cleavage view",
    "axillary_tail": "axillary tail view",
    "rolled": "rolled view",
    "tangential": "tangential view",
}
KIND_FLAGS = {
    "synthetic_2d": "synthetic 2D image made from tomosynthesis",
    "stereotactic": "stereotactic image",
    "secondary_capture": "Secondary Capture: no tag says that a detector made this image",
    "contrast_low_energy": "low-energy exposure of contrast mammography",
}
DERIVED_FILMS = {
    "roi mask images": "mask of a region, not a mammogram (SeriesDescription)",
    "cropped images": "crop of a mammogram (SeriesDescription)",
}
"""Series of CBIS-DDSM whose tags are else those of their film."""

NO_SPACING = "no spacing in the header: crops in millimetres are refused until spacing_mm is given"


@dataclass(frozen=True)
class Mammogram:
    """Side (`L`, `R`, empty = unknown), view (`CC`, `MLO`, empty = unknown), spacing and what a user should know."""

    laterality: str
    view: str
    spacing: Spacing | None
    flags: tuple[str, ...]


def judge(header: FastHeader) -> Mammogram | Excluded:
    """Apply the rules, in this order.

    1. Without rows and columns it is no image.
    2. Modality MG or a mammography SOP class is a mammogram. CR, DX, RG, OT, SC, RF, XA are one if a tag says breast:
       BodyPartExamined, OrganExposed, AnatomicRegionSequence, PositionerType MAMMOGRAPHIC, or `mammo` in a
       description. Any other modality is none, even of the breast (US, MR, PT, SEG).
    3. Tomosynthesis, high-energy and subtraction images of contrast mammography, pictures of results, several frames,
       colour, biopsy, specimen and quality-control images are left out; a synthetic 2D image made from tomosynthesis, a
       low-energy exposure, a stereotactic image and a Secondary Capture stay, flagged.
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
    view = header.view or header.code("ViewCodeSequence", "CodeMeaning", "CodeValue")
    if view not in (*SCREENING_VIEWS, ""):
        return Excluded(f"view {view} is neither CC nor MLO")
    if header.sides[:1] == ("B",):
        return Excluded("both breasts in one image (laterality B)")
    spacing, _ = breast_spacing(header)
    flags = _flags(header, evidence, spacing)
    flags += [] if header.laterality else ["laterality unknown: fill it in"]
    flags += [] if view else ["view unknown: fill it in"]
    if {"L", "R"} <= set(header.sides):
        flags.append("ImageLaterality and Laterality disagree: the first was taken")
    stated = header.text("ViewPosition")
    side_of_view = "" if stated in SCREENING_VIEWS else view_named(stated, "", "")[1]
    if side_of_view and header.laterality != side_of_view:
        flags.append(f"ViewPosition names the other side ({side_of_view}): ImageLaterality was taken")
    return Mammogram(header.laterality or "", view, spacing, tuple(flags))


def _unsuitable(header: FastHeader) -> str:
    if header.kind in REASONS:
        return f"{REASONS[header.kind]} ({header.kind_tag}); only single 2D mammograms are read"
    if header.frames > 1:
        return f"{header.frames} frames; only single 2D mammograms are read"
    if header.samples > 1:
        return "colour image"
    if header.text("QualityControlImage") == "YES":
        return "quality-control image"
    derived = DERIVED_FILMS.get(header.text("SeriesDescription").strip().lower())
    if derived:
        return derived
    words = " ".join(header.image_type)
    return next((f"{word.lower()} image" for word in NOT_SCREENING if word in words), "")


def _evidence(header: FastHeader) -> str:
    if header.modality == "MG" or header.sop_class in MG_CLASSES:
        return "mammography modality or SOP class"
    if header.modality not in OTHER_MODALITIES:
        return ""
    described = f"{header.text('StudyDescription')} {header.text('SeriesDescription')}".lower()
    signs = {
        "BodyPartExamined": "BREAST" in header.text("BodyPartExamined").upper(),
        "OrganExposed": "BREAST" in header.text("OrganExposed").upper(),
        "AnatomicRegionSequence": header.code("AnatomicRegionSequence", "CodeValue") in BREAST_CODES,
        "PositionerType": header.text("PositionerType").startswith("MAMMO"),
        "its description": "mammo" in described,
    }
    return next((name for name, says_breast in signs.items() if says_breast), "")


def _flags(header: FastHeader, evidence: str, spacing: Spacing | None) -> list[str]:
    flags = []
    if header.modality != "MG":
        flags.append(f"modality {header.modality or 'unknown'}, not MG: taken as a mammogram because of {evidence}")
    if spacing is None:
        flags.append(NO_SPACING)
    if header.image_type[1:2] == ("SECONDARY",):
        flags.append("ImageType says SECONDARY: made from another image")
    if header.for_processing:
        flags.append("for processing: raw detector values")
    flags += [KIND_FLAGS[header.kind]] if header.kind in KIND_FLAGS else []
    return flags + [words for name, words in MODIFIER_FLAGS.items() if name in header.view_modifiers]
