"""Drawing of contact sheets: text, view with coloured windows and scale bar, crops framed in the same colours."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mammo_aln.crops.anatomy import Anatomy
from mammo_aln.crops.window import Window, resample
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.read import DisplayImage

COLOURS = {
    "whole_breast": (86, 180, 233),
    "lesion_box": (255, 80, 70),
    "lesion_margin": (255, 200, 50),
    "fixed_5cm": (60, 220, 130),
    "auxiliary": (220, 130, 255),
}
"""One per window; distinct under the common kinds of colour blindness (after Okabe and Ito)."""

_LEGEND = {
    "whole_breast": "whole breast",
    "lesion_box": "lesion box",
    "lesion_margin": "lesion with margin",
    "fixed_5cm": "fixed size (5 cm)",
    "auxiliary": "auxiliary regions",
}
OUTLINE, UNSURE_OUTLINE = (245, 245, 245), (255, 120, 0)
_OUTLINE_WORDS = "breast, beside it all is background (orange: unsure, kept whole)"
_TEXT_PX, _TILE_PX, _GAP_PX, _HEAD_PX, _TITLE_LINE_PX = 330, 320, 12, 64, 26
_PAPER, _INK, _FLAG, _RULE = (24, 24, 26), (225, 225, 225), (255, 170, 90), (70, 70, 74)


@dataclass(frozen=True)
class Thumbnail:
    """A whole image made small, chest wall left, without the image's own pixels.

    Attributes:
        pixels: display values (height, width), square.
        mark: laterality and view, such as `R MLO`.
        shape: (rows, columns) of the stored matrix.
        orientation: what brings the stored matrix to chest wall left.
        five_cm_px: pixels that 5 cm take, if that is known.
        outline: True on the breast's outline, (height, width); `None` where nothing is masked.
        sure: False where the outline is too doubtful to be used.
    """

    pixels: NDArray[np.float32]
    mark: str
    shape: tuple[int, int]
    orientation: Orientation
    five_cm_px: float | None
    outline: NDArray[np.bool_] | None = None
    sure: bool = True

    @classmethod
    def of(cls, display: DisplayImage, height: int, anatomy: Anatomy | None = None) -> Thumbnail:
        """Make an image `height` pixels high, with the outline of an anatomy's breast."""
        (rows, columns), spacing, turned = display.pixels.shape, display.spacing, display.orientation
        row_mm, column_mm = (spacing.row_mm, spacing.column_mm) if spacing else (1.0, 1.0)
        scale = height / (rows * row_mm)
        width = max(1, round(columns * column_mm * scale))
        pixels = turned.apply(resample(display.pixels, Window(0, 0, columns, rows), height, width))
        mark = f"{display.laterality or '?'} {display.view or '?'}"
        five_cm_px = 50.0 * scale if spacing else None
        if anatomy is None or anatomy.kept is None:
            return cls(pixels, mark, (rows, columns), turned, five_cm_px)
        kept = turned.apply(anatomy.kept).astype(np.float32)
        inside = resample(kept, Window(0, 0, kept.shape[1], kept.shape[0]), height, width) > 0.5
        return cls(pixels, mark, (rows, columns), turned, five_cm_px, _edge(inside), anatomy.is_sure)

    @classmethod
    def blank(cls, mark: str, height: int) -> Thumbnail:
        """Stand in for an image that can't be read."""
        return cls(
            np.zeros((height, height * 3 // 4), np.float32), mark, (height, height * 3 // 4), Orientation(), None
        )

    def place(self, box: Box) -> Box:
        """A box of the stored matrix in the thumbnail's pixels."""
        x_min, y_min, x_max, y_max = self.orientation.box_to_oriented(box, self.shape)
        across, down = self.pixels.shape[1] / self.shape[1], self.pixels.shape[0] / self.shape[0]
        return (x_min * across, y_min * down, x_max * across, y_max * down)


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels inside that have a neighbour outside."""
    padded = np.pad(inside, 1, mode="edge")
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~surrounded


@dataclass(frozen=True)
class Tile:
    """One crop: key of `COLOURS`, title, uint8 pixels (None: there is none), its window, its side in millimetres."""

    colour: str
    title: str
    pixels: NDArray[np.uint8] | None
    window: Box | None
    side_mm: float | None


@dataclass(frozen=True)
class Row:
    """A lesion: its view, its crops, and lines of text as (`head`, `plain` or `flag`, words)."""

    view: Thumbnail
    tiles: Sequence[Tile]
    lines: tuple[tuple[str, str], ...]


@cache
def typeface(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The sans serif of all pictures; it comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def draw_sheet(rows: Sequence[Row], title: str) -> Image.Image:
    """One sheet as an RGB picture."""
    view_width = max(row.view.pixels.shape[1] for row in rows)
    row_height = max(max(row.view.pixels.shape[0] for row in rows), _TILE_PX + 60) + 2 * _GAP_PX
    tiles = max(len(row.tiles) for row in rows)
    width = _TEXT_PX + view_width + tiles * (_TILE_PX + _GAP_PX) + 4 * _GAP_PX
    heading = wrapped(title, width - 2 * _GAP_PX)
    head_px = _HEAD_PX + (len(heading) - 1) * _TITLE_LINE_PX
    sheet = Image.new("RGB", (width, head_px + len(rows) * row_height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _draw_head(pen, heading)
    for number, row in enumerate(rows):
        top = head_px + number * row_height
        pen.line([(0, top), (width, top)], fill=_RULE)
        _draw_lines(pen, row.lines, (_GAP_PX, top + _GAP_PX))
        _draw_view(sheet, row, (_TEXT_PX, top + _GAP_PX))
        for column, tile in enumerate(row.tiles):
            left = _TEXT_PX + view_width + 2 * _GAP_PX + column * (_TILE_PX + _GAP_PX)
            _draw_tile(sheet, tile, (left, top + _GAP_PX))
    return sheet


def wrapped(title: str, width: int) -> list[str]:
    """Break a title into lines that a sheet of this width holds."""
    lines = [""]
    for word in title.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and typeface(20, bold=True).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _draw_head(pen: ImageDraw.ImageDraw, heading: Sequence[str]) -> None:
    for number, line in enumerate(heading):
        pen.text((_GAP_PX, 8 + number * _TITLE_LINE_PX), line, font=typeface(20, bold=True), fill=_INK)
    top = 38 + (len(heading) - 1) * _TITLE_LINE_PX
    pen.text((_GAP_PX, top), "Chest wall on the left, cranial up. Windows:", font=typeface(14), fill=_INK)
    left = 340
    for name, words in _LEGEND.items():
        pen.rectangle([left, top + 2, left + 22, top + 16], outline=COLOURS[name], width=3)
        pen.text((left + 30, top), words, font=typeface(14), fill=COLOURS[name])
        left += 50 + int(pen.textlength(words, font=typeface(14)))
    pen.line([left, top + 9, left + 22, top + 9], fill=OUTLINE, width=1)
    pen.text((left + 30, top), _OUTLINE_WORDS, font=typeface(14), fill=OUTLINE)


def _draw_lines(pen: ImageDraw.ImageDraw, lines: Sequence[tuple[str, str]], at: tuple[int, int]) -> None:
    style = {
        "head": (typeface(15, bold=True), _INK, 32),
        "plain": (typeface(13), _INK, 42),
        "flag": (typeface(13), _FLAG, 40),
    }
    left, top = at
    for weight, words in lines:
        font, ink, letters = style[weight]
        text = "\n".join(textwrap.wrap(("! " if weight == "flag" else "") + words, letters))
        pen.multiline_text((left, top), text, font=font, fill=ink, spacing=2)
        top = int(pen.multiline_textbbox((left, top), text, font=font, spacing=2)[3]) + 7


def _draw_view(sheet: Image.Image, row: Row, at: tuple[int, int]) -> None:
    """Draw the whole image with every tile's window."""
    view = row.view
    height, width = view.pixels.shape
    grey = np.rint(np.clip(view.pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
    colours = np.repeat(grey[..., None], 3, axis=2)
    if view.outline is not None:
        colours[view.outline] = OUTLINE if view.sure else UNSURE_OUTLINE
    picture = Image.fromarray(colours)
    pen = ImageDraw.Draw(picture)
    for tile in row.tiles:
        if tile.window is not None:
            left, top, right, bottom = map(round, view.place(tile.window))
            pen.rectangle([left, top, right - 1, bottom - 1], outline=COLOURS[tile.colour], width=2)
    mark = typeface(22, bold=True)
    outlined(pen, (width - 8 - int(pen.textlength(view.mark, font=mark)), 6), view.mark, mark)
    if view.five_cm_px is None:
        outlined(pen, (8, height - 24), "no scale: spacing unknown", typeface(13))
    else:
        draw_bar(pen, width - 10, height - 14, view.five_cm_px, "5 cm")
    sheet.paste(picture, at)


def _draw_tile(sheet: Image.Image, tile: Tile, at: tuple[int, int]) -> None:
    left, top = at
    pen = ImageDraw.Draw(sheet)
    colour = COLOURS[tile.colour]
    pen.text((left, top), tile.title, font=typeface(14, bold=True), fill=colour)
    frame_top = top + 22
    if tile.pixels is None:
        pen.rectangle([left, frame_top, left + _TILE_PX - 1, frame_top + _TILE_PX - 1], outline=_RULE, width=2)
        pen.text((left + 12, frame_top + 12), "not available", font=typeface(14), fill=_FLAG)
        return
    picture = Image.fromarray(tile.pixels).resize((_TILE_PX, _TILE_PX), Image.Resampling.BILINEAR).convert("RGB")
    inner = ImageDraw.Draw(picture)
    inner.rectangle([0, 0, _TILE_PX - 1, _TILE_PX - 1], outline=colour, width=2)
    size = "size in mm unknown"
    if tile.side_mm is not None:
        bar_mm = 10.0 if tile.side_mm < 120 else 50.0
        draw_bar(inner, _TILE_PX - 10, _TILE_PX - 14, bar_mm * _TILE_PX / tile.side_mm, f"{bar_mm / 10:g} cm")
        size = f"{tile.side_mm:.1f} mm wide and high"
    sheet.paste(picture, (left, frame_top))
    pen.text((left, frame_top + _TILE_PX + 4), size, font=typeface(13), fill=_INK)


def draw_bar(pen: ImageDraw.ImageDraw, right: float, bottom: float, length: float, words: str) -> None:
    """A scale bar of `length` pixels that ends at (right, bottom), its words above it."""
    pen.rectangle([right - length - 1, bottom - 5, right + 1, bottom + 1], fill=(0, 0, 0))
    pen.rectangle([right - length, bottom - 4, right, bottom], fill=(255, 255, 255))
    outlined(pen, (right - pen.textlength(words, font=typeface(13)), bottom - 22), words, typeface(13))


def outlined(pen: ImageDraw.ImageDraw, at: tuple[float, float], words: str, font: ImageFont.FreeTypeFont) -> None:
    """White words with a black rim, readable on any grey."""
    pen.text(at, words, font=font, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
