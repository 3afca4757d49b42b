"""From cells to the view: a dot planted at known source coordinates shows there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mammo_aln.crops.build import build_crops
from mammo_aln.crops.window import Window
from mammo_aln.dicom.orientation import Orientation
from mammo_aln.explain.heatmaps import CLEAR, DISEASE, on_crop, on_view, overlaid
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

CELLS = 8


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("dot_mm", [(22.0, 70.0), (38.0, 52.0)])
def test_a_planted_dot_is_hot_in_the_view(
    tmp_path: Path, side: str, inverted: bool, dot_mm: tuple[float, float]
) -> None:
    """Real file, real crop; its cells are the crop's mean brightness, so the dot's cell is the hottest."""
    rows, columns, row_mm, column_mm = 400, 300, 0.3, 0.4
    x_mm, y_mm = dot_mm if side == "L" else (columns * column_mm - dot_mm[0], dot_mm[1])
    pixels = mammogram(rows, columns, row_mm, column_mm, dots_mm=[(x_mm, y_mm)], side=side)
    write_image(tmp_path / "i.dcm", pixels, side=side, inverted=inverted, ImagerPixelSpacing=[row_mm, column_mm])
    middle_x, middle_y = 30.0 if side == "L" else columns * column_mm - 30.0, 60.0
    box = [middle_x / column_mm - 20, middle_y / row_mm - 20, middle_x / column_mm + 20, middle_y / row_mm + 20]
    cohort = write_tables(tmp_path, [patient("p")], [image("i", "p", side)], [("i", "primary", *box)])
    crops = build_crops(cohort, PixelConfig(), CropConfig(size_px=128, auxiliary=()), workers=1)
    store = crops.open_store()
    (key,) = crops.table["key"]
    record = store.crop(key)
    cells = store.read(key).astype(float).reshape(CELLS, 16, CELLS, 16).mean(axis=(1, 3))
    orientation = store.image(record.image).orientation
    assert orientation.flip_horizontal == (side == "R")
    grid = (200, 200)
    heat = on_view(cells - cells.mean(), record.window, orientation, (rows, columns), grid)
    row, column = np.unravel_index(np.nanargmax(heat), grid)
    seen_mm = np.array([(column + 0.5) / grid[1] * columns * column_mm, (row + 0.5) / grid[0] * rows * row_mm])
    assert np.abs(seen_mm - dot_mm).max() <= 50.0 / CELLS  # chest wall left: both sides show it at the same place
    inside = ~np.isnan(heat)
    assert inside.sum() / heat.size == pytest.approx(50.0 * 50.0 / (rows * row_mm * columns * column_mm), rel=0.05)


def test_crop_and_view_agree() -> None:
    """The view is a crop of itself: both ways of drawing give one picture."""
    cells = np.random.default_rng(0).normal(size=(5, 5))
    view = on_view(cells, Window(0, 0, 40, 40), Orientation(), (40, 40), (40, 40))
    assert np.allclose(view, on_crop(cells, 40))
    flipped = on_view(cells, Window(0, 0, 40, 40), Orientation(True, True), (40, 40), (40, 40))
    assert np.allclose(flipped, view)  # crop and view are both shown turned


def test_cells_keep_their_value_at_their_centre() -> None:
    cells = np.arange(16.0).reshape(4, 4)
    assert np.allclose(on_crop(cells, 12)[1::3, 1::3], cells)


def test_colours_follow_the_sign() -> None:
    grey = np.zeros((1, 3), np.float32)
    picture = np.asarray(overlaid(grey, np.array([[1.0, -1.0, np.nan]])))[0].astype(float)
    assert np.allclose(picture[0] / picture[0].max(), np.array(DISEASE) / max(DISEASE), atol=0.02)
    assert np.allclose(picture[1] / picture[1].max(), np.array(CLEAR) / max(CLEAR), atol=0.02)
    assert (picture[2] == 0).all()
