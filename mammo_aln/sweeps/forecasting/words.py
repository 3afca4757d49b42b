"""The words of a forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from mammo_aln.cohort.tables import read_cohort, with_split
from mammo_aln.crops.keys import KnownCrops
from mammo_aln.machine.memory import free_memory_gb
from mammo_aln.progress import aligned, counted
from mammo_aln.runs.ledger import CutOff, Opening, ledger_entries
from mammo_aln.runs.openings import labelled_rows
from mammo_aln.sweeps.forecasting.cells import CellForecast
from mammo_aln.sweeps.forecasting.pretrainings import PretrainForecast
from mammo_aln.sweeps.planning.definition import Definition
from mammo_aln.sweeps.planning.room import disk_gb
from mammo_aln.sweeps.standing.board import duration


@dataclass(frozen=True)
class Forecast:
    """Forecast of a sweep.

    Attributes:
        definition: the sweep.
        cells: of a grid all of them; of a search, one seed and fold of each place in its grid, at both ends.
        pretrainings: what is pre-trained first.
        crops: what the store holds of the crops of each kind.
        searched: cells of a search that are completed already.
        at_once: cells in training at once.
        executor: where cells train.
        threads: threads of a training on the CPU.
    """

    definition: Definition
    cells: Sequence[CellForecast]
    pretrainings: Sequence[PretrainForecast]
    crops: Sequence[KnownCrops]
    searched: int
    at_once: int
    executor: Literal["local", "slurm"]
    threads: int

    @property
    def waiting(self) -> list[CellForecast]:
        """Cells that would be trained."""
        return [cell for cell in self.cells if cell.is_trained]

    @property
    def left(self) -> int:
        """Number of the cells that are still to be trained."""
        search = self.definition.search
        if search is None:
            return len(self.waiting)
        return max(0, search.trials * len(self.definition.seeds) * max(1, self.definition.folds) - self.searched)


def in_words(forecast: Forecast, cohort: Path) -> str:
    """Lay out a line for each cell, then what they come to."""
    lines = [["cell", "state", "epochs x steps", "time"]]
    lines += [
        [
            cell.name,
            cell.state,
            f"{cell.epochs} x {cell.steps}",
            duration(cell.seconds) if cell.is_trained else "–",
        ]
        for cell in forecast.cells
    ]
    summary = [*_size(forecast), *_crops(forecast), *_pretrainings(forecast), *_time(forecast), *_room(forecast)]
    checked = "tables, splits and headers of the cohort are checked; its pixels are when the sweep runs"
    return "\n".join([*aligned(lines), *summary, *_tests(forecast, cohort), checked, "nothing was written"])


def _size(forecast: Forecast) -> Iterator[str]:
    definition, cells = forecast.definition, forecast.cells
    faulty = [cell for cell in cells if cell.fault]
    if definition.search is not None:
        each = len(definition.seeds) * max(1, definition.folds)
        at = ", at the lowest and the highest values of all ranges" if definition.search.ranges else ""
        yield (
            f"search: {counted(definition.search.trials, 'trial')} of {counted(each, 'cell')} each,"
            f" {counted(forecast.searched, 'cell')} completed"
            f" already; the table shows each place of its grid once{at}"
        )
    else:
        completed = sum(cell.is_completed and not cell.withheld for cell in cells)
        aside = sum(cell.withheld is not None for cell in cells)
        yield (
            f"{counted(len(cells), 'cell')}: {completed} completed already, {forecast.left} to train"
            + f", {len(faulty)} cannot be trained" * bool(faulty)
            + f", {aside} left as they are (cancelled, dropped or pruned: `mammo-aln sweep retry`)" * bool(aside)
        )
    for cell in faulty:
        yield f"  {cell.name}: {cell.fault}"


def _crops(forecast: Forecast) -> Iterator[str]:
    for what, sets in (("crops", forecast.crops), ("crops to pre-train on", [p.crops for p in forecast.pretrainings])):
        if sets:
            waiting = max(known.waiting for known in sets)
            images = max(known.images for known in sets)
            yield (
                f"{what}: {waiting} of {images} images are to be decoded first, once for all"
                if waiting
                else f"{what}: all {images} images stand in the store"
            )


def _pretrainings(forecast: Forecast) -> Iterator[str]:
    for job in forecast.pretrainings:
        begins = f"{counted(len(job.begins), 'cell begins', 'cells begin')} from its weights"
        if job.weights is not None:
            yield f"pre-training of {job.backbone}: made already; {begins}"
        else:
            epochs = counted(job.epochs, "epoch")
            yield f"pre-training of {job.backbone}: {epochs}, about {duration(job.seconds)}; {begins}"


def _time(forecast: Forecast) -> Iterator[str]:
    waiting, first_s = forecast.waiting, sum(job.seconds for job in forecast.pretrainings)
    if not waiting or not forecast.left:
        return
    share = forecast.left / len(waiting)
    steps = round(share * sum(cell.epochs * cell.steps for cell in waiting))
    in_all = share * sum(cell.seconds for cell in waiting)
    whole = first_s + max(max(cell.seconds for cell in waiting), in_all / forecast.at_once)
    where = "slot(s)" if forecast.executor == "local" else "job(s)"
    before = f", {duration(first_s)} of pre-training among it" * bool(first_s)
    if forecast.definition.search is not None and forecast.definition.search.ranges:
        ends = sorted(forecast.left * cell.seconds / forecast.at_once + first_s for cell in waiting)
        yield (
            f"time: {duration(ends[0])} to {duration(ends[-1])}, if all trials were like the quickest or the slowest"
            f" row, with {forecast.at_once} {where} at once{before}"
        )
    else:
        yield (
            f"steps: at most {steps:,}; time: at most about {duration(whole)} in {forecast.at_once} {where} at once,"
            f" {duration(first_s + in_all)} one after another{before}"
        )
    on = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{forecast.threads} core(s) of this machine"
    yield (
        f"  (one step of each network timed on {on}, on black crops; to read and change crops, to start processes and"
        " to stop early are not counted)"
    )


def _room(forecast: Forecast) -> Iterator[str]:
    waiting = forecast.waiting
    if not waiting:
        return
    if forecast.definition.search is not None:
        largest = max(waiting, key=lambda cell: cell.network.parameters)
        needs_gb = disk_gb([(largest.network, largest.prunes)] * forecast.left, forecast.at_once)
        yield f"disk: at most about {needs_gb:.2g} GB of checkpoints, if all trials were like the largest row"
    if forecast.executor == "local":
        each = max(cell.network.memory_gb for cell in waiting)
        whole = f"{forecast.at_once * each:.1f} GB in all; {free_memory_gb():.1f} GB are free"
        yield f"memory: about {each:.1f} GB a slot at most, {whole}"


def _tests(forecast: Forecast, folder: Path) -> Iterator[str]:
    """Tell of each labelled test split what the sweep would open, and what has been opened."""
    definition = forecast.definition
    cohort = with_split(read_cohort(folder, need=("patients",), tell=False))
    every = definition.opens_test or any(axis.name == "step" for axis in definition.axes)
    models = "every configuration" if every else "the one configuration that validation chooses"
    when = "when all cells are completed" if definition.opens_test else "by `sweep collect --test`"
    entries = ledger_entries(cohort)
    for split, count in labelled_rows(cohort.patients).items():
        openings = [e for e in entries if isinstance(e, CutOff) or (isinstance(e, Opening) and e.split == split)]
        so_far = f"opened {len(openings)} time(s) already" if openings else "sealed so far"
        yield f"test: {split}, {count} labelled, {so_far}; {models} opens it {when}"
