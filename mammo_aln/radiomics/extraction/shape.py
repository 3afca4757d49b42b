"""Shape of a region: IBSI-1 morphology of a volume and its counterparts in a plane; names are IBSI's tags."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist
from scipy.special import eval_legendre
from skimage.measure import find_contours, marching_cubes

from mammo_aln.radiomics.extraction.roi import Floats, Mask

Spacing = tuple[float, ...]


def _axes_mm(points: Floats) -> Floats:
    """Lengths of the principal axes, longest first: 4 times the root of each eigenvalue of the (n - 1) covariance."""
    if len(points) < 2:
        return np.zeros(points.shape[1])
    eigenvalues = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    return 4.0 * np.sqrt(np.maximum(eigenvalues, 0.0))


def _diameter(points: Floats) -> float:
    with suppress(QhullError):  # collinear points have no hull, and are few
        points = points[ConvexHull(points).vertices]
    return float(pdist(points).max())


def _ellipsoid_area(half_axes: Floats) -> float:
    """Surface of the ellipsoid by IBSI's series of 20 terms: about 3 % below the exact one, but what it agreed on."""
    a, b, c = half_axes
    if c <= 0:
        return 0.0
    alpha, beta = np.sqrt(max(1.0 - (b / a) ** 2, 1e-24)), np.sqrt(max(1.0 - (c / a) ** 2, 1e-24))
    order = np.arange(21)
    terms = (alpha * beta) ** order / (1.0 - 4.0 * order**2)
    return float(4.0 * np.pi * a * b * (terms @ eval_legendre(order, (alpha**2 + beta**2) / (2.0 * alpha * beta))))


def morphology(values: Floats, mask: Mask, intensity_mask: Mask, spacing_mm: Spacing) -> dict[str, float]:
    """23 features of a region in space.

    Args:
        values: intensities of `intensity_mask`, in reading order.
        mask: the region (slices, rows, columns).
        intensity_mask: the region without the voxels whose intensity was excluded.
        spacing_mm: distance between voxels along each axis.
    """
    spacing = np.asarray(spacing_mm)
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5, spacing=tuple(spacing_mm))
    vertices = vertices.astype(float)
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    volume = abs(float((a * normal).sum()) / 6.0)
    area = float(np.linalg.norm(normal, axis=1).sum() / 2.0)
    centres = np.argwhere(mask) * spacing
    weighted = (np.argwhere(intensity_mask) * spacing * values[:, None]).sum(axis=0) / values.sum()
    axes = _axes_mm(centres)
    half = axes / 2.0
    box = vertices.max(axis=0) - vertices.min(axis=0)
    hull = ConvexHull(vertices)
    ball = (36.0 * np.pi * volume**2) ** (1.0 / 3.0)  # surface of the sphere of this volume
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "volume": volume,
            "vol_approx": float(len(centres) * spacing.prod()),
            "area_mesh": area,
            "av": area / volume,
            "comp_1": volume / (np.sqrt(np.pi) * area**1.5),
            "comp_2": 36.0 * np.pi * volume**2 / area**3,
            "sph_dispr": area / ball,
            "sphericity": ball / area,
            "asphericity": area / ball - 1.0,
            "com": float(np.linalg.norm(centres.mean(axis=0) - weighted)),
            "diam": float(pdist(vertices[hull.vertices]).max()),
            "pca_maj_axis": axes[0],
            "pca_min_axis": axes[1],
            "pca_least_axis": axes[2],
            "pca_elongation": float(np.divide(axes[1], axes[0])),
            "pca_flatness": float(np.divide(axes[2], axes[0])),
            "vol_dens_aabb": volume / float(box.prod()),
            "area_dens_aabb": area / float(2.0 * (box[0] * box[1] + box[0] * box[2] + box[1] * box[2])),
            "vol_dens_aee": float(np.divide(volume, 4.0 / 3.0 * np.pi * half.prod())),
            "area_dens_aee": float(np.divide(area, _ellipsoid_area(half))),
            "vol_dens_conv_hull": volume / float(hull.volume),
            "area_dens_conv_hull": area / float(hull.area),
            "integ_int": volume * float(values.mean()),
        }


def planar_morphology(values: Floats, mask: Mask, intensity_mask: Mask, spacing_mm: Spacing) -> dict[str, float]:
    """Features of a region in a plane (rows, columns): area and perimeter of its contour, axes, diameter.

    Args:
        values: intensities of `intensity_mask`, in reading order.
        mask: the region.
        intensity_mask: the region without the pixels whose intensity was excluded.
        spacing_mm: distance between rows, and between columns.
    """
    spacing = np.asarray(spacing_mm)
    contours = [contour * spacing for contour in find_contours(np.pad(mask, 1).astype(float), 0.5)]
    # holes run the other way round, so their signed area is taken off
    area = abs(sum(float(np.sum(c[:-1, 0] * c[1:, 1] - c[1:, 0] * c[:-1, 1])) for c in contours)) / 2.0
    perimeter = sum(float(np.linalg.norm(np.diff(c, axis=0), axis=1).sum()) for c in contours)
    outline = np.concatenate(contours)
    centres = np.argwhere(mask) * spacing
    weights = np.argwhere(intensity_mask) * spacing * values[:, None]
    weighted = weights.sum(axis=0) / values.sum() if values.sum() else np.full(2, np.nan)
    axes = _axes_mm(centres)
    box = outline.max(axis=0) - outline.min(axis=0)
    hull = ConvexHull(outline)
    return {
        "2d_area": area,
        "2d_area_approx": float(len(centres) * spacing.prod()),
        "2d_perimeter": perimeter,
        "2d_perimeter_to_area": perimeter / area,
        "2d_circularity": 2.0 * np.sqrt(np.pi * area) / perimeter,
        "2d_com": float(np.linalg.norm(centres.mean(axis=0) - weighted)),
        "2d_diam": _diameter(outline),
        "2d_pca_maj_axis": axes[0],
        "2d_pca_min_axis": axes[1],
        "2d_pca_elongation": float(axes[1] / axes[0]) if axes[0] else np.nan,
        "2d_area_dens_aabb": area / float(box.prod()),
        "2d_area_dens_conv_hull": area / float(hull.volume),
    }


def autocorrelation(array: Floats, mask: Mask, spacing_mm: Spacing) -> dict[str, float]:
    """Moran's I and Geary's C over all pairs of voxels, weighted by the inverse of their distance.

    The sums over pairs are convolutions on the grid, done by Fourier transform: the same number as the double loop, in
    n log n.
    """
    values = array[mask]
    z = np.where(mask, array - values.mean(), 0.0)
    shape = [next_fast_len(2 * side - 1, real=True) for side in mask.shape]
    lags = [np.minimum(np.arange(n), n - np.arange(n)) * step for n, step in zip(shape, spacing_mm, strict=True)]
    distance = np.sqrt(sum(lag**2 for lag in np.meshgrid(*lags, indexing="ij", sparse=True)))
    distance.flat[0] = np.inf
    kernel = rfftn(1.0 / distance)
    inside = tuple(slice(0, side) for side in mask.shape)
    near_z, near_one = (irfftn(rfftn(field, shape) * kernel, shape)[inside] for field in (z, mask.astype(float)))
    weights, square = float(near_one[mask].sum()), float((z**2).sum())
    if not weights or not square:
        return {"moran_i": np.nan, "geary_c": np.nan}
    count = values.size
    product = float((z * near_z).sum())
    squares = float((z**2 * near_one).sum())
    return {
        "moran_i": count / weights * product / square,
        "geary_c": (count - 1) / (2.0 * weights) * 2.0 * (squares - product) / square,
    }
