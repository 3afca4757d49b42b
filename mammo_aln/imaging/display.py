"""Stored values to display values in [0, 1]: decode, modality LUT, VOI, polarity, padding; each step recorded in a
`PixelRecipe`.

All steps act on a table of the at most 65,536 values that a word can hold; the image itself is looked up once at the
end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo_aln.config import PixelConfig
from mammo_aln.errors import InputError, UnreadableDicom
from mammo_aln.imaging import dicom, voi
from mammo_aln.imaging.header import ImageHeader, Lut, VoiWindow, header_of
from mammo_aln.imaging.orientation import Orientation, chest_wall_side, find_orientation
from mammo_aln.imaging.recipe import PixelRecipe
from mammo_aln.imaging.spacing import Spacing, breast_spacing

ROWS_AT_ONCE = 64
SAMPLE_STEP = 8
PADDING_SHARE_LIMIT = 0.98
PROCESSING_PERCENTILES = (0.1, 99.9)
MAGNIFICATION_VIEW_FROM = 1.3
LATERALITIES = ("L", "R")


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


@dataclass
class _Curve:
    """The table on its way from stored to display values, with what happened to it."""

    values: np.ndarray
    recipe: PixelRecipe
    codes: list[str]
    image: np.ndarray
    is_padding: np.ndarray
    _counts: np.ndarray | None = None

    def counts(self) -> np.ndarray:
        """How often each word occurs in the image, padding not counted."""
        if self._counts is None:
            words = _as_words(self.image)
            blocks = (words[row : row + ROWS_AT_ONCE].ravel() for row in range(0, len(words), ROWS_AT_ONCE))
            self._counts = np.sum([np.bincount(block, minlength=len(self.values)) for block in blocks], axis=0)
            self._counts[self.is_padding] = 0
        return self._counts

    def seen(self) -> np.ndarray:
        """Indices of words that occur outside padding."""
        return np.flatnonzero(self.counts())

    def step(self, name: str, values: np.ndarray, **parameters: object) -> None:
        self.values = values
        self.recipe = self.recipe.then(name, **parameters)


def _as_words(stored: np.ndarray) -> np.ndarray:
    """Unsigned view of the matrix in machine byte order: the index into the table."""
    native = stored if stored.dtype.isnative else stored.astype(stored.dtype.newbyteorder("="))
    return native.view(f"u{native.dtype.itemsize}")


def _lut_parameters(lut: Lut) -> dict[str, object]:
    digest = hashlib.sha256(lut.entries.astype("<u2").tobytes()).hexdigest()[:16]
    return {"first": lut.first, "bits": lut.bits, "entries": len(lut.entries), "sha256": digest}


def _modality(curve: _Curve, header: ImageHeader) -> None:
    if header.modality_luts:
        lut = header.modality_luts[0]
        if lut is not None:
            curve.step("modality_lut", voi.look_up(curve.values, lut), **_lut_parameters(lut))
            return
        curve.codes.append("modality_broken")
    slope, intercept = header.rescale or (1.0, 0.0)
    if slope == 0.0:
        curve.codes.append("modality_broken")
        slope, intercept = 1.0, 0.0
    curve.step("modality_rescale", curve.values * slope + intercept, slope=slope, intercept=intercept)


def _voi_lut(curve: _Curve, lut: Lut) -> np.ndarray:
    white = float(2**lut.bits - 1)
    if lut.entries.max() > white:
        curve.codes.append("voi_lut_depth")
        white = float(lut.entries.max())
    return voi.look_up(curve.values, lut) / white


def _voi_file(curve: _Curve, header: ImageHeader, low: int, high: int) -> bool:
    """The first sound one of the file's VOI LUTs, then windows; False where there is none."""
    for number, candidate in enumerate((*header.voi_luts, *header.windows), start=1):
        if candidate is None or (isinstance(candidate, VoiWindow) and not voi.window_is_sound(candidate)):
            curve.codes.append("voi_broken")
            continue
        shown = _voi_lut(curve, candidate) if isinstance(candidate, Lut) else voi.apply_window(curve.values, candidate)
        between = shown[low : high + 1] if low <= high else np.concatenate([shown[low:], shown[: high + 1]])
        if low != high and between.min() == between.max():
            curve.codes.append("voi_broken")
            continue
        if isinstance(candidate, Lut):
            curve.step("voi_lut", shown, number=number, **_lut_parameters(candidate))
        else:
            window = {"center": candidate.center, "width": candidate.width, "function": candidate.function}
            curve.step("voi_window", shown, number=number, **window)
        return True
    if not (header.voi_luts or header.windows):
        curve.codes.append("no_voi")
    return False


def _voi_full_range(curve: _Curve) -> None:
    seen = curve.values[curve.seen()]
    low, high = float(seen.min()), float(seen.max())
    curve.step("voi_full_range", voi.to_range(curve.values, low, high), low=low, high=high)


