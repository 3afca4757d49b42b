"""Boxes of the annotated picture become boxes of the stored matrix, or are refused with the likely cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mammo_aln.cohort.annotations.geometry import Edges
from mammo_aln.cohort.annotations.record import Annotation
from mammo_aln.errors import InputError

Sides = Literal["none", "all", "left", "right"]
FITTING_SHARE = 0.02
"""A box may reach over the image's edge by this share of its side (or a pixel), and is clipped."""
SHOWN = 4


@dataclass(frozen=True)
class StoredImage:
    """The matrix that boxes are brought to: `spacing_mm` is (row, column) spacing, None where unknown or ambiguous."""

    image_id: str
    rows: int
    columns: int
    laterality: str = ""
    spacing_mm: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """Facts of the annotated pictures that no file states.

    Attributes:
        size: (rows, columns), where the file gives none.
        share: sides of the picture over those of the image, instead of `size` where images differ in size.
        longer_side: pixels of the pictures' longer side, likewise.
        stretched: another ratio of the sides than the image's means stretched, not cropped or padded.
        flipped: images whose picture was mirrored left to right.
        spacing_mm: spacing that the tool used for coordinates in millimetres.
    """

    size: tuple[int, int] | None = None
    share: float | None = None
    longer_side: int | None = None
    stretched: bool = False
    flipped: Sides = "none"
    spacing_mm: float | None = None


@dataclass(frozen=True)
class PlacedBox:
    """A box on the stored matrix: as drawn, and clipped to the image."""

    annotation: Annotation
    image: StoredImage
    drawn: Edges

    @property
    def clipped(self) -> Edges:
        """Edges within the image."""
        x_min, y_min, x_max, y_max = self.drawn
        columns, rows = float(self.image.columns), float(self.image.rows)
        return max(x_min, 0.0), max(y_min, 0.0), min(x_max, columns), min(y_max, rows)

    @property
    def fits(self) -> bool:
        """True where no edge lies further outside the image than an annotator's hand may slip."""
        return _fits(self.drawn, self.image.rows, self.image.columns)


def place_box(annotation: Annotation, image: StoredImage, picture: Picture) -> PlacedBox:
    """Bring one box to the stored matrix: scale, then undo a mirroring.

    Raises:
        InputError: the picture's size contradicts the image's or the stated one, or millimetres without a spacing.
    """
    x_scale, y_scale = _scales(annotation, image, picture)
    shift = 0.5 if annotation.millimetres else 0.0
    x_min, x_max = annotation.x_min * x_scale + shift, annotation.x_max * x_scale + shift
    y_min, y_max = annotation.y_min * y_scale + shift, annotation.y_max * y_scale + shift
    if picture.flipped == "all" or (picture.flipped != "none" and _side(image) == picture.flipped):
        x_min, x_max = image.columns - x_max, image.columns - x_min
    return PlacedBox(annotation, image, (x_min, y_min, x_max, y_max))


def refuse_misfits(boxes: Sequence[PlacedBox]) -> None:
    """Raise with the likely cause where a box cannot lie on its image.

    Raises:
        InputError: boxes outside their image, or pixels that are shares of the picture.
    """
    tiny = [box for box in boxes if not box.annotation.normalised and _is_share(box.annotation)]
    if tiny:
        raise InputError(
            f"{tiny[0].annotation.source}: all four coordinates lie within 0 to 1 ({len(tiny)} of {len(boxes)} boxes): "
            "they are shares of the picture's size, while this format holds pixels: write them as a CSV"
        )
    misfits = [box for box in boxes if not box.fits]
    if not misfits:
        return
    lines = [
        f"  {box.annotation.source}: ({', '.join(f'{edge:g}' for edge in box.drawn)}) on {box.image.image_id} of "
        f"{box.image.columns} columns x {box.image.rows} rows"
        for box in misfits[:SHOWN]
    ]
    if len(misfits) > SHOWN:
        lines.append(f"  ... and {len(misfits) - SHOWN} more")
    cause = next(
        (
            words
            for sought in (_exchanged, _corners_as_sizes, _of_larger_picture, _not_corners)
            if (words := sought(boxes))
        ),
        "",
    )
    raise InputError(
        f"{len(misfits)} of {len(boxes)} boxes reach outside their image by more than {FITTING_SHARE:.0%} of its side"
        + (f"; {cause}" if cause else "")
        + "\n"
        + "\n".join(lines)
    )


