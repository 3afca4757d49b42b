"""One mammographic view in display brightness: breast, muscle, parenchyma, and the findings of the treated side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mammo_aln.phantom.findings import (
    Box,
    Outline,
    hilum_outline,
    islands,
    lesion_outline,
    node_outline,
    patch_around,
    spicules,
)
from mammo_aln.phantom.texture import Image, Plane, blurred, fractal_noise, lattice_noise

View = Literal["CC", "MLO"]
GRAIN_MM = (0.15, 0.3, 0.6, 1.2)
ISLAND_REACH_MM = 26.0
AXILLARY_TAIL_MM = 135.0


@dataclass(frozen=True)
class Findings:
    """The factors that the images show, as `truth.csv` names them."""

    size_mm: float
    spiculated: bool
    node_short_mm: float
    hilum_lost: bool


@dataclass(frozen=True)
class Appearance:
    """Everything about a patient's images that tells nothing about the outcome. Lengths in mm, brightness in [0, 1]."""

    depth_mm: float
    half_height_mm: float
    fat: float
    gland: float
    density: float
    coarsest_mm: float
    roughness: float
    blur_mm: float
    noise: float
    muscle: float
    lesion_contrast: float
    lesion_soft: float
    dense_mm: float
    lesion_depth_mm: float
    node_contrast: float
    node_dense_mm: float
    benign: int


def draw_appearance(size_mm: float, rng: np.random.Generator) -> Appearance:
    """Draw a patient's appearance: grain, blur and noise vary widely, so that they do not betray a crop's scale.

    Blur and grain go with a power of the lesion's size, the middle way: were they drawn alike for all, a
    crop as wide as the lesion would tell its scale by its sharpness; were they in proportion, a fixed crop would.
    """
    fineness = (size_mm / 21.0) ** 0.68
    return Appearance(
        depth_mm=rng.uniform(78.0, 104.0),
        half_height_mm=rng.uniform(54.0, 80.0),
        fat=rng.uniform(0.16, 0.36),
        gland=rng.uniform(0.12, 0.34),
        density=rng.uniform(-0.9, 0.9),
        coarsest_mm=fineness * float(np.exp(rng.uniform(np.log(12.0), np.log(32.0)))),
        roughness=rng.uniform(0.55, 0.78),
        blur_mm=fineness * float(np.exp(rng.uniform(np.log(0.12), np.log(0.75)))),
        noise=float(np.exp(rng.uniform(np.log(0.007), np.log(0.035)))),
        muscle=rng.uniform(0.10, 0.24),
        lesion_contrast=rng.uniform(0.13, 0.30),
        dense_mm=rng.uniform(26.0, 40.0),
        lesion_soft=float(np.exp(rng.uniform(np.log(0.035), np.log(0.08)))),
        lesion_depth_mm=rng.uniform(32.0, 52.0),
        node_contrast=rng.uniform(0.18, 0.32),
        node_dense_mm=rng.uniform(18.0, 28.0),
        benign=int(rng.integers(2, 6)),
    )


@dataclass(frozen=True)
class DrawnView:
    """A finished view: brightness in [0, 1], chest wall left, cranial or lateral side up, and its boxes in pixels."""

    brightness: Image
    boxes: dict[str, Box]


def draw_view(
    view: View, plane: Plane, look: Appearance, findings: Findings | None, rng: np.random.Generator
) -> DrawnView:
    """Draw one view.

    Args:
        view: craniocaudal or mediolateral oblique.
        plane: pixel grid in the plane of the breast.
        look: the patient's appearance.
        findings: the lesion and node of a treated side; `None` draws the other breast.
        rng: what this view does not share with the patient's others.
    """
    middle_mm = plane.height_mm * (0.5 if view == "CC" else 0.56) + rng.uniform(-4.0, 4.0)
    inside = _breast_inside(view, plane, look, middle_mm)
    image = _parenchyma(plane, look, middle_mm, rng)
    if view == "MLO":
        image += _muscle(plane, look, rng)
    for _ in range(look.benign):
        _add_benign(image, plane, look, middle_mm, rng)
    boxes: dict[str, Box] = {}
    if findings is not None:
        boxes["primary"] = _add_lesion(image, plane, look, findings, middle_mm, rng)
        if view == "MLO":
            boxes["axilla"] = _add_node(image, plane, look, findings, rng)
    image = np.clip(image, 0.0, 1.0) * _thickness(inside)
    image += _skin(inside)
    tissue = np.clip(inside * 2.0, 0.0, 1.0)
    image += np.float32(look.noise) * _grain(plane, rng) * (0.25 + 0.75 * tissue)
    image = blurred(image, look.blur_mm, plane.spacing_mm)
    return DrawnView(np.clip(image, 0.0, 0.96), boxes)


def _breast_inside(view: View, plane: Plane, look: Appearance, middle_mm: float) -> Image:
    """Depth below the skin in mm, negative in air: half an ellipse, which on the MLO widens towards the axilla."""
    x, y = plane.axes()
    upper = np.float32(AXILLARY_TAIL_MM if view == "MLO" else look.half_height_mm)
    lower = np.float32(min(look.half_height_mm, plane.height_mm - middle_mm - 3.0))
    down = y - np.float32(middle_mm)
    radius = np.sqrt((x / np.float32(look.depth_mm)) ** 2 + (down / np.where(down < 0, upper, lower)) ** 2)
    inside = (1.0 - radius) * np.float32(0.85 * look.depth_mm)
    nipple = np.float32(4.0) - np.hypot(x - np.float32(look.depth_mm + 0.5), down)
    return np.asarray(np.maximum(inside, nipple), np.float32)


