"""The record that every annotation reader gives, whatever the tool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

NO_REGION = ""
"""Region of an annotation that its file does not name."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """The bounding box of one drawn region, in the annotated picture.

    Attributes:
        image: text that names the image in the source: file name, path, SOP Instance UID or image_id.
        region: the label as it stands in the source, or `NO_REGION`.
        x_min: left edge; edges are half-open, in pixels of the annotated picture: pixel k covers k to k + 1.
        y_min: upper edge, y runs down.
        x_max: right edge.
        y_max: lower edge.
        rows: height of the annotated picture in pixels, None where the source does not say.
        columns: width of the annotated picture in pixels, None where the source does not say.
        normalised: coordinates are shares of the picture's size, 0 to 1, instead of pixels.
        frame: frame of a multi-frame image, from 1; None where the source names none.
        source: file and line or element, for messages.
        millimetres: coordinates are millimetres of an image without position in space: the centre of its first pixel
            is 0, so that they need the image's spacing to become pixels.
    """

    image: str
    region: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    rows: int | None = None
    columns: int | None = None
    normalised: bool = False
    frame: int | None = None
    source: str = ""
    millimetres: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A drawn element that gives no box, and why: `reason` is counted, so it holds no value of the element."""

    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture that its file lists, with regions or without, by its name there."""

    image: str


Element: TypeAlias = Annotation | Skipped | Listed
Reading: TypeAlias = Sequence[Element]
"""All elements of one file, in their order."""


def bounding_box(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Smallest upright box (x_min, y_min, x_max, y_max) around points (x, y); there is at least one."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