def _scales(annotation: Annotation, image: StoredImage, picture: Picture) -> tuple[float, float]:
    """Stored pixels per unit of the annotation, along x and y."""
    if annotation.millimetres:
        return _scales_of_millimetres(annotation, image, picture)
    if annotation.normalised:
        return float(image.columns), float(image.rows)
    own_rows, own_columns = annotation.rows, annotation.columns
    stated = (own_rows, own_columns) if own_rows and own_columns else None
    if stated and picture.size and stated != picture.size:
        raise InputError(
            f"{annotation.source}: the file says {_size_words(*stated)}, --picture_size {_size_words(*picture.size)}: "
            "expected the same; leave --picture_size out where files state their size"
        )
    share = picture.longer_side / max(image.rows, image.columns) if picture.longer_side else picture.share
    if stated is None and share:
        return 1 / share, 1 / share
    rows, columns = stated or picture.size or (image.rows, image.columns)
    if (rows, columns) == (image.rows, image.columns):
        return 1.0, 1.0
    x_scale, y_scale = image.columns / columns, image.rows / rows
    # sides of a resized picture are rounded to whole pixels
    if abs(columns * y_scale - image.columns) <= y_scale + 0.005 * image.columns or picture.stretched:
        return x_scale, y_scale
    if abs(rows / columns - image.columns / image.rows) < 0.01:
        raise InputError(
            f"{annotation.source}: the picture has {_size_words(rows, columns)}, the image {image.image_id} "
            f"{_size_words(image.rows, image.columns)}: rows and columns are exchanged, or the picture was turned"
        )
    raise InputError(
        f"{annotation.source}: the picture has {_size_words(rows, columns)}, the image {image.image_id} "
        f"{_size_words(image.rows, image.columns)}: another ratio of the sides, so the picture was cropped, padded or "
        "stretched: with --stretched true the boxes are taken as those of a stretched picture; of a cropped or padded "
        "one, write boxes in pixels of the image"
    )


def _scales_of_millimetres(annotation: Annotation, image: StoredImage, picture: Picture) -> tuple[float, float]:
    if picture.spacing_mm:
        return 1 / picture.spacing_mm, 1 / picture.spacing_mm
    if image.spacing_mm is None:
        raise InputError(
            f"{annotation.source}: millimetres, while the header of {image.image_id} states no spacing, or two that "
            "differ: state the spacing that the tool showed by --spacing_mm (1 where the picture was a PNG or JPEG)"
        )
    return 1 / image.spacing_mm[1], 1 / image.spacing_mm[0]


def _side(image: StoredImage) -> str:
    side = {"L": "left", "R": "right"}.get(image.laterality)
    if side is None:
        raise InputError(f"image {image.image_id}: laterality unknown, which --flipped left or right needs: fill it in")
    return side


def _fits(box: Edges, rows: int, columns: int) -> bool:
    x_min, y_min, x_max, y_max = box
    over_x, over_y = max(1.0, FITTING_SHARE * columns), max(1.0, FITTING_SHARE * rows)
    beside = x_min >= columns or y_min >= rows or x_max <= 0 or y_max <= 0
    return not beside and min(x_min, columns - x_max) >= -over_x and min(y_min, rows - y_max) >= -over_y


def _is_share(annotation: Annotation) -> bool:
    edges = (annotation.x_min, annotation.y_min, annotation.x_max, annotation.y_max)
    return not annotation.millimetres and all(0 <= edge <= 1 for edge in edges)


def _exchanged(boxes: Sequence[PlacedBox]) -> str:
    def swap(box: PlacedBox) -> Edges:
        x_min, y_min, x_max, y_max = box.drawn
        return y_min, x_min, y_max, x_max

    return "x and y are exchanged: all fit with y before x" if _all_fit(boxes, swap) else ""


def _corners_as_sizes(boxes: Sequence[PlacedBox]) -> str:
    def corners(box: PlacedBox) -> Edges:
        x_min, y_min, x_max, y_max = box.drawn
        return x_min, y_min, x_max - x_min, y_max - y_min

    ordered = all(box[0] < box[2] and box[1] < box[3] for box in map(corners, boxes))
    words = "width and height are most likely the second corner: all fit as x_min, y_min, x_max, y_max"
    return words if ordered and _all_fit(boxes, corners) else ""


def _of_larger_picture(boxes: Sequence[PlacedBox]) -> str:
    """Boxes of a picture with more pixels than the image; its size is at least their furthest edges."""
    if any(min(box.drawn[:2]) < -1 for box in boxes):
        return ""
    rows, columns = (max(box.drawn[edge] for box in boxes) for edge in (3, 2))
    share = max(max(box.drawn[2] / box.image.columns, box.drawn[3] / box.image.rows) for box in boxes)
    return (
        f"they are most likely of a picture of another size, at least {columns:.0f} columns x {rows:.0f} rows, or at "
        f"least {share:.3g} of the image's sides: state it by --picture_size ROWSxCOLUMNS or --picture_size SHARE"
    )


def _not_corners(boxes: Sequence[PlacedBox]) -> str:
    negative = sum(min(box.drawn[:2]) < -1 for box in boxes)
    return f"{negative} begin before the image's first pixel: another origin, or centres taken for corners"


def _all_fit(boxes: Sequence[PlacedBox], change: Callable[[PlacedBox], Edges]) -> bool:
    return all(replace(box, drawn=change(box)).fits for box in boxes)


def _size_words(rows: int | None, columns: int | None) -> str:
    return f"{rows}x{columns} (rows x columns)"
