"""Pictures of heat: each view with the maps of its crops laid on, then each crop without and with its map.

Patients are running numbers and images are `L CC`, `L MLO`, ...; no picture holds an identifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates
from torch import Tensor

from mammo_aln.crops.parallel import read_apart
from mammo_aln.crops.proof.sheet import Thumbnail, draw_bar, outlined, typeface
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.requests import ImagePlan
from mammo_aln.crops.window import Window, source_to_crop
from mammo_aln.dicom.orientation import Orientation
from mammo_aln.explain.attribution import SpatialLayer, grad_cam, layers_of
from mammo_aln.files import written_whole
from mammo_aln.inference.frozen import FrozenRun
from mammo_aln.progress import track

VIEW_HEIGHT_PX = 640
CROP_PX = 360
DISEASE, CLEAR = (213, 94, 0), (0, 130, 210)
"""Orange and blue are told apart by the common kinds of colour blindness."""
STRONGEST = 0.65
FRAME = (255, 255, 255)


@dataclass(frozen=True)
class HeatPicture:
    """One PNG and what it shows."""

    path: Path
    number: int
    alt: str


@dataclass(frozen=True)
class Drawn:
    """A patient whose heat maps are drawn: running number, split, and index there."""

    number: int
    split: str
    index: int


@dataclass(frozen=True)
class _Crop:
    """One crop of a patient with its map, in the order of the batch."""

    image_id: str
    title: str
    pixels: NDArray[np.float32]
    window: Window
    side_mm: float | None
    cells: NDArray[np.float64]


def _sample(cells: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a map at places given as shares (0 to 1) of its width and height, linear between the cells' centres."""
    rows, columns = cells.shape
    return map_coordinates(cells, [y * rows - 0.5, x * columns - 0.5], order=1, mode="nearest")


def on_crop(cells: NDArray[np.float64], size_px: int) -> NDArray[np.float64]:
    """A map over the pixels of its crop, (size_px, size_px)."""
    centres = (np.arange(size_px) + 0.5) / size_px
    x, y = np.meshgrid(centres, centres)
    return _sample(cells, x, y)


def on_view(
    cells: NDArray[np.float64],
    window: Window,
    orientation: Orientation,
    shape: tuple[int, int],
    grid: tuple[int, int],
) -> NDArray[np.float64]:
    """A map over a whole view that is shown chest wall left on a (rows, columns) grid; NaN outside the crop's window.

    Args:
        cells: map of the crop, chest wall left.
        window: the crop's window in stored pixels.
        orientation: of the image.
        shape: (rows, columns) of the stored image.
        grid: (rows, columns) of the picture.
    """
    x, y = np.meshgrid((np.arange(grid[1]) + 0.5) / grid[1], (np.arange(grid[0]) + 0.5) / grid[0])
    if orientation.flip_horizontal:
        x = 1.0 - x
    if orientation.flip_vertical:
        y = 1.0 - y
    stored = np.stack([x.ravel() * shape[1], y.ravel() * shape[0]], axis=1)
    share = source_to_crop(stored, window, 1, orientation)
    inside = ((share >= 0.0) & (share <= 1.0)).all(axis=1)
    heat = np.full(len(share), np.nan)
    heat[inside] = _sample(cells, share[inside, 0], share[inside, 1])
    return heat.reshape(grid)


def overlaid(grey: NDArray[np.float32], heat: NDArray[np.float64]) -> Image.Image:
    """A grey picture with heat on it.

    Args:
        grey: (rows, columns) in [0, 1].
        heat: (rows, columns) in [-1, 1]; above 0 orange, below 0 blue, the stronger the less transparent; NaN: nothing.
    """
    filled = np.nan_to_num(heat, nan=0.0)[..., None]
    alpha = STRONGEST * np.clip(np.abs(filled), 0.0, 1.0)
    colour = np.where(filled > 0, np.array(DISEASE, float), np.array(CLEAR, float))
    base = np.clip(grey, 0.0, 1.0)[..., None] * 255.0
    return Image.fromarray(np.rint((1.0 - alpha) * base + alpha * colour).astype(np.uint8), "RGB")


def draw_patients(frozen: FrozenRun, patients: Sequence[Drawn], out: Path) -> list[HeatPicture]:
    """Draw the heat maps of some patients into a folder, one at a time; pictures keep the patients' order."""
    layers = layers_of(frozen.module.scoring_network, frozen.data.crop.size_px)
    plans = {image.image_id: image for image in plan_crops(frozen.data.cohort, frozen.data.crop).images}
    return [
        picture
        for patient in track(patients, total=len(patients), what="heat maps", unit="patient")
        for picture in _draw_patient(frozen, layers, plans, patient, out)
    ]


