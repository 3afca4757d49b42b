"""Boxes of CBIS-DDSM's masks: which of two files is the mask is decided by the files, as the table's paths are swapped.

A mask has two values and the size of its film; a crop has the film's gray values. Where a mask's size is not its film's
it is scaled if one factor fits both sides, and left out if none does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.datasets.folder import REGION_COLUMNS, fitting_boxes
from mammo_aln.dicom.decode import decode, read_file
from mammo_aln.dicom.fast_header import Excluded, read_header
from mammo_aln.errors import UnreadableDicom
from mammo_aln.files import nameable
from mammo_aln.machine.cage import caged
from mammo_aln.machine.deaths import Death, bounded_time
from mammo_aln.progress import track
from mammo_aln.settings import PixelConfig

SAME_SCALE = 0.005
"""Rows and columns of a mask are scaled where their factors differ by no more than this share."""


@dataclass(frozen=True)
class MaskBoxes:
    """Boxes of the masks, and where the films lie.

    Args:
        regions: rows of `regions.csv`; None where no mask is there.
        notes: sentences to be told.
        films: path of an image's file by `image_id`, where a file is there.
    """

    regions: pd.DataFrame | None
    notes: tuple[str, ...]
    films: dict[str, str]


def boxes_of_masks(source: Path, rows: pd.DataFrame, skipped: Counter[str]) -> MaskBoxes:
    """Read the masks whose files lie below a folder, as their owner's tool lays them out.

    Args:
        source: the folder.
        rows: abnormalities: `image_id`, `path` of the film, `mask` and `cropped` as the table has them.
        skipped: gets what is left out, by reason.
    """
    folders = {path.name: path for path in sorted(source.rglob("*")) if path.is_dir()}
    films = {
        image: _film(source, folders, path)
        for image, path in dict(zip(rows["image_id"], rows["path"], strict=True)).items()
    }
    stated = {image: str(film.relative_to(source)) for image, film in films.items() if film is not None}
    work = [(row, _files(folders, row["mask"])) for row in rows.to_dict("records")]
    if not any(files for _, files in work):
        note = f"none of the {len(rows)} abnormalities has a mask's file below the folder: there are no regions"
        return MaskBoxes(None, (note,), stated)
    boxes, counts = [], Counter[str]()
    paths = sorted({path for _, files in work for path in files})
    readings = track(caged(mask_of_file, paths), total=len(paths), what="masks", unit="file")
    masks_of = {paths[number]: None if isinstance(mask, Death) else mask for number, mask in readings}
    for row, files in work:
        film = films[row["image_id"]]
        if not files or film is None:
            skipped["abnormalities without the file of their " + ("mask" if not files else "film")] += 1
            continue
        masks = [(path, mask) for path in files if (mask := masks_of[path]) is not None]
        if len(masks) != 1:
            skipped["abnormalities of whose files not exactly one is a mask"] += 1
            continue
        path, mask = masks[0]
        corners = _on_film(mask, film)
        if corners is None:
            skipped["abnormalities whose mask fits no scale of their film"] += 1
            continue
        counts["swapped"] += path.as_posix().endswith(str(row["cropped"]))
        counts["scaled"] += corners != mask.corners
        boxes.append((row["image_id"], "primary", *corners))
    regions, unfit = fitting_boxes(pd.DataFrame(boxes, columns=REGION_COLUMNS))
    skipped.update(unfit)
    sentences = {
        "swapped": "masks lie where the table names the crop: the files decide",
        "scaled": "masks have another size than their film: their boxes are scaled to it",
    }
    return MaskBoxes(regions, tuple(f"{counts[key]} {text}" for key, text in sentences.items() if counts[key]), stated)


@dataclass(frozen=True)
class Mask:
    """Size of a mask and the half-open box of its region: x_min, y_min, x_max, y_max."""

    rows: int
    columns: int
    corners: tuple[float, float, float, float]


def _film(source: Path, folders: dict[str, Path], path: str) -> Path | None:
    """The film's file: where the table says, or the only one in the folder that bears its name."""
    if nameable(path) and (source / path).is_file():
        return source / path
    files = _files(folders, path)
    return files[0] if len(files) == 1 else None


def _files(folders: dict[str, Path], path: object) -> list[Path]:
    """All files in the folder that a path of the table begins with; mask and crop of an abnormality share it."""
    folder = folders.get(str(path).split("/")[0])
    return sorted(folder.rglob("*.dcm")) if folder else []


def mask_of_file(path: Path) -> Mask | None:
    """Read the mask in a file, or None where it holds more than two values, one alone, or cannot be read."""
    try:
        with bounded_time(PixelConfig().decode_timeout_s):
            pixels, _ = decode(read_file(path), path)
    except UnreadableDicom:
        return None
    low, high = pixels.min(), pixels.max()
    inside = pixels == high
    if low == high or not np.all(inside | (pixels == low)):
        return None
    ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    rows, columns = pixels.shape
    return Mask(rows, columns, (float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)))


def _on_film(mask: Mask, film: Path) -> tuple[float, float, float, float] | None:
    """The box in pixels of the film; None where the film cannot be read or the sizes are no scale of each other."""
    header = read_header(film)
    if isinstance(header, Excluded) or not header.rows or not header.columns:
        return None
    if (header.rows, header.columns) == (mask.rows, mask.columns):
        return mask.corners
    down, across = header.rows / mask.rows, header.columns / mask.columns
    if abs(down / across - 1) > SAME_SCALE:
        return None
    x_min, y_min, x_max, y_max = mask.corners
    return (x_min * across, y_min * down, x_max * across, y_max * down)