def _thickness(inside: Image) -> Image:
    """Compressed breast: even in the middle, thinning within about a centimetre of the edge."""
    depth = np.clip(inside, 0.0, None)
    return np.asarray(np.sqrt(1.0 - np.exp(-depth / np.float32(4.0))), np.float32)


def _grain(plane: Plane, rng: np.random.Generator) -> Image:
    """Noise as strong in every octave of size, so that its look does not tell how far a crop was enlarged."""
    return np.asarray(sum(lattice_noise(plane, cell_mm, rng) for cell_mm in GRAIN_MM), np.float32)


def _skin(inside: Image) -> Image:
    return np.asarray(np.float32(0.10) * np.exp(-(((inside - np.float32(1.0)) / np.float32(0.8)) ** 2)), np.float32)


def _parenchyma(plane: Plane, look: Appearance, middle_mm: float, rng: np.random.Generator) -> Image:
    x, y = plane.axes()
    texture = fractal_noise(plane, look.coarsest_mm, 0.4, look.roughness, rng)
    # Glands fan out behind the nipple; fat prevails at the border.
    fan = np.exp(
        -(((x - np.float32(0.52 * look.depth_mm)) / np.float32(0.45 * look.depth_mm)) ** 2)
        - ((y - np.float32(middle_mm)) / np.float32(0.75 * look.half_height_mm)) ** 2
    )
    glandular = np.float32(1.0) / (1.0 + np.exp(-(1.4 * texture + np.float32(look.density) + 2.4 * (fan - 0.75))))
    return np.asarray(np.float32(look.fat) + np.float32(look.gland) * glandular, np.float32)


def _muscle(plane: Plane, look: Appearance, rng: np.random.Generator) -> Image:
    x, y = plane.axes()
    top_mm, foot_mm = rng.uniform(40.0, 54.0), rng.uniform(84.0, 104.0)
    edge = (np.float32(1.0) - x / np.float32(top_mm) - y / np.float32(foot_mm)) * np.float32(top_mm * 0.85)
    edge = edge + np.float32(1.5) * np.sin(y / np.float32(13.0) + np.float32(rng.uniform(0, 6.28)))
    return np.asarray(np.float32(look.muscle) / (1.0 + np.exp(np.clip(-edge / np.float32(1.2), -30, 30))), np.float32)


def _add_benign(image: Image, plane: Plane, look: Appearance, middle_mm: float, rng: np.random.Generator) -> None:
    """A round opacity above or below the middle: who sees the whole breast must tell the lesion from the harmless."""
    outline = Outline(rng.uniform(4.0, 14.0), rng.uniform(0.7, 1.0), rng.uniform(0, np.pi))
    x_mm = look.depth_mm * rng.uniform(0.15, 0.65)
    y_mm = middle_mm + float(rng.choice([-1.0, 1.0])) * rng.uniform(0.5, 0.85) * look.half_height_mm
    patch = patch_around(plane, x_mm, y_mm, 1.6 * outline.half_length_mm)
    image[patch.rows, patch.columns] += np.float32(rng.uniform(0.05, 0.20)) * outline.fill(patch, 0.12)


def _add_lesion(
    image: Image, plane: Plane, look: Appearance, findings: Findings, middle_mm: float, rng: np.random.Generator
) -> Box:
    outline = lesion_outline(findings.size_mm * rng.uniform(0.96, 1.04), findings.spiculated, rng)
    x_mm = look.lesion_depth_mm + rng.uniform(-2.0, 2.0)
    y_mm = middle_mm + rng.uniform(-16.0, 16.0)
    patch = patch_around(plane, x_mm, y_mm, max(2.6 * outline.half_length_mm, ISLAND_REACH_MM + 20.0))
    mask = outline.fill(patch, look.lesion_soft)
    if findings.spiculated:
        mask = np.maximum(mask, 0.9 * spicules(patch, outline, rng))
    mask = np.maximum(mask, islands(patch, outline, look.dense_mm, ISLAND_REACH_MM, rng))
    # A solid mass displaces the parenchyma that it grows in: half of its texture is gone.
    here = image[patch.rows, patch.columns]
    level = np.float32(look.fat + 0.5 * look.gland)
    image[patch.rows, patch.columns] = here + mask * (
        np.float32(look.lesion_contrast) - np.float32(0.5) * (here - level)
    )
    return _box_px(outline.box_mm(), x_mm, y_mm, plane)


def _add_node(image: Image, plane: Plane, look: Appearance, findings: Findings, rng: np.random.Generator) -> Box:
    outline = node_outline(findings.node_short_mm, rng)
    x_mm, y_mm = rng.uniform(20.0, 30.0), rng.uniform(24.0, 34.0)
    patch = patch_around(plane, x_mm, y_mm, ISLAND_REACH_MM + 20.0)
    mask = np.maximum(outline.fill(patch, 0.05), islands(patch, outline, look.node_dense_mm, ISLAND_REACH_MM, rng))
    if not findings.hilum_lost:
        hilum, right_mm, down_mm = hilum_outline(outline, rng)
        hole = hilum.fill(patch.moved(right_mm, down_mm), 0.07)
        mask = mask * (1.0 - hole) - 0.30 * hole
    image[patch.rows, patch.columns] += np.float32(look.node_contrast) * mask
    jitter = rng.normal(0.0, 1.0, 4).clip(-2.0, 2.0)
    box = np.array(outline.box_mm()) + jitter
    return _box_px((box[0], box[1], box[2], box[3]), x_mm, y_mm, plane)


def _box_px(box_mm: Box, x_mm: float, y_mm: float, plane: Plane) -> Box:
    x_min, y_min, x_max, y_max = box_mm
    px = 1.0 / plane.spacing_mm
    return (x_mm + x_min) * px, (y_mm + y_min) * px, (x_mm + x_max) * px, (y_mm + y_max) * px
