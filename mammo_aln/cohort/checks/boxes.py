"""A sample of a cohort's images is decoded, and their boxes compared with the breasts that the pixels show."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.checks.box_pattern import CoarseView, DrawnBox, Misplacement, coarse_view, find_misplacement
from mammo_aln.cohort.likeness.twins import died_before
from mammo_aln.cohort.schemas import BOX
from mammo_aln.cohort.tables import Cohort, image_path
from mammo_aln.dicom.read import read_image
from mammo_aln.errors import InputError
from mammo_aln.machine.cage import caged
from mammo_aln.machine.deaths import Death, reason_of
from mammo_aln.progress import say, track
from mammo_aln.settings import PixelConfig

SAMPLE_IMAGES = 40
"""Images that are decoded: enough to tell a share of 20 % from one of 5 %."""
FEW_IMAGES = 12
"""Up to so many, starting processes takes longer than decoding."""
SEED = 0


@dataclass(frozen=True)
class _Task:
    image_id: str
    laterality: str
    path: Path


def misplaced_boxes(
    cohort: Cohort,
    regions: pd.DataFrame | None = None,
    workers: int | None = None,
    kept_in: Path | None = None,
) -> Misplacement | None:
    """Compare a sample of boxes with the breasts they lie on.

    Args:
        cohort: the tables.
        regions: rows of boxes in pixels of the stored matrix; by default the cohort's own.
        workers: processes that decode; by default one per core.
        kept_in: folder of fingerprints: images whose decoders died when they were taken are not tried again.

    Returns:
        The boxes off the breast and their likely cause; None where all of the sample lie on it.
    """
    regions = cohort.regions if regions is None else regions
    boxes = [
        DrawnBox(str(row["image_id"]), str(row["region"]), tuple(float(row[corner]) for corner in BOX))  # type: ignore[arg-type]
        for row in regions.to_dict("records")
    ]
    sample = _sample(cohort, {box.image_id for box in boxes})
    died = died_before({task.image_id: task.path for task in sample}, kept_in) if kept_in is not None else set()
    tasks = [task for task in sample if task.image_id not in died]
    views: list[CoarseView] = []
    refusals = len(died)
    for view in track(_views(tasks, workers), total=len(tasks), what="boxes on breasts", unit="image"):
        if isinstance(view, CoarseView):
            views.append(view)
        else:
            refusals += 1
    if refusals:
        say(f"boxes on breasts: {refusals} of {len(sample)} images cannot be decoded, so their boxes are not looked at")
    return find_misplacement(views, boxes)


def _sample(cohort: Cohort, with_box: set[str]) -> list[_Task]:
    """Images with a box, as many of each side as there are, drawn by a fixed seed."""
    sides: dict[str, list[_Task]] = defaultdict(list)
    for _, row in cohort.images[cohort.images["image_id"].isin(with_box)].iterrows():
        laterality = str(row["laterality"]) if pd.notna(row["laterality"]) else ""
        sides[laterality].append(_Task(str(row["image_id"]), laterality, image_path(cohort, row)))
    total = sum(map(len, sides.values()))
    if total <= SAMPLE_IMAGES:
        return [task for tasks in sides.values() for task in tasks]
    draw = random.Random(SEED)
    shares = {side: max(1, round(SAMPLE_IMAGES * len(tasks) / total)) for side, tasks in sides.items()}
    return [task for side, tasks in sides.items() for task in draw.sample(tasks, min(len(tasks), shares[side]))]


def _views(tasks: list[_Task], workers: int | None) -> Iterable[CoarseView | str]:
    for _, view in caged(_view, tasks, workers, few=FEW_IMAGES):
        yield reason_of(view, PixelConfig()) if isinstance(view, Death) else view


def _view(task: _Task) -> CoarseView | str:
    """Decode one image; the reason where it cannot be."""
    try:
        display = read_image(task.path, laterality=task.laterality or None)
    except InputError as error:
        return str(error)
    return coarse_view(task.image_id, task.laterality or display.laterality or "", display.pixels)
