"""Stored values to display values in [0, 1]: modality LUT, VOI, polarity, padding; each step is in the `PixelRecipe`.

All steps act on a table of the at most 65,536 values that a word can hold; the image is looked up once at the end.
"""

from __future__ import annotations

import hashlib

import numpy as np

from mammo_aln.dicom import voi
from mammo_aln.dicom.header import ImageHeader
from mammo_aln.dicom.provenance import PixelRecipe
from mammo_aln.dicom.voi import Lut, VoiWindow
from mammo_aln.settings import PixelConfig

ROWS_AT_ONCE = 64
SAMPLE_STEP = 8
PADDING_SHARE_LIMIT = 0.98
PROCESSING_PERCENTILES = (0.1, 99.9)
AIR_TO_BREAST_SHARE = 0.2


def _as_words(stored: np.ndarray) -> np.ndarray:
    """Unsigned view of the matrix in machine byte order: the index into the table."""
    native = stored if stored.dtype.isnative else stored.astype(stored.dtype.newbyteorder("="))
    return native.view(f"u{native.dtype.itemsize}")


class _Curve:
    """The table on its way from stored to display values, with its image, its steps so far, and what was odd."""

    def __init__(self, stored: np.ndarray, header: ImageHeader) -> None:
        dtype = stored.dtype.newbyteorder("=")
        self.domain = np.arange(1 << (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype).astype(np.float64)
        self.values = self.domain
        self.words = _as_words(stored)
        self.codes: list[str] = []
        self.recipe = PixelRecipe().then(
            "decode", transfer_syntax=header.transfer_syntax, bits_stored=header.bits_stored, signed=header.signed
        )
        self.is_padding = np.zeros(self.domain.shape, bool)
        self._counts: np.ndarray | None = None

    def step(self, name: str, values: np.ndarray, **parameters: object) -> None:
        self.values = values
        self.recipe = self.recipe.then(name, **parameters)

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Values that occur in the image outside padding, and how often."""
        if self._counts is None:
            self._counts = np.zeros(len(self.domain), np.int64)
            for row in range(0, len(self.words), ROWS_AT_ONCE):
                block = self.words[row : row + ROWS_AT_ONCE].ravel()
                self._counts += np.bincount(block, minlength=len(self.domain))
            self._counts[self.is_padding] = 0
        index = np.flatnonzero(self._counts)
        return self.values[index], self._counts[index]

    def between(self, curve: np.ndarray, low: int, high: int) -> np.ndarray:
        """Cut a table to the stored values from `low` to `high`."""
        inside = slice(None) if low == high else (self.domain >= low) & (self.domain <= high)
        return curve[inside]


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


def _through(curve: _Curve, candidate: Lut | VoiWindow) -> np.ndarray:
    if isinstance(candidate, VoiWindow):
        return voi.apply_window(curve.values, candidate)
    white = float(2**candidate.bits - 1)
    if candidate.entries.max() > white:
        curve.codes.append("voi_lut_depth")
        white = float(candidate.entries.max())
    return voi.look_up(curve.values, candidate) / white


def _voi_file(curve: _Curve, header: ImageHeader, low: int, high: int) -> bool:
    """The first sound one of the file's VOI LUTs, then windows; False where there is none."""
    candidates = (*header.voi_luts, *header.windows)
    for number, candidate in enumerate(candidates, start=1):
        if candidate is None or (isinstance(candidate, VoiWindow) and not voi.window_is_sound(candidate)):
            curve.codes.append("voi_broken")
            continue
        shown = _through(curve, candidate)
        if low != high and np.ptp(curve.between(shown, low, high)) == 0:
            curve.codes.append("voi_broken")
            continue
        if isinstance(candidate, Lut):
            curve.step("voi_lut", shown, number=number, **_lut_parameters(candidate))
        else:
            window = {"center": candidate.center, "width": candidate.width, "function": candidate.function}
            curve.step("voi_window", shown, number=number, **window)
        return True
    if not candidates:
        curve.codes.append("no_voi")
    return False


def _voi_full_range(curve: _Curve) -> None:
    """From the smallest to the largest value outside padding: BitsStored is too often wrong to be trusted."""
    values, _ = curve.seen()
    low, high = float(values.min()), float(values.max())
    curve.step("voi_full_range", voi.to_range(curve.values, low, high), low=low, high=high)


def _voi_percentile(curve: _Curve, config: PixelConfig, *, bright: bool) -> None:
    """Two percentiles of the breast.

    Breast is what is brighter than a threshold at a fifth of the way from air (the commonest value below Otsu's
    threshold) to the mean of what lies above Otsu's threshold; Otsu's own threshold would cut off the fatty rim.
    """
    values, counts = curve.seen()
    brightness = values if bright else -values
    air, otsu = voi.air_and_otsu(brightness, counts)
    bright_side = brightness > otsu
    tissue = float(np.average(brightness[bright_side], weights=counts[bright_side])) if bright_side.any() else air
    threshold = air + AIR_TO_BREAST_SHARE * (tissue - air)
    breast = brightness > threshold if tissue > air else np.ones_like(bright_side)
    percentiles = (config.percentile_low, config.percentile_high)
    turn = 1.0 if bright else -1.0
    low, high = sorted(
        turn * voi.weighted_percentile(brightness[breast], counts[breast], percent) for percent in percentiles
    )
    if low == high:
        curve.codes.append("percentile_flat")
        _voi_full_range(curve)
        return
    curve.step(
        "voi_percentile",
        voi.to_range(curve.values, low, high),
        low=low,
        high=high,
        threshold=turn * threshold,
        percentiles=list(percentiles),
    )


def _for_presentation(curve: _Curve, header: ImageHeader, config: PixelConfig, low: int, high: int) -> None:
    inverted = header.photometric == "MONOCHROME1"
    if config.voi == "percentile":
        _voi_percentile(curve, config, bright=not inverted)
    elif config.voi == "full_range" or not _voi_file(curve, header, low, high):
        _voi_full_range(curve)
    if header.presentation_lut_shape == ("IDENTITY" if inverted else "INVERSE"):
        curve.codes.append("presentation_lut_conflict")
    shown = 1.0 - curve.values if inverted else curve.values
    curve.step("polarity", shown, photometric=header.photometric, inverted=inverted)


def _for_processing(curve: _Curve, header: ImageHeader, config: PixelConfig) -> None:
    """Attenuation from detector signal: logarithm where it is linear in exposure, turned so that tissue is bright.

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
    seen, counts = curve.seen()
    low, high = (voi.weighted_percentile(seen, counts, percent) for percent in PROCESSING_PERCENTILES)
    percentiles = list(PROCESSING_PERCENTILES)
    curve.step("processing_range", voi.to_range(curve.values, low, high), low=low, high=high, percentiles=percentiles)


def _mark_padding(curve: _Curve, stored: np.ndarray, padding: tuple[int, int]) -> None:
    sample = stored[::SAMPLE_STEP, ::SAMPLE_STEP]
    if ((sample >= padding[0]) & (sample <= padding[1])).mean() >= PADDING_SHARE_LIMIT:
        curve.codes.append("padding_ignored")
    else:
        curve.is_padding = (curve.domain >= padding[0]) & (curve.domain <= padding[1])


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
    curve = _Curve(stored, header)
    if header.padding is not None:
        _mark_padding(curve, stored, header.padding)
    low, high = int(stored.min()), int(stored.max())
    if low == high:
        curve.codes.append("constant_image")
    _modality(curve, header)
    if header.for_processing:
        _for_processing(curve, header, config)
    else:
        _for_presentation(curve, header, config, low, high)
    if header.padding is not None and curve.is_padding.any():
        shown = np.where(curve.is_padding, 0.0, curve.values)
        curve.step("padding", shown, first=header.padding[0], last=header.padding[1])
    table = curve.values.astype(np.float32)
    pixels = np.empty(stored.shape, np.float32)
    for row in range(0, len(pixels), ROWS_AT_ONCE):
        np.take(table, curve.words[row : row + ROWS_AT_ONCE], out=pixels[row : row + ROWS_AT_ONCE], mode="wrap")
    return pixels, curve.recipe, curve.codes
