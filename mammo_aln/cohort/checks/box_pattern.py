"""Boxes against the breasts they are drawn on: a pattern over many images tells how the annotated pictures differed.

A single box in air is an annotator's slip. Many of them are mirrored or resized pictures, or y before x, and then one
change of all boxes brings them onto the breast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mammo_aln.dicom.orientation import COARSE_SIDE_PX, MARGIN_SHARE, coarse_breast

Edges = tuple[float, float, float, float]

ON_BREAST_COVER = 0.5
"""A box counts as on the breast from this share of its area."""
FAILING_SHARE = 0.2
"""From this share of boxes off the breast on, the annotation as a whole is doubted."""
CERTAIN_SHARE = 0.5
"""Above this share the boxes are not those of these images, even where no cause is known."""
FEWEST_OFF = 3
EXPLAINING_SHARE = 0.9
"""A change of all boxes explains the pattern if it brings so many onto the breast, and by `GAIN` and `FEWEST_OFF` more
than as drawn."""
GAIN = 0.08
TIE = 0.08
"""Changes whose shares differ by less are told apart by the boxes' contrast to their surroundings."""
FACTORS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
SIDES_PX = (32, 64, 128, 224, 256, 299, 320, 384, 448, 512, 640, 768, 800, 896, 1024, 1152, 1280, 1536, 2048)


@dataclass(frozen=True, eq=False)
class CoarseView:
    """One image on a coarse grid, in stored orientation.

    Attributes:
        image_id: the image.
        laterality: `L`, `R` or empty.
        rows: height of the stored matrix.
        columns: width of the stored matrix.
        breast: boolean mask of the breast's convex hull.
        gray: display values, of the mask's shape.
    """

    image_id: str
    laterality: str
    rows: int
    columns: int
    breast: np.ndarray
    gray: np.ndarray


@dataclass(frozen=True)
class DrawnBox:
    """A region's box in pixels of the stored matrix."""

    image_id: str
    region: str
    edges: Edges


@dataclass(frozen=True)
class Change:
    """A change of all boxes that undoes one way of drawing them on another picture.

    Attributes:
        cause: what happened to the boxes, as a message says it.
        apply: edges as drawn and their image to edges on the stored matrix.
    """

    cause: str
    apply: Callable[[Edges, CoarseView], Edges]


@dataclass(frozen=True)
class Misplacement:
    """Boxes of a sample of images that lie off the breast.

    Attributes:
        boxes: boxes that were looked at.
        off: boxes off the breast, as drawn.
        images: images with such a box.
        cause: likely cause, empty where no change explains the pattern.
        explained: boxes that the change brings onto the breast.
    """

    boxes: int
    off: int
    images: tuple[str, ...]
    cause: str
    explained: int

    @property
    def is_pattern(self) -> bool:
        """True where the annotation as a whole must be doubted."""
        return self.off >= FEWEST_OFF and (bool(self.cause) or self.off > FAILING_SHARE * self.boxes)

    @property
    def is_certain(self) -> bool:
        """True where the boxes cannot be of these images as they stand."""
        return self.is_pattern and (bool(self.cause) or self.off > CERTAIN_SHARE * self.boxes)

    @property
    def words(self) -> str:
        """The finding in one line."""
        line = f"{self.off} of {self.boxes} boxes ({self.off / self.boxes:.0%}) lie in air or at the edge of the breast"
        if self.cause:
            return f"{line}; likely cause: {self.cause} (then {self.explained} of {self.boxes} lie on the breast)"
        return (
            f"{line}; likely cause: coordinates of another picture than the DICOM's stored matrix, or of other images"
        )


def coarse_view(image_id: str, laterality: str, pixels: np.ndarray) -> CoarseView:
    """Reduce an image to what the comparison needs.

    Args:
        image_id: the image.
        laterality: `L`, `R` or empty.
        pixels: (rows, columns) display values in [0, 1], air dark, stored orientation.
    """
    inner = coarse_breast(pixels)
    shape = tuple(max(3, round(side * COARSE_SIDE_PX / max(pixels.shape))) for side in pixels.shape)
    margins = [(round(MARGIN_SHARE * side), round(MARGIN_SHARE * side)) for side in shape]
    hull = np.zeros(inner.shape, np.uint8)
    if inner.any():
        points = np.argwhere(inner)[:, ::-1].astype(np.int32)
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    breast = np.pad(hull, margins, mode="edge").astype(bool)
    gray = cv2.resize(pixels.astype(np.float32), breast.shape[::-1], interpolation=cv2.INTER_AREA)
    return CoarseView(image_id, laterality, pixels.shape[0], pixels.shape[1], breast, gray)


def find_misplacement(views: Sequence[CoarseView], boxes: Sequence[DrawnBox]) -> Misplacement | None:
    """Compare boxes with the breasts of a sample of images.

    Args:
        views: images in which a breast was seen; others say nothing.
        boxes: all boxes; those of other images are left out.

    Returns:
        The boxes off the breast and their likely cause; None where all lie on it.
    """
    by_id = {view.image_id: view for view in views if view.breast.any()}
    drawn = [(box, by_id[box.image_id]) for box in boxes if box.image_id in by_id]
    on_breast = [_cover(box.edges, view) >= ON_BREAST_COVER for box, view in drawn]
    off = [box for (box, _), on in zip(drawn, on_breast, strict=True) if not on]
    if not off:
        return None
    images = tuple(dict.fromkeys(box.image_id for box in off))
    explanations = []
    for change in _changes(views):
        edges = [(change.apply(box.edges, view), view) for box, view in drawn]
        count = sum(_cover(changed, view) >= ON_BREAST_COVER for changed, view in edges)
        if count >= EXPLAINING_SHARE * len(drawn) and count >= sum(on_breast) + max(FEWEST_OFF, GAIN * len(drawn)):
            explanations.append((count, float(np.mean([_contrast(*item) for item in edges])), change.cause))
    if not explanations:
        return Misplacement(len(drawn), len(off), images, "", 0)
    most = max(count for count, _, _ in explanations)
    count, _, cause = max(
        (item for item in explanations if item[0] >= most - TIE * len(drawn)), key=lambda item: item[1]
    )
    return Misplacement(len(drawn), len(off), images, cause, count)


