"""Outlines of the lesion (size, margin) and the axillary node (short axis, hilum), filled as masks in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.phantom.texture import Image, Plane

Box = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max."""


@dataclass(frozen=True)
class Patch:
    """A rectangle of a plane around a point, with every pixel's offset from that point in millimetres."""

    rows: slice
    columns: slice
    x_mm: Image
    y_mm: Image

    def moved(self, right_mm: float, down_mm: float) -> Patch:
        """The same pixels, with offsets from a point further right and down."""
        return Patch(self.rows, self.columns, self.x_mm - np.float32(right_mm), self.y_mm - np.float32(down_mm))

    def touched(self, points_mm: NDArray[np.complex128], reach_mm: float) -> tuple[slice, slice]:
        """Rows and columns of this patch within `reach_mm` of the box around points, each x + iy; empty if none are."""
        return (
            _between(self.y_mm[:, 0], points_mm.imag.min() - reach_mm, points_mm.imag.max() + reach_mm),
            _between(self.x_mm[0], points_mm.real.min() - reach_mm, points_mm.real.max() + reach_mm),
        )


def _between(offsets_mm: Image, low_mm: float, high_mm: float) -> slice:
    return slice(*(int(edge) for edge in np.searchsorted(offsets_mm, (low_mm, high_mm))))


def patch_around(plane: Plane, x_mm: float, y_mm: float, reach_mm: float) -> Patch:
    """Cut out the plane within `reach_mm` of a point, along each axis."""
    x, y = plane.axes()
    columns = _span(x_mm, reach_mm, plane.spacing_mm, plane.columns)
    rows = _span(y_mm, reach_mm, plane.spacing_mm, plane.rows)
    return Patch(rows, columns, x[:, columns] - np.float32(x_mm), y[rows] - np.float32(y_mm))


def _span(centre_mm: float, reach_mm: float, spacing_mm: float, count: int) -> slice:
    first = int(np.clip(np.floor((centre_mm - reach_mm) / spacing_mm), 0, count - 1))
    last = int(np.clip(np.ceil((centre_mm + reach_mm) / spacing_mm), first + 1, count))
    return slice(first, last)


