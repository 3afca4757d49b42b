"""Box jitter: how far the score moves when a reader had drawn the box 2 mm beside, or 10 % smaller or larger.

Each image is decoded once; its crops are cut anew in memory, by the same functions that fill the crop store, and never
written to it. One drawn box is moved at a time, with everything that is placed by it (`other_view`, `peritumoral` and
`contralateral` follow the lesion's box). Directions are those of the view shown chest wall left, cranial up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammo_aln.crops.derive import cut_levels
from mammo_aln.crops.keys import CropJob, stored_keys
from mammo_aln.crops.parallel import read_apart
from mammo_aln.crops.placement import place_crop
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.requests import PRIMARY, CropRequest, ImagePlan
from mammo_aln.crops.store.records import ImageRecord
from mammo_aln.crops.store.store import CropStore, display_values
from mammo_aln.crops.window import CropRefused, surround_px
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.read import DisplayImage
from mammo_aln.errors import InputError
from mammo_aln.inference.frozen import CropBlocks, FrozenRun
from mammo_aln.progress import Progress

SHIFT_MM = 2.0
SIZE_SHARE = 0.1
PLACED_BY_THE_LESION = ("other_view", "peritumoral", "contralateral")


@dataclass(frozen=True)
class Move:
    """One change of a box: millimetres away from the chest wall and down, and a factor of its sides."""

    name: str
    words: str
    away_mm: float = 0.0
    down_mm: float = 0.0
    factor: float = 1.0


UNMOVED = Move("unmoved", "as drawn")
MOVES = (
    Move("towards_wall", f"{SHIFT_MM:g} mm towards the chest wall", away_mm=-SHIFT_MM),
    Move("away_from_wall", f"{SHIFT_MM:g} mm away from it", away_mm=SHIFT_MM),
    Move("up", f"{SHIFT_MM:g} mm up", down_mm=-SHIFT_MM),
    Move("down", f"{SHIFT_MM:g} mm down", down_mm=SHIFT_MM),
    Move("smaller", f"{SIZE_SHARE:.0%} smaller", factor=1.0 - SIZE_SHARE),
    Move("larger", f"{SIZE_SHARE:.0%} larger", factor=1.0 + SIZE_SHARE),
)


def moved_box(box: Box, move: Move, pixel_mm: tuple[float, float] | None, orientation: Orientation) -> Box:
    """A box of the stored matrix after a move.

    Args:
        box: (x_min, y_min, x_max, y_max) in stored pixels.
        move: what is done to it.
        pixel_mm: (column_mm, row_mm), or None where unknown.
        orientation: what brings the image to chest wall left.

    Raises:
        CropRefused: millimetres are asked of an image without spacing.
    """
    across = down = 0.0
    if move.away_mm or move.down_mm:
        if pixel_mm is None:
            raise CropRefused("the pixel spacing is unknown")
        across = move.away_mm / pixel_mm[0] * (-1.0 if orientation.flip_horizontal else 1.0)
        down = move.down_mm / pixel_mm[1] * (-1.0 if orientation.flip_vertical else 1.0)
    grown_x, grown_y = ((box[2] - box[0]) * (move.factor - 1) / 2, (box[3] - box[1]) * (move.factor - 1) / 2)
    return (box[0] + across - grown_x, box[1] + down - grown_y, box[2] + across + grown_x, box[3] + down + grown_y)


def drawn_box(request: CropRequest) -> str | None:
    """Name the drawn box that a crop is placed by: `primary`, or an auxiliary name; None where no human drew one."""
    if not request.needs_box or (request.box is None and request.mirror_of is None):
        return None
    return PRIMARY if request.region in PLACED_BY_THE_LESION else request.region


@dataclass(frozen=True)
class _Cutter:
    """Cuts crops of moved boxes anew, with their surround where test-time copies move into it.

    `keys` are those of the images' records in the store, by `image_id`.
    """

    job: CropJob
    store: CropStore
    keys: Mapping[str, str]
    beyond: int

    def image(self, image_id: str) -> ImageRecord:
        """The store's record of an image."""
        return self.store.image(self.keys[image_id])

    def moved(self, request: CropRequest, move: Move) -> CropRequest:
        """The request with its drawn box moved, on whichever image that box was drawn."""
        lesion = request.mirror_of
        image_id, box = lesion if lesion is not None else (request.image_id, request.box)
        assert box is not None
        image = self.image(image_id)
        pixel_mm = (image.spacing.column_mm, image.spacing.row_mm) if image.spacing else None
        moved = moved_box(box, move, pixel_mm, image.orientation)
        return replace(request, mirror_of=(image_id, moved)) if lesion is not None else replace(request, box=moved)

    def cut(self, request: CropRequest, display: DisplayImage) -> NDArray[np.uint16]:
        """The crop of a request, as the store would keep it, and `beyond` pixels around it."""
        lesion_image = self.image(request.mirror_of[0]) if request.mirror_of else None
        own = self.image(request.image_id)
        placed = place_crop("", request, own, lesion_image, self.job.crop)
        return cut_levels(display, placed, own.anatomy, self.beyond)

    def crop(self, block: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Display values of the crop in the middle of what was cut."""
        return display_values(block[self.beyond : len(block) - self.beyond, self.beyond : len(block) - self.beyond])


Moved = dict[tuple[str, str], dict[int, NDArray[np.uint16] | str]]
"""(box, move) -> position in the batch -> the crop cut anew, or why there is none."""


def _cut_anew(
    cutter: _Cutter, plans: Mapping[str, ImagePlan], requests: Mapping[int, CropRequest], stored: Tensor
) -> Moved:
    """Cut the crops of a batch under every move; every image is decoded once.

    Raises:
        InputError: a crop cut anew at its own place is not the one that the store holds.
    """
    on_image: dict[str, list[int]] = defaultdict(list)
    for position, request in requests.items():
        on_image[request.image_id].append(position)
    crops: Moved = defaultdict(dict)
    for image_id, positions in on_image.items():
        display = read_apart(plans[image_id], cutter.job.pixels)
        for position in positions:
            request = requests[position]
            box = drawn_box(request) or ""
            if not np.array_equal(cutter.crop(cutter.cut(request, display)), stored[position, 0].numpy()):
                raise InputError(
                    f"{plans[image_id].path.name}: cutting {request.region} again does not give the stored crop; "
                    "`mammo-aln crop COHORT --audit 1` compares the whole store with the files"
                )
            for move in MOVES:
                try:
                    crops[box, move.name][position] = cutter.cut(cutter.moved(request, move), display)
                except CropRefused as refusal:
                    outside = "outside" in str(refusal)
                    crops[box, move.name][position] = "the box leaves the image" if outside else str(refusal)
    return crops


@dataclass(frozen=True)
class JitterRow:
    """The logit of one patient (`index` in the split) after one move of one box, NaN with a reason where none is."""

    index: int
    box: str
    move: str
    logit: float
    reason: str


def jitter_split(frozen: FrozenRun, split: str) -> pd.DataFrame:
    """Logits of a split's patients after each move of each drawn box, and with all boxes as drawn.

    Returns:
        one row per patient, box and move: `index` (place in the split), `box`, `move`, `logit` (NaN where the move
        could not be made), `reason` (why). Rows of `unmoved` have an empty `box`. Without any drawn box: no rows.

    Raises:
        InputError: the store does not hold what the files give.
    """
    data = frozen.data
    columns = [column.name for column in fields(JitterRow)]
    if not data.reads_images:
        return pd.DataFrame(columns=columns)
    plan = plan_crops(data.cohort, data.crop)
    plans = {image.image_id: image for image in plan.images}
    job, store = data.crop_set.job, data.crop_set.open_store()
    keys, cropped = stored_keys(plan.images, job, store), set(data.crop_set.table["key"])
    request_of = {
        (request.unit_id, request.region, key): request
        for key, request in keys.requests(*plan.images)
        if key in cropped
    }
    if not any(map(drawn_box, request_of.values())):
        return pd.DataFrame(columns=columns)
    cutter = _Cutter(job, store, keys.images, surround_px(data.crop.size_px) if frozen.test_time_copies else 0)
    units, names = data.units(split), data.patients(split)["unit_id"].tolist()
    loader = data.loader(split, alone=True)
    progress = Progress(total=len(loader), what=f"box jitter, {split}", unit="batch")
    rows: list[JitterRow] = []
    for batch in loader:
        index = batch["index"].tolist()
        crop_keys = np.concatenate([units.keys[units.first[unit] : units.first[unit + 1]] for unit in index])
        owners = [names[index[unit]] for unit in batch["unit"].tolist()]
        regions = [data.regions[region] for region in batch["region"].tolist()]
        requests = {
            position: request
            for position, name in enumerate(zip(owners, regions, crop_keys.tolist(), strict=True))
            if drawn_box(request := request_of[name]) is not None
        }
        moved = _cut_anew(cutter, plans, requests, batch["crops"])
        rows += _rows(frozen, batch, frozen.blocks(batch, split), index, cutter, moved)
        progress.advance()
    progress.end()
    return pd.DataFrame(rows, columns=columns)


def _rows(
    frozen: FrozenRun,
    batch: dict[str, Tensor],
    blocks: CropBlocks,
    index: Sequence[int],
    cutter: _Cutter,
    moved: Moved,
) -> Iterator[JitterRow]:
    """Rows of one batch; the batch stays as `predict` packs it, so that only moved crops change a logit."""
    drawn = frozen.logits(batch, blocks)
    for unit, logit in zip(index, drawn, strict=True):
        yield JitterRow(unit, "", UNMOVED.name, logit, "")
    for (box, move), crops in moved.items():
        changed, around = batch["crops"].clone(), list(blocks.pixels)
        reasons: dict[int, str] = {}
        for position, crop in crops.items():
            if isinstance(crop, str):
                reasons[int(batch["unit"][position])] = crop
            else:
                changed[position, 0] = torch.from_numpy(cutter.crop(crop))
                if around:
                    around[position] = crop
        # A window of fixed size does not follow the size of its box: nothing to compute then.
        same = torch.equal(changed, batch["crops"])
        logits = drawn if same else frozen.logits({**batch, "crops": changed}, replace(blocks, pixels=around))
        for unit in sorted({int(batch["unit"][position]) for position in crops}):
            logit = np.nan if unit in reasons else logits[unit]
            yield JitterRow(index[unit], box, move, logit, reasons.get(unit, ""))
