"""Millimetres per pixel in the plane of the breast, and where they come from: one rule for index, crops and reports.

A mammogram's tags know two planes: ImagerPixelSpacing lies in the detector, PixelSpacing in the breast once somebody
calibrated it. The breast lies above the detector and is projected larger (1.0 to 1.1 times in contact views, 1.5 to 1.8
times in magnification views), so the detector's spacing has to be divided by the magnification.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mammo_aln.dicom.image_tags import ImageTags
from mammo_aln.dicom.tags import Pair
from mammo_aln.errors import InputError

SMALLEST_MM, LARGEST_MM = 0.005, 1.0
"""Least and largest millimetres of breast that a mammogram's pixel can measure."""

LARGEST_MAGNIFICATION = 4.0
SAME_RELATIVE = 1e-3
"""Two spacings that differ by less are one value written twice."""


@dataclass(frozen=True)
class Spacing:
    """Millimetres of breast per pixel.

    Args:
        row_mm: distance between rows (down the image).
        column_mm: distance between columns (across the image).
        source: the rule that gave it, a key of `RULES` or `user`.
    """

    row_mm: float
    column_mm: float
    source: str


def pair_text(pair: Pair | None) -> str:
    """`0.07` for (0.07, 0.07), `0.07x0.08` (row x column) where they differ, empty for None or a value not above 0."""
    if pair is None or min(pair) <= 0:
        return ""
    row = f"{pair[0]:g}"
    column = row if pair[0] == pair[1] else f"{pair[1]:g}"
    return row if row == column else f"{row}x{column}"


def _magnification(header: ImageTags) -> float | None:
    factor = header.magnification
    return factor if factor is not None and 1.0 <= factor <= LARGEST_MAGNIFICATION else None


def _distance_ratio(header: ImageTags) -> float | None:
    patient, detector = header.source_to_patient_mm, header.source_to_detector_mm
    if not patient or not detector:
        return None
    ratio = patient / detector
    return ratio if 1.0 / LARGEST_MAGNIFICATION <= ratio <= 1.0 else None


def _calibrated(header: ImageTags) -> Pair | None:
    pixel, imager = header.pixel_spacing, header.imager_spacing
    if pixel is None or header.calibration_type is not None:
        return pixel
    differs = imager is not None and not all(
        math.isclose(a, b, rel_tol=SAME_RELATIVE) for a, b in zip(pixel, imager, strict=True)
    )
    return pixel if differs else None


def _scaled(spacing: Pair | None, factor: float | None) -> Pair | None:
    return None if spacing is None or factor is None else (spacing[0] * factor, spacing[1] * factor)


RULES: dict[str, Callable[[ImageTags], Pair | None]] = {
    "pixel_spacing_calibrated": _calibrated,
    "imager_spacing_magnification": lambda h: _scaled(h.imager_spacing, 1 / m) if (m := _magnification(h)) else None,
    "imager_spacing_distances": lambda h: _scaled(h.imager_spacing, _distance_ratio(h)),
    "imager_spacing": lambda h: h.imager_spacing,
    "pixel_spacing": lambda h: h.pixel_spacing,
}
"""The first that holds gives the spacing."""

CODE_OF_SOURCE = {
    "user": "spacing_assumed_user",
    "imager_spacing": "spacing_imager_only",
    "pixel_spacing": "spacing_pixel_only",
}


def _sane(spacing: Pair) -> bool:
    return min(spacing) >= SMALLEST_MM and max(spacing) <= LARGEST_MM


def breast_spacing(header: ImageTags, spacing_mm: float | None = None) -> tuple[Spacing | None, tuple[str, ...]]:
    """Find the spacing in the plane of the breast by the first rule that holds, and fallback codes.

    Order: the user's value; PixelSpacing if its calibration type is given or it differs from ImagerPixelSpacing;
    ImagerPixelSpacing over EstimatedRadiographicMagnificationFactor; ImagerPixelSpacing times source-to-patient over
    source-to-detector distance; ImagerPixelSpacing alone; PixelSpacing alone. A value outside 0.005 to 1 mm is no
    spacing of a mammogram: it is passed over and counted.

    Args:
        header: tags of the image, from either reader of headers.
        spacing_mm: the user's value for both directions, in the plane of the breast.

    Returns:
        Spacing or None, and codes.

    Raises:
        InputError: `spacing_mm` is not between 0.005 and 1 mm.
    """
    if spacing_mm is not None and not math.isnan(spacing_mm):
        if not _sane((spacing_mm, spacing_mm)):
            raise InputError(
                f"spacing_mm = {spacing_mm!r}: expected millimetres of breast per pixel, {SMALLEST_MM} to {LARGEST_MM}"
            )
        return Spacing(float(spacing_mm), float(spacing_mm), "user"), (CODE_OF_SOURCE["user"],)
    codes: list[str] = []
    stated = bool(header.source_to_patient_mm and header.source_to_detector_mm)
    passed_over = (header.magnification is not None and _magnification(header) is None) or (
        header.magnification is None and stated and _distance_ratio(header) is None
    )
    if passed_over and header.imager_spacing is not None:
        codes.append("magnification_out_of_range")
    for source, rule in RULES.items():
        pair = rule(header)
        if pair is None:
            continue
        if not _sane(pair):
            codes.append("spacing_out_of_range")
            continue
        if source in CODE_OF_SOURCE:
            codes.append(CODE_OF_SOURCE[source])
        return Spacing(pair[0], pair[1], source), tuple(dict.fromkeys(codes))
    return None, (*dict.fromkeys(codes), "no_spacing")
