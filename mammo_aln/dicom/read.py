"""One mammogram from its file: display pixels, millimetres, orientation, and everything that had to be guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo_aln.dicom import decode as dicom
from mammo_aln.dicom.grayscale import to_display
from mammo_aln.dicom.header import ImageHeader, header_of
from mammo_aln.dicom.image_tags import SIDES
from mammo_aln.dicom.kinds import REASONS
from mammo_aln.dicom.orientation import Orientation, chest_wall_side, find_orientation
from mammo_aln.dicom.polarity import POLARITY_UNLIKELY, is_negative
from mammo_aln.dicom.provenance import PixelRecipe
from mammo_aln.dicom.spacing import Spacing, breast_spacing
from mammo_aln.dicom.views import MAGNIFICATION_VIEW_FROM
from mammo_aln.errors import InputError, UnreadableDicom
from mammo_aln.machine.deaths import bounded_time
from mammo_aln.settings import PixelConfig


@dataclass(frozen=True)
class DisplayImage:
    """One mammogram as display values.

    Args:
        pixels: float32 (rows, columns) in [0, 1], stored orientation, air dark.
        header: typed tags.
        spacing: millimetres of breast per pixel, or None.
        orientation: how to bring `pixels` to chest wall left, cranial up.
        recipe: the exact steps from stored values to `pixels`.
        fallbacks: keys of `FALLBACK_CODES`.
        laterality: `L`, `R` or None: the caller's, else the file's, else by the chest wall's side.
        view: `CC`, `MLO`, another view position, or None: the caller's, else the file's.
    """

    pixels: np.ndarray
    header: ImageHeader
    spacing: Spacing | None
    orientation: Orientation
    recipe: PixelRecipe
    fallbacks: tuple[str, ...]
    laterality: str | None = None
    view: str | None = None


@dataclass(frozen=True)
class Refusal:
    """A kind of image that is no single 2D mammogram, and the words that say so (`h` is the header)."""

    holds: Callable[[ImageHeader], bool]
    words: str


REFUSALS = (
    Refusal(
        lambda h: h.kind == "tomosynthesis",
        "is tomosynthesis ({h.frames} frame(s); {h.kind_tag}): give the 2D mammogram or the synthetic 2D view instead",
    ),
    *(
        Refusal(lambda h, kind=kind: h.kind == kind, f"is {words} ({{h.kind_tag}}): give the 2D mammogram instead")  # type: ignore[misc]
        for kind, words in REASONS.items()
        if kind != "tomosynthesis"
    ),
    Refusal(lambda h: h.frames > 1, "has {h.frames} frames: expected a single 2D image"),
    Refusal(
        lambda h: h.samples > 1 or h.photometric not in ("MONOCHROME1", "MONOCHROME2"),
        "has PhotometricInterpretation {h.photometric!r} and {h.samples} samples per pixel: expected MONOCHROME1 or "
        "MONOCHROME2 and one",
    ),
    Refusal(lambda h: h.bits_allocated not in (8, 16), "has {h.bits_allocated} bits per pixel: expected 8 or 16"),
    Refusal(lambda h: h.view == "SPECIMEN", "shows a specimen, not a breast"),
)
"""What `read_image` refuses. Synthetic 2D, stereotactic, magnified and implant-displaced views are used, flagged."""


def _refuse_unusable(header: ImageHeader, path: Path) -> None:
    for refusal in REFUSALS:
        if refusal.holds(header):
            raise UnreadableDicom(f"{path}: {refusal.words.format(h=header)}")


KIND_CODES: dict[str, Callable[[ImageHeader], bool]] = {
    "not_mg_modality": lambda h: h.modality != "MG",
    "synthetic_2d": lambda h: h.kind == "synthetic_2d",
    "stereotactic": lambda h: h.kind == "stereotactic",
    "contrast_low_energy": lambda h: h.kind == "contrast_low_energy",
    "magnification_view": lambda h: (
        "magnification" in h.view_modifiers or (h.magnification or 1.0) >= MAGNIFICATION_VIEW_FROM
    ),
    "spot_compression_view": lambda h: "spot_compression" in h.view_modifiers,
    "implant_displaced": lambda h: "implant_displaced" in h.view_modifiers,
    "implant_present": lambda h: h.implant,
    "tags_broken": lambda h: bool(h.broken_tags),
}


def _chosen(name: str, given: str | None, tag: str | None) -> tuple[str | None, list[str]]:
    """The caller's value wins over the tag's; a contradiction is flagged."""
    if given:
        return given, [f"{name}_conflict"] if tag and tag != given else []
    return tag, []


def read_image(
    path: str | Path,
    pixels: PixelConfig | None = None,
    *,
    spacing_mm: float | None = None,
    laterality: str | None = None,
    view: str | None = None,
) -> DisplayImage:
    """Read one mammogram.

    Args:
        path: a DICOM file with one single-frame monochrome image.
        pixels: which VOI, and the largest image accepted.
        spacing_mm: the table's millimetres of breast per pixel; wins over the file's.
        laterality: the table's `L` or `R`; wins over the file's.
        view: the table's view; wins over the file's.

    Raises:
        UnreadableDicom: unreadable, or not one single-frame monochrome projection (see `REFUSALS`).
        InputError: a given value is out of range.
    """
    config = pixels or PixelConfig()
    with bounded_time(config.decode_timeout_s):
        return _read(Path(path), config, spacing_mm, laterality, view)


def _read(
    path: Path, config: PixelConfig, spacing_mm: float | None, laterality: str | None, view: str | None
) -> DisplayImage:
    if laterality and laterality not in SIDES:
        raise InputError(f"{path}: laterality = {laterality!r}: expected L or R")
    with dicom.refusing(path, "reading the header"):
        dataset = dicom.read_file(path, max_pixels=config.max_pixels)
        header = header_of(dataset, path)
    _refuse_unusable(header, path)
    stored, codes = dicom.decode(dataset, path)
    del dataset
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2 or stored.ndim != 2:
        decoded = f"{stored.ndim} axes of {stored.dtype}"
        raise UnreadableDicom(f"{path}: decoded to {decoded}: expected rows and columns of 8- or 16-bit integers")
    shown, recipe, display_codes = to_display(stored, header, config)
    del stored
    negative = is_negative(shown)
    polarity_codes = [POLARITY_UNLIKELY] if negative else []
    spacing, spacing_codes = breast_spacing(header, spacing_mm)
    side, side_codes = _chosen("laterality", laterality, header.laterality)
    position, view_codes = _chosen("view", view.upper() if view else None, header.view)
    # The pixels are a witness only where air is dark: of a negative, its inverse is.
    chest_wall = chest_wall_side(1.0 - shown if negative else shown)
    orientation, orientation_codes = find_orientation(header.patient_orientation, side, chest_wall)
    if side is None:
        oriented = orientation.source != "unknown"
        side = ("R" if orientation.flip_horizontal else "L") if oriented else None
        side_codes.append("laterality_from_pixels" if oriented else "no_laterality")
    if position is None:
        view_codes.append("no_view")
    kinds = [code for code, holds in KIND_CODES.items() if holds(header)]
    fallbacks = (
        *(*kinds, *codes, *display_codes, *polarity_codes, *spacing_codes),
        *(*side_codes, *view_codes, *orientation_codes),
    )
    return DisplayImage(shown, header, spacing, orientation, recipe, tuple(dict.fromkeys(fallbacks)), side, position)