def _changes(views: Sequence[CoarseView]) -> Iterator[Change]:
    for words, sides in (("all", ("L", "R", "")), ("right", ("R",)), ("left", ("L",))):
        yield Change(f"the pictures of {words} breasts were mirrored (`--flipped {words}`)", _mirror(sides))
    yield Change("the pictures stood upside down (draw on them as they are stored)", _upside_down)
    yield Change("the pictures were turned by 180 degrees (draw on them as they are stored)", _half_turn)
    yield Change(
        "y stands before x (name a table's columns by `--columns`)",
        lambda edges, _: (edges[1], edges[0], edges[3], edges[2]),
    )
    yield Change("y stands before x (shares of the picture's size)", _exchange_shares)
    for factor in FACTORS:
        size = f"about {1 / factor:.0%} of the image's sides (`--picture_size {1 / factor:.3g}`)"
        yield Change(f"the picture had another size, {size}", _enlarge(factor))
    for side in SIDES_PX:
        if side < max((max(view.rows, view.columns) for view in views), default=0):
            size = f"about {side} x {side} pixels (`--picture_size {side}x{side} --stretched true`)"
            yield Change(f"the picture had another size, {size}", _unsquare(side))
            size = f"about {side} pixels on the longer side (`--picture_size {side}`)"
            yield Change(f"the picture had another size, {size}", _longer_side(side))


def _mirror(sides: Sequence[str]) -> Callable[[Edges, CoarseView], Edges]:
    def mirrored(edges: Edges, view: CoarseView) -> Edges:
        if view.laterality not in sides:
            return edges
        return view.columns - edges[2], edges[1], view.columns - edges[0], edges[3]

    return mirrored


def _upside_down(edges: Edges, view: CoarseView) -> Edges:
    return edges[0], view.rows - edges[3], edges[2], view.rows - edges[1]


def _half_turn(edges: Edges, view: CoarseView) -> Edges:
    return view.columns - edges[2], view.rows - edges[3], view.columns - edges[0], view.rows - edges[1]


def _exchange_shares(edges: Edges, view: CoarseView) -> Edges:
    ratio = view.columns / view.rows
    return edges[1] * ratio, edges[0] / ratio, edges[3] * ratio, edges[2] / ratio


def _enlarge(factor: float) -> Callable[[Edges, CoarseView], Edges]:
    return lambda edges, _: (edges[0] * factor, edges[1] * factor, edges[2] * factor, edges[3] * factor)


def _unsquare(side: int) -> Callable[[Edges, CoarseView], Edges]:
    def unsquared(edges: Edges, view: CoarseView) -> Edges:
        x, y = view.columns / side, view.rows / side
        return edges[0] * x, edges[1] * y, edges[2] * x, edges[3] * y

    return unsquared


def _longer_side(side: int) -> Callable[[Edges, CoarseView], Edges]:
    def enlarged(edges: Edges, view: CoarseView) -> Edges:
        return _enlarge(max(view.rows, view.columns) / side)(edges, view)

    return enlarged


def _cells(edges: Edges, view: CoarseView, grow: float = 0.0) -> tuple[slice, slice] | None:
    """Cells of the grid under a box grown by a share of its sides; None where the middle lies outside the image."""
    x_min, y_min, x_max, y_max = edges
    if not (0 <= (x_min + x_max) / 2 < view.columns and 0 <= (y_min + y_max) / 2 < view.rows):
        return None
    height, width = view.breast.shape
    across, down = grow * (x_max - x_min), grow * (y_max - y_min)
    left, right = ((x_min - across) * width / view.columns, (x_max + across) * width / view.columns)
    top, bottom = ((y_min - down) * height / view.rows, (y_max + down) * height / view.rows)
    first_row, first_column = min(max(0, int(top)), height - 1), min(max(0, int(left)), width - 1)
    return (
        slice(first_row, max(first_row + 1, min(height, round(bottom)))),
        slice(first_column, max(first_column + 1, min(width, round(right)))),
    )


def _cover(edges: Edges, view: CoarseView) -> float:
    """Share of a box that lies on the breast; 0 where its middle is outside the image."""
    cells = _cells(edges, view)
    return 0.0 if cells is None else float(view.breast[cells].mean())


def _contrast(edges: Edges, view: CoarseView) -> float:
    """Mean brightness of a box less that of its surroundings on the breast."""
    cells, around = _cells(edges, view), _cells(edges, view, grow=0.75)
    if cells is None or around is None:
        return -1.0
    ring = view.breast.copy()
    ring[cells] = False
    outside = view.gray[around][ring[around]]
    return float(view.gray[cells].mean() - outside.mean()) if outside.size else -1.0