def _voi_percentile(curve: _Curve, config: PixelConfig, *, bright: bool) -> None:
    """Two percentiles of the breast, that is of the words on the bright side of Otsu's threshold."""
    seen = curve.seen()
    values, counts = curve.values[seen], curve.counts()[seen]
    threshold = voi.otsu_threshold(values, counts)
    breast = values > threshold if bright else values < threshold
    breast = breast if breast.any() else np.ones_like(breast)
    asked = (config.percentile_low, config.percentile_high)
    if not bright:
        asked = (100.0 - asked[1], 100.0 - asked[0])
    low, high = (voi.weighted_percentile(values[breast], counts[breast], percent) for percent in asked)
    curve.step(
        "voi_percentile",
        voi.to_range(curve.values, low, high),
        low=low,
        high=high,
        threshold=threshold,
        percentiles=list(asked),
    )


def _for_presentation(curve: _Curve, header: ImageHeader, config: PixelConfig) -> None:
    inverted = header.photometric == "MONOCHROME1"
    order = curve.image
    low, high = (int(_as_words(np.asarray([value], order.dtype))[0]) for value in (order.min(), order.max()))
    if low == high:
        curve.codes.append("constant_image")
    if config.voi == "percentile":
        _voi_percentile(curve, config, bright=not inverted)
    elif config.voi == "full_range" or not _voi_file(curve, header, low, high):
        _voi_full_range(curve)
    if (header.presentation_lut_shape == "INVERSE") != inverted and header.presentation_lut_shape in (
        "INVERSE",
        "IDENTITY",
    ):
        curve.codes.append("presentation_lut_conflict")
    curve.step(
        "polarity", 1.0 - curve.values if inverted else curve.values, photometric=header.photometric, inverted=inverted
    )


def _for_processing(curve: _Curve, header: ImageHeader, config: PixelConfig) -> None:
    """Attenuation from detector signal: logarithm where the signal is linear in exposure, turned so that tissue is
    bright.

    A For Processing file has no VOI that means display, and MONOCHROME1 or 2 says little about it:
    PixelIntensityRelationshipSign does (+1: larger values mean more X-rays, so air is large).
    """
    curve.codes.append("for_processing")
    sign = header.intensity_sign
    if sign is None:
        curve.codes.append("intensity_sign_assumed")
        sign = 1 if header.photometric == "MONOCHROME1" else -1
    if sign == 1 and header.intensity_relationship != "LOG":
        curve.step("logarithm", np.log(np.maximum(curve.values, 1.0)), smallest=1.0)
    curve.step("polarity", -curve.values if sign == 1 else curve.values, intensity_sign=sign, inverted=sign == 1)
    if config.voi == "percentile":
        _voi_percentile(curve, config, bright=True)
        return
    seen = curve.seen()
    low, high = (
        voi.weighted_percentile(curve.values[seen], curve.counts()[seen], percent) for percent in PROCESSING_PERCENTILES
    )
    curve.step(
        "processing_range",
        voi.to_range(curve.values, low, high),
        low=low,
        high=high,
        percentiles=list(PROCESSING_PERCENTILES),
    )


def _padding_table(stored: np.ndarray, domain: np.ndarray, header: ImageHeader) -> tuple[np.ndarray, list[str]]:
    if header.padding is None:
        return np.zeros(domain.shape, bool), []
    first, last = header.padding
    sample = stored[::SAMPLE_STEP, ::SAMPLE_STEP]
    if ((sample >= first) & (sample <= last)).mean() >= PADDING_SHARE_LIMIT:
        return np.zeros(domain.shape, bool), ["padding_ignored"]
    return (domain >= first) & (domain <= last), []


