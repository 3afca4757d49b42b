"""`sweep run --dry_run`: what a sweep would train, how long, on how much disk and memory, and what it would open."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from mammo_aln.cohort.tables import read_cohort, with_split
from mammo_aln.crops.keys import KnownCrops, known_crops
from mammo_aln.errors import InputError
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.hardware import resolved
from mammo_aln.machine.memory import free_memory_gb
from mammo_aln.progress import aligned
from mammo_aln.runs.identity import run_identity
from mammo_aln.runs.ledger import CutOff, Opening, ledger_entries
from mammo_aln.runs.openings import labelled_rows
from mammo_aln.runs.record import read_state
from mammo_aln.settings import CropConfig, PixelConfig, Settings
from mammo_aln.settings.steps import step_shape
from mammo_aln.sweeps.local import slots_here
from mammo_aln.sweeps.plan import name_of_point
from mammo_aln.sweeps.planning.combinations import readable_settings, refuse_combinations, unweighted
from mammo_aln.sweeps.planning.definition import FROM_SWEEP, Definition, Nested, Point, Seeds, points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner, refuse_same_training, settings_of
from mammo_aln.sweeps.planning.room import PROCESS_GB, Network, blank_batch, disk_of, require_room
from mammo_aln.sweeps.planning.weights import asking_points, weighted
from mammo_aln.sweeps.standing.board import duration
from mammo_aln.training.build import build_model
from mammo_aln.training.data.datamodule import MammoDataModule

FORWARD_PASSES = 3.0
"""A training step in forward passes: the way back costs about two; validation is one pass."""


@dataclass(frozen=True)
class CellForecast:
    """Forecast of a cell's training.

    Attributes:
        name: its place in the grid, seed and fold.
        is_completed: its run stands in the folder, completed.
        awaits_weights: it begins from weights that the sweep makes first; its id is not known before.
        fault: why it cannot be trained, if so.
        epochs: at most.
        steps: of an epoch, about: patients without a crop are known only when it is cut.
        seconds: of all its steps and validations; 0 where it is completed.
        network: its network.
        prunes: its last checkpoint goes when it is completed.
    """

    name: str
    is_completed: bool
    awaits_weights: bool
    fault: str | None
    epochs: int
    steps: int
    seconds: float
    network: Network
    prunes: bool


class Forecaster:
    """Looks at cells without writing anything; what they have in common is looked at once.

    Args:
        planner: of the cohort, and keeps nothing.
        runs: folder of the run directories.
        threads: threads of a cell on the CPU.
    """

    def __init__(self, planner: Planner, runs: Path, threads: int) -> None:
        self.planner, self.runs, self.threads = planner, runs, threads
        self.crops: dict[tuple[PixelConfig, CropConfig], KnownCrops] = {}
        self._patient_s: dict[object, float] = {}

    def cell(self, point: Point) -> CellForecast:
        """Forecast one cell."""
        settings = resolved(settings_of(unweighted(point)), here=self.planner.here)
        data, network = self.planner.module_for(settings), self.planner.network_for(settings)
        awaits_weights = point.settings.get("model", {}).get("pretrained") == FROM_SWEEP
        known = self._known(data)
        fault, done = network.fault, False
        if not awaits_weights and fault is None:
            whole = resolved(settings_of(point), here=self.planner.here)
            try:
                identity = run_identity(whole, self.planner.content(settings), list(known.keys) if known else [])
                done = read_state(self.runs / identity.run_id).state == "completed"
            except InputError as error:  # a file of weights that cannot be read
                fault = str(error)
        rows = data.cohort.patients["split"]
        train, val = int((rows == "train").sum()), int((rows == "val").sum())
        steps = max(1, train // settings.data.batch_size)
        seconds = 0.0
        if not done and fault is None:
            passes = min(train, steps * settings.data.batch_size) + val / FORWARD_PASSES
            seconds = settings.trainer.max_epochs * passes * self._seconds_of_patient(settings, data, known)
        name = name_of_point(point)
        epochs, prunes = settings.trainer.max_epochs, settings.trainer.prune
        network = disk_of(network, settings.trainer)
        return CellForecast(name, done, awaits_weights, fault, epochs, steps, seconds, network, prunes)

    def _known(self, data: MammoDataModule) -> KnownCrops | None:
        if not data.reads_images:
            return None
        cut = (data.pixels, data.crop)
        if cut not in self.crops:
            self.crops[cut] = known_crops(data.cohort, data.pixels, data.crop, data.store)
        return self.crops[cut]

    def _seconds_of_patient(self, settings: Settings, data: MammoDataModule, known: KnownCrops | None) -> float:
        """Time a training step of a network, per patient; each network of a batch and size is timed once."""
        crops = max(1, round(known.requests / known.units)) if known and known.units else 1
        shape = (repr(settings.model), settings.crop.size_px, settings.data.batch_size, data.clinical_columns, crops)
        if shape not in self._patient_s:
            on_gpu = settings.trainer.accelerator != "cpu" and torch.cuda.is_available()
            patients = step_shape(settings).at_once if on_gpu else 2
            self._patient_s[shape] = step_seconds(settings, data, patients, crops, self.threads) / patients
        return self._patient_s[shape]


def step_seconds(settings: Settings, data: MammoDataModule, patients: int, crops: int, threads: int) -> float:
    """Time the second of two training steps on black crops: forward, backward, optimiser.

    Args:
        settings: of a cell.
        data: its data module.
        patients: patients of the step.
        crops: crops of each.
        threads: on the CPU.
    """
    device = torch.device("cuda" if settings.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        module = build_model(settings, data).to(device).train()
        optimizer = torch.optim.AdamW(module.network.parameters(), lr=0.0)
        batch = {k: v.to(device) for k, v in blank_batch(module, settings.crop.size_px, patients, crops).items()}
        seconds = math.nan
        for _ in range(2):
            begun = time.perf_counter()
            module(batch).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begun
    finally:
        torch.set_num_threads(before)
    return seconds


def forecast_sweep(
    file: Path,
    cohort: Path,
    out: Path,
    *,
    store: Path | None = None,
    executor: Literal["local", "slurm"] = "local",
    slots: int | None = None,
    max_jobs: int = 1,
    seeds: Seeds | None = None,
    pretrained: Path | None = None,
    over: Nested | None = None,
) -> str:
    """Tell what `run_sweep` with the same arguments would do; nothing is written, decoded, downloaded or trained.

    Args:
        file: the sweep's YAML file.
        cohort: cohort folder; it is not checked, as `mammo-aln check` does.
        out: the sweep's folder.
        store: crop store; by default `.crops` in the cohort folder.
        executor: where cells train.
        slots: cells that train at once on this machine.
        max_jobs: SLURM jobs at once.
        seeds: in place of the file's.
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        over: settings that win over the file's.

    Raises:
        InputError: settings that no cell can be trained with, or too little room on the disk.
    """
    definition = read_definition(file, over, seeds)
    planner = Planner(cohort, store, here=executor == "local", keep=False)
    asked = list(points(definition))
    several = readable_settings(asked)
    refuse_combinations(asked, planner)
    refuse_same_training(asked, [resolved(settings_of(point), here=planner.here) for point in asked])
    trainer = several[0].trainer
    places = slots_here(trainer, slots, len(asked), PROCESS_GB, free_memory_gb(), usable_cores())
    threads = int(places[0].environment.get("OMP_NUM_THREADS", 1))
    forecaster = Forecaster(planner, out / "runs", threads)
    asking = asking_points(asked, definition, pretrained)
    cells = [
        forecaster.cell(weighted(point, pretrained) if pretrained is not None and point in asking else point)
        for point in asked
    ]
    waiting = [cell for cell in cells if not cell.is_completed and cell.fault is None]
    at_once = max(1, min(len(places) if executor == "local" else max_jobs, len(waiting)))
    if definition.search is None:
        here = at_once if executor == "local" else 0
        require_room([(cell.network, cell.prunes) for cell in waiting], out, here, max_jobs)
    lines = [["cell", "state", "epochs x steps", "time"]]
    lines += [
        [
            cell.name,
            "completed" if cell.is_completed else "cannot be trained" if cell.fault else "to train",
            f"{cell.epochs} x {cell.steps}",
            duration(cell.seconds) if cell in waiting else "–",
        ]
        for cell in cells
    ]
    summary = [*_size(definition, cells), *_crops(forecaster), *_time(definition, waiting, at_once, executor, threads)]
    summary += [*_memory(waiting, at_once, executor), *_tests(definition, asked, cohort)]
    return "\n".join([*aligned(lines), *summary, "nothing was written"])


def _size(definition: Definition, cells: Sequence[CellForecast]) -> Iterator[str]:
    done = sum(cell.is_completed for cell in cells)
    faulty = [cell for cell in cells if cell.fault]
    if definition.search is not None:
        each = len(definition.seeds) * max(1, definition.folds)
        yield f"search: {definition.search.trials} trials of {each} cell(s) each; the table shows its grid, no range"
    else:
        yield f"{len(cells)} cells: {done} completed already, {len(cells) - done - len(faulty)} to train" + (
            f", {len(faulty)} cannot be trained" if faulty else ""
        )
    for cell in faulty:
        yield f"  {cell.name}: {cell.fault}"
    if awaiting := sum(cell.awaits_weights for cell in cells):
        yield f"{awaiting} cells begin from weights that the sweep makes first, in a time that is not told here"


def _crops(forecaster: Forecaster) -> Iterator[str]:
    sets = forecaster.crops.values()
    if sets:
        waiting = max(known.waiting for known in sets)
        images = max(known.images for known in sets)
        yield (
            f"crops: {waiting} of {images} images are to be decoded first, once for all cells"
            if waiting
            else f"crops: all {images} images stand in the store"
        )


def _time(
    definition: Definition, waiting: Sequence[CellForecast], at_once: int, executor: str, threads: int
) -> Iterator[str]:
    if not waiting:
        return
    steps, seconds = sum(cell.epochs * cell.steps for cell in waiting), sum(cell.seconds for cell in waiting)
    longest = max(cell.seconds for cell in waiting)
    if definition.search is not None:
        share = definition.search.trials * len(definition.seeds) * max(1, definition.folds) / len(waiting)
        steps, seconds = round(steps * share), seconds * share
    on = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{threads} core(s) of this machine"
    where = "slot(s)" if executor == "local" else "job(s)"
    whole = duration(max(longest, seconds / at_once))
    yield (
        f"steps: at most {steps:,}; time: at most about {whole} in {at_once} {where} at once,"
        f" {duration(seconds)} one after another"
    )
    yield (
        f"  (one step of each network timed on {on}, on black crops; to read and change crops, to start processes and"
        " to stop early are not counted)"
    )


def _memory(waiting: Sequence[CellForecast], at_once: int, executor: str) -> Iterator[str]:
    if waiting and executor == "local":
        each = max(cell.network.memory_gb for cell in waiting)
        whole = f"{at_once * each:.1f} GB in all; {free_memory_gb():.1f} GB are free"
        yield f"memory: about {each:.1f} GB a slot at most, {whole}"


def _tests(definition: Definition, asked: Sequence[Point], folder: Path) -> Iterator[str]:
    """Tell of each labelled test split what the sweep would open, and what has been opened."""
    cohort = with_split(read_cohort(folder, need=("patients",)))
    every = definition.opens_test or any("step" in point.axes for point in asked)
    models = "every configuration" if every else "the one configuration that validation chooses"
    when = "when all cells are completed" if definition.opens_test else "by `sweep collect --test`"
    entries = ledger_entries(cohort)
    for split, count in labelled_rows(cohort.patients).items():
        openings = [e for e in entries if isinstance(e, CutOff) or (isinstance(e, Opening) and e.split == split)]
        so_far = f"opened {len(openings)} time(s) already" if openings else "sealed so far"
        yield f"test: {split}, {count} labelled, {so_far}; {models} opens it {when}"