@dataclass(frozen=True)
class Outline:
    """A closed outline in polar form: an ellipse with lobes.

    Args:
        half_length_mm: half of the long axis.
        aspect: short axis over long axis.
        tilt: angle of the long axis in radians.
        lobes: per lobe count, relative amplitude and phase.
    """

    half_length_mm: float
    aspect: float
    tilt: float
    lobes: tuple[tuple[int, float, float], ...] = ()

    def radius_mm(self, angle: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distance of the outline from its centre at each angle."""
        turned = angle - np.float32(self.tilt)
        cosine, sine = np.cos(turned), np.sin(turned)
        radius = self.half_length_mm / np.sqrt(cosine**2 + (sine / np.float32(self.aspect)) ** 2)
        for count, amplitude, phase in self.lobes:
            radius = radius * (1.0 + np.float32(amplitude) * np.cos(count * turned + np.float32(phase)))
        return np.asarray(radius, dtype=np.float32)

    def box_mm(self) -> Box:
        """Tight box around the outline, relative to its centre."""
        angle = np.linspace(-np.pi, np.pi, 721, dtype=np.float32)
        radius = self.radius_mm(angle)
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def fill(self, patch: Patch, soft: float) -> Image:
        """1 inside, 0 outside, with an edge as wide as `soft` times the half length."""
        distance = np.hypot(patch.x_mm, patch.y_mm)
        inside = self.radius_mm(np.arctan2(patch.y_mm, patch.x_mm)) - distance
        return np.asarray(
            1.0 / (1.0 + np.exp(np.clip(-inside / np.float32(soft * self.half_length_mm), -30, 30))), np.float32
        )


def lesion_outline(size_mm: float, spiculated: bool, rng: np.random.Generator) -> Outline:
    """Body of a lesion whose greatest extent is near `size_mm`; a spiculated one has an uneven outline."""
    unevenness = 0.10 if spiculated else 0.012
    lobes = tuple(
        (count, float(rng.uniform(0.4, 1.0)) * unevenness, float(rng.uniform(0, 2 * np.pi))) for count in (3, 5, 8)
    )
    return Outline(size_mm / 2.0, float(rng.uniform(0.78, 0.95)), float(rng.uniform(0, np.pi)), lobes)


def spicules(patch: Patch, outline: Outline, rng: np.random.Generator) -> Image:
    """Lines that radiate from the body and taper; length and width go with its size, so that they do not tell it."""
    half = outline.half_length_mm
    total = np.zeros(np.broadcast_shapes(patch.x_mm.shape, patch.y_mm.shape), np.float32)
    count = int(rng.integers(13, 20))
    for angle in _spread_angles(count, rng):
        length = half * rng.uniform(0.7, 1.3)
        width = half * rng.uniform(0.06, 0.10)
        bend = rng.uniform(-0.12, 0.12) / half
        start = 0.8 * float(outline.radius_mm(np.array([angle], np.float32))[0])
        end = start + 0.2 * half + length
        rows, columns = patch.touched(np.array([start, end]) * np.exp(1j * angle), 4 * width + abs(bend) * length**2)
        x, y = patch.x_mm[:, columns], patch.y_mm[rows]
        along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) - np.float32(start)
        across = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle)) - np.float32(bend) * along**2
        left = np.clip(1.0 - along / np.float32(end - start), 0.0, 1.0)
        thickness = np.float32(width) * (0.35 + 0.65 * left)
        line = np.exp(-((across / thickness) ** 2)) * np.sqrt(left) * (along > 0)
        np.maximum(total[rows, columns], line, out=total[rows, columns])
    return total


def _spread_angles(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return 2 * np.pi * (np.arange(count) + rng.uniform(-0.35, 0.35, count)) / count + rng.uniform(0, 2 * np.pi)


def islands(patch: Patch, outline: Outline, dense_mm: float, reach_mm: float, rng: np.random.Generator) -> Image:
    """Glandular islands around a finding, soft and uneven, where it leaves room for them.

    Finding and islands together are as large as a disc of `dense_mm`, so that the amount of dense tissue in a crop does
    not tell how large the finding is.
    """
    total = np.zeros(np.broadcast_shapes(patch.x_mm.shape, patch.y_mm.shape), np.float32)
    left_mm2 = np.pi / 4.0 * dense_mm**2 - np.pi * outline.half_length_mm**2 * outline.aspect
    nearest = 1.6 * outline.half_length_mm
    while left_mm2 > 8.0 and nearest < reach_mm:
        half = rng.uniform(3.0, 8.0)
        lobes = tuple((n, rng.uniform(0.05, 0.18), rng.uniform(0, 2 * np.pi)) for n in (2, 3, 5))
        island = Outline(half, rng.uniform(0.6, 1.0), rng.uniform(0, np.pi), lobes)
        away = rng.uniform(min(nearest + 0.6 * half, reach_mm), reach_mm)
        angle, level, soft = rng.uniform(0, 2 * np.pi), np.float32(rng.uniform(0.7, 1.1)), rng.uniform(0.10, 0.25)
        around = patch.moved(away * np.cos(angle), away * np.sin(angle))
        rows, columns = around.touched(np.zeros(1, complex), 2.4 * half)
        near = Patch(rows, columns, around.x_mm[:, columns], around.y_mm[rows])
        np.maximum(total[rows, columns], level * island.fill(near, soft), out=total[rows, columns])
        left_mm2 -= np.pi * half**2 * island.aspect
    return total


def node_outline(short_mm: float, rng: np.random.Generator) -> Outline:
    """An axillary node: an oval whose short axis is `short_mm`, lying along the pectoral muscle."""
    aspect = float(rng.uniform(0.66, 0.82))
    return Outline(short_mm / aspect / 2.0, aspect, float(rng.uniform(0.6, 2.2)), ((2, 0.03, 0.0),))


def hilum_outline(node: Outline, rng: np.random.Generator) -> tuple[Outline, float, float]:
    """The fatty hilum of a node and the offset of its centre in millimetres: it opens towards one long side."""
    side = node.tilt + np.pi / 2.0 * float(rng.choice([-1.0, 1.0]))
    shift = 0.22 * node.half_length_mm * node.aspect
    hilum = Outline(node.half_length_mm * 0.62, node.aspect * 0.95, node.tilt)
    return hilum, float(np.cos(side) * shift), float(np.sin(side) * shift)


def draw_marker(image: Image, text: str, x_px: int, y_px: int, height_px: int) -> None:
    """Burn a side label into air, in place, as far right as `x_px` and the border let it."""
    face = cv2.FONT_HERSHEY_DUPLEX
    scale = cv2.getFontScaleFromHeight(face, height_px, 2)
    (width, height), below = cv2.getTextSize(text, face, scale, 2)
    label = np.zeros((height + 2 * below, width + 8), np.uint8)
    cv2.putText(label, text, (4, height + below // 2), face, scale, 255, 2, cv2.LINE_AA)
    y, x = max(y_px, 0), max(min(x_px, image.shape[1] - label.shape[1]), 0)
    corner = image[y : y + label.shape[0], x : x + label.shape[1]]
    np.maximum(corner, label[: corner.shape[0], : corner.shape[1]].astype(np.float32) / 255.0, out=corner)