def to_display(
    stored: np.ndarray, header: ImageHeader, config: PixelConfig
) -> tuple[np.ndarray, PixelRecipe, list[str]]:
    """Display values of a stored matrix.

    Args:
        stored: (rows, columns) integers of 8 or 16 bits.
        header: typed tags of the same image.
        config: which VOI.

    Returns:
        float32 (rows, columns) in [0, 1] with air dark, the recipe, fallback codes.
    """
    dtype = stored.dtype.newbyteorder("=")
    domain = np.arange(1 << (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype).astype(np.float64)
    is_padding, codes = _padding_table(stored, domain, header)
    decoded = PixelRecipe().then(
        "decode", transfer_syntax=header.transfer_syntax, bits_stored=header.bits_stored, signed=header.signed
    )
    curve = _Curve(domain, decoded, codes, stored, is_padding)
    _modality(curve, header)
    (_for_processing if header.for_processing else _for_presentation)(curve, header, config)
    if is_padding.any():
        assert header.padding is not None
        curve.step("padding", np.where(is_padding, 0.0, curve.values), first=header.padding[0], last=header.padding[1])
    table = curve.values.astype(np.float32)
    words = _as_words(stored)
    pixels = np.empty(stored.shape, np.float32)
    for row in range(0, len(words), ROWS_AT_ONCE):
        np.take(table, words[row : row + ROWS_AT_ONCE], out=pixels[row : row + ROWS_AT_ONCE], mode="wrap")
    return pixels, curve.recipe, curve.codes


REFUSALS = (
    (lambda h: h.kind == "tomosynthesis", "is a tomosynthesis {volume}: give the 2D mammogram or the synthetic 2D view instead"),
    (lambda h: h.frames > 1, "has {h.frames} frames: expected a single 2D image"),
    (lambda h: h.samples > 1 or h.photometric not in ("MONOCHROME1", "MONOCHROME2"), "is {h.photometric} with {h.samples} samples per "
     "pixel: expected MONOCHROME1 or MONOCHROME2"),
    (lambda h: h.bits_allocated not in (8, 16), "has {h.bits_allocated} bits per pixel: expected 8 or 16"),
    (lambda h: h.view == "SPECIMEN", "shows a specimen, not a breast"),
)  # fmt: skip
"""What `read_image` refuses, in order, and in which words. Synthetic 2D, stereotactic, magnification and
implant-displaced views are used and flagged."""


def _refuse_unusable(header: ImageHeader, path: Path) -> None:
    for refused, words in REFUSALS:
        if refused(header):
            volume = f"volume of {header.frames} frames" if header.frames > 1 else "slice"
            raise UnreadableDicom(f"{path}: {words.format(h=header, volume=volume)}")


KIND_CODES = {
    "not_mg_modality": lambda h: h.modality != "MG",
    "synthetic_2d": lambda h: h.kind == "synthetic_2d",
    "stereotactic": lambda h: h.kind == "stereotactic",
    "magnification_view": lambda h: (
        "magnification" in h.view_modifiers or (h.magnification or 1.0) >= MAGNIFICATION_VIEW_FROM
    ),
    "spot_compression_view": lambda h: "spot_compression" in h.view_modifiers,
    "implant_displaced": lambda h: "implant_displaced" in h.view_modifiers,
    "implant_present": lambda h: h.implant,
    "tags_broken": lambda h: bool(h.broken_tags),
}


def _chosen(what: str, given: str | None, tag: str | None) -> tuple[str | None, list[str]]:
    """The caller's value wins over the tag's; a contradiction is flagged."""
    if given:
        return given, [f"{what}_conflict"] if tag and tag != given else []
    return tag, []


def read_image(
    path: str | Path,
    pixels: PixelConfig | None = None,
    *,
    spacing_mm: float | None = None,
    laterality: str | None = None,
    view: str | None = None,
    threads: int = 1,
) -> DisplayImage:
    """Read one mammogram.

    Args:
        path: a DICOM file with one single-frame monochrome image.
        pixels: which VOI, and the largest image accepted.
        spacing_mm: the table's millimetres of breast per pixel; wins over the file's.
        laterality: the table's `L` or `R`; wins over the file's.
        view: the table's view; wins over the file's.
        threads: threads for one JPEG 2000 image.

    Raises:
        UnreadableDicom: unreadable, or not one single-frame monochrome projection (see `REFUSALS`).
        InputError: a given value is out of range.
    """
    path, config = Path(path), pixels or PixelConfig()
    if laterality and laterality not in LATERALITIES:
        raise InputError(f"{path}: laterality = {laterality!r}: expected L or R")
    with dicom.refusing(path, "reading the header"):
        dataset = dicom.read_file(path, max_pixels=config.max_pixels)
        header = header_of(dataset, path)
    _refuse_unusable(header, path)
    stored, codes = dicom.decode(dataset, path, threads=threads)
    del dataset
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2 or stored.ndim != 2:
        raise UnreadableDicom(
            f"{path}: decoded to {stored.ndim} axes of {stored.dtype}: expected rows and columns of 8- or 16-bit integers"
        )
    shown, recipe, display_codes = to_display(stored, header, config)
    del stored
    spacing, spacing_codes = breast_spacing(header, spacing_mm)
    side, side_codes = _chosen("laterality", laterality, header.laterality)
    position, view_codes = _chosen("view", view.upper() if view else None, header.view)
    orientation, orientation_codes = find_orientation(header.patient_orientation, side, chest_wall_side(shown))
    if side is None:
        known = orientation.source != "unknown"
        side = ("R" if orientation.flip_horizontal else "L") if known else None
        side_codes.append("laterality_from_pixels" if known else "no_laterality")
    if position is None:
        view_codes.append("no_view")
    kinds = [code for code, holds in KIND_CODES.items() if holds(header)]
    every = (*kinds, *codes, *display_codes, *spacing_codes, *side_codes, *view_codes, *orientation_codes)
    return DisplayImage(shown, header, spacing, orientation, recipe, tuple(dict.fromkeys(every)), side, position)