def _draw_patient(
    frozen: FrozenRun, layers: Mapping[str, SpatialLayer], plans: Mapping[str, ImagePlan], patient: Drawn, out: Path
) -> Iterator[HeatPicture]:
    loader = frozen.data.loader(patient.split, alone=True)
    batch = loader.packed([(0, patient.index)])
    if not len(batch["crops"]):
        return
    maps = grad_cam(frozen.module.scoring_network, frozen.to_device(batch), layers)
    # One scale for all crops of a patient: what hardly counts stays pale.
    strongest = float(np.nanmax(np.abs(maps))) or 1.0
    by_image: dict[str, list[_Crop]] = {}
    for crop in _crops(frozen, batch, maps, patient):
        by_image.setdefault(crop.image_id, []).append(crop)
    for nth, (image_id, crops) in enumerate(by_image.items(), start=1):
        view = Thumbnail.of(read_apart(plans[image_id], frozen.settings.pixels), VIEW_HEIGHT_PX)
        named = f"patient {patient.number}, view {view.mark}"
        stem = f"patient_{patient.number:03d}_view_{nth}"
        titles = ", ".join(crop.title for crop in crops)
        alt = f"Whole view of {named}, with the heat of its crops: {titles}."
        yield _save(draw_view(view, crops, strongest), out / f"{stem}.png", patient.number, alt)
        for order, crop in enumerate(crops, start=1):
            alt = f"Crop {crop.title} of {named}: without and with its heat map."
            yield _save(draw_crop(crop, strongest), out / f"{stem}_crop_{order}.png", patient.number, alt)


def _save(picture: Image.Image, path: Path, number: int, alt: str) -> HeatPicture:
    with written_whole(path) as unfinished:
        picture.save(unfinished, format="PNG")
    return HeatPicture(path, number, alt)


def _crops(
    frozen: FrozenRun, batch: Mapping[str, Tensor], maps: NDArray[np.float64], patient: Drawn
) -> Iterator[_Crop]:
    data = frozen.data
    units, unit_id = data.units(patient.split), data.patients(patient.split)["unit_id"].iloc[patient.index]
    table, store = data.crop_set.table, data.crop_set.open_store()
    rows = {(row["region"], row["key"]): row for row in table[table["unit_id"] == unit_id].to_dict("records")}
    first, last = units.first[patient.index : patient.index + 2]
    for nth, key in enumerate(units.keys[first:last].tolist()):
        region = data.regions[int(batch["region"][nth])]
        row, record = rows[region, key], store.crop(key)
        title = region.replace("_", " ") + (f" {row['ordinal']}" if row["ordinal"] > 1 else "")
        yield _Crop(
            str(row["image_id"]),
            title,
            batch["crops"][nth, 0].cpu().numpy(),
            record.window,
            store.image(record.image).side_mm(record.window),
            maps[nth],
        )


def draw_view(view: Thumbnail, crops: list[_Crop], strongest: float) -> Image.Image:
    """Draw a whole view with the heat of its crops, their windows, its mark and a 5 cm scale bar.

    The value `strongest` of a map is drawn full.
    """
    height, width = view.pixels.shape
    heat = np.full((height, width), np.nan)
    for crop in crops:
        cells = crop.cells / strongest
        placed = on_view(cells, crop.window, view.orientation, view.shape, (height, width))
        # Where windows overlap the stronger map is shown.
        heat = np.where(np.nan_to_num(np.abs(placed), nan=-1.0) > np.nan_to_num(np.abs(heat), nan=-1.0), placed, heat)
    picture = overlaid(view.pixels, heat)
    pen = ImageDraw.Draw(picture)
    for crop in crops:
        left, top, right, bottom = map(round, view.place(crop.window.box))
        pen.rectangle([left, top, right - 1, bottom - 1], outline=FRAME, width=2)
        outlined(pen, (max(left, 0) + 5, max(top, 0) + 3), crop.title, typeface(17))
    big = typeface(24, bold=True)
    outlined(pen, (width - 10 - pen.textlength(view.mark, font=big), 8), view.mark, big)
    if view.five_cm_px is None:
        outlined(pen, (8, height - 28), "no scale: spacing unknown", typeface(17))
    else:
        draw_bar(pen, width - 12, height - 14, view.five_cm_px, "5 cm")
    return picture


def draw_crop(crop: _Crop, strongest: float) -> Image.Image:
    """One crop twice, without and with its heat, with a scale bar of 1 cm (5 cm on crops of more than 12 cm)."""
    size = crop.pixels.shape[0]
    plain = overlaid(crop.pixels, np.full((size, size), np.nan))
    hot = overlaid(crop.pixels, on_crop(crop.cells / strongest, size))
    picture = Image.new("RGB", (2 * CROP_PX + 8, CROP_PX), (255, 255, 255))
    for nth, half in enumerate((plain, hot)):
        picture.paste(half.resize((CROP_PX, CROP_PX), Image.Resampling.BILINEAR), (nth * (CROP_PX + 8), 0))
    pen = ImageDraw.Draw(picture)
    outlined(pen, (8, 6), crop.title, typeface(22, bold=True))
    if crop.side_mm is None:
        outlined(pen, (8, CROP_PX - 28), "size in mm unknown", typeface(17))
    else:
        bar_mm = 10.0 if crop.side_mm <= 120 else 50.0
        draw_bar(pen, CROP_PX - 12, CROP_PX - 14, bar_mm * CROP_PX / crop.side_mm, f"{bar_mm / 10:g} cm")
    return picture
