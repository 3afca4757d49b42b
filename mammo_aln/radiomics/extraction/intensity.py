"""Intensity features of IBSI-1: statistics, histogram, intensity-volume histogram, local peaks; names are its tags."""

from __future__ import annotations

import numpy as np
from scipy.signal import oaconvolve

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.roi import Floats, Ints, Mask, fixed_number

PEAK_RADIUS_MM = (3.0 / (4.0 * np.pi)) ** (1.0 / 3.0) * 10.0
"""Radius of a sphere of 1 cm3, over which the local intensity peaks average."""
IVH_BINS = 1000
"""Levels of the intensity-volume histogram of images without a definite unit (IBSI-1, configuration E)."""
WHOLE = 1e-3
"""Distance from a whole number that single precision makes."""


def statistics(values: Floats) -> dict[str, float]:
    """18 statistics of intensities (voxels,)."""
    mean, variance = float(values.mean()), float(values.var())
    centred = values - mean
    p10, p25, median, p75, p90 = (float(q) for q in np.percentile(values, (10, 25, 50, 75, 90)))
    robust = values[(values >= p10) & (values <= p90)]
    low, high = float(values.min()), float(values.max())
    squares = float(values @ values)
    spread = variance > 1e-24 * max(squares / values.size, 1e-300)  # else constant up to rounding
    return {
        "mean": mean,
        "var": variance,
        "skew": float((centred**3).mean() / variance**1.5) if spread else 0.0,
        "kurt": float((centred**4).mean() / variance**2 - 3.0) if spread else 0.0,
        "median": median,
        "min": low,
        "p10": p10,
        "p90": p90,
        "max": high,
        "iqr": p75 - p25,
        "range": high - low,
        "mad": float(np.abs(centred).mean()),
        "rmad": float(np.abs(robust - robust.mean()).mean()),
        "medad": float(np.abs(values - median).mean()),
        "cov": variance**0.5 / mean if mean else np.nan,
        "qcod": (p75 - p25) / (p75 + p25) if p75 + p25 else np.nan,
        "energy": squares,
        "rms": (squares / values.size) ** 0.5,
    }


HISTOGRAM_STATISTICS = (
    *("mean", "var", "skew", "kurt", "median", "min", "p10", "p90", "max", "iqr", "range", "mad", "rmad", "medad"),
    *("cov", "qcod"),
)


def histogram(levels: Ints, count: int) -> dict[str, float]:
    """23 features of the histogram of grey levels 1..count, given per voxel (voxels,)."""
    common = statistics(levels.astype(float))
    counts = np.bincount(levels, minlength=count + 1)[1:].astype(float)
    modes = np.flatnonzero(counts == counts.max()) + 1
    share = counts[counts > 0] / levels.size
    gradient = np.gradient(counts) if count > 1 else np.zeros(1)
    return {name: common[name] for name in HISTOGRAM_STATISTICS} | {
        "mode": float(modes[np.abs(modes - common["mean"]).argmin()]),
        "entropy": float(-(share * np.log2(share)).sum()),
        "uniformity": float((share**2).sum()),
        "max_grad": float(gradient.max()),
        "max_grad_g": float(gradient.argmax() + 1),
        "min_grad": float(gradient.min()),
        "min_grad_g": float(gradient.argmin() + 1),
    }


def volume_histogram(
    values: Floats,
    *,
    bins: int = IVH_BINS,
    width: float = 0.0,
    limits: tuple[float, ...] = (),
) -> dict[str, float]:
    """6 features of the intensity-volume histogram.

    Args:
        values: intensities (voxels,).
        bins: levels between the smallest and the largest of them, which intensities are then told in; 0 takes whole
            numbers as levels as they are.
        width: width of a level, told by the intensity at its middle, in place of `bins`.
        limits: smallest and largest intensity that were let in (re-segmentation), between which levels of `width`, or
            whole numbers, are counted; by default those of the values.

    Raises:
        InputError: whole numbers were asked for, and the values are none.
    """
    low, high = limits or (float(values.min()), float(values.max()))
    if width > 0:
        levels = np.floor((values - low) / width).astype(np.int64)
        intensities = low + (np.arange(int(np.ceil((high - low) / width)) + 1) + 0.5) * width
    elif bins:
        levels = fixed_number(values, bins) - 1
        # A region of one intensity has one level.
        intensities = np.arange(1.0, (bins if values.max() > values.min() else 1) + 1)
    else:
        levels = np.rint(values - low).astype(np.int64)
        if np.abs(values - low - levels).max() > WHOLE:
            raise InputError(
                "radiomics.ivh_bins=0 takes intensities as levels as they are: expected whole numbers, got"
                f" {float(values[np.abs(values - low - levels).argmax()]):g}; set radiomics.round_intensities,"
                " ivh_bins or ivh_bin_width"
            )
        intensities = low + np.arange(int(np.floor(high - low)) + 1)
    counts = np.bincount(levels, minlength=intensities.size)
    volume = 1.0 - (np.cumsum(counts) - counts) / levels.size  # share of voxels at or above each level
    span = intensities[-1] - intensities[0]
    height = (intensities - intensities[0]) / span if span else np.zeros(1)
    step = width or 1.0
    at = {
        "v10": float(volume[height >= 0.1].max()) if span else 1.0,
        "v90": float(volume[height >= 0.9].max()) if span else 1.0,
        "i10": float(np.append(intensities[volume <= 0.1], intensities[-1] + step)[0]),
        "i90": float(np.append(intensities[volume <= 0.9], intensities[-1] + step)[0]),
    }
    return at | {"diff_v10_v90": at["v10"] - at["v90"], "diff_i10_i90": at["i10"] - at["i90"]}


def local_peaks(array: Floats, mask: Mask, spacing_mm: tuple[float, ...]) -> dict[str, float]:
    """Mean of a sphere of 1 cm3 (a disc of its radius in a 2D image) around the region's brightest voxel, and the
    highest such mean around any voxel of the region; voxels beside the region count, those beyond the image do not."""
    reach = [0 if side == 1 else int(PEAK_RADIUS_MM / step) for side, step in zip(array.shape, spacing_mm, strict=True)]
    axes = [np.arange(-r, r + 1) * step for r, step in zip(reach, spacing_mm, strict=True)]
    distance = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    ball = (distance <= PEAK_RADIUS_MM**2).astype(float)
    shift = float(array.mean())  # against cancellation in the Fourier sums
    total = oaconvolve(array - shift, ball, mode="same")
    count = np.rint(oaconvolve(np.ones(array.shape), ball, mode="same"))
    means = (total / count + shift)[mask]
    values = array[mask]
    return {"peak_loc": float(means[values == values.max()].max()), "peak_glob": float(means.max())}
