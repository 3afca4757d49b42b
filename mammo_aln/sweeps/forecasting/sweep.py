"""Forecast of a sweep: its cells, its pre-trainings, its time, disk and memory, and the tests that it would open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mammo_aln.errors import InputError
from mammo_aln.files import require_folder
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.hardware import resolved
from mammo_aln.machine.memory import free_memory_gb
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.forecasting.cells import CellForecast, Forecaster
from mammo_aln.sweeps.forecasting.pretrainings import forecast_pretrainings
from mammo_aln.sweeps.forecasting.words import Forecast, in_words
from mammo_aln.sweeps.local import slots_here
from mammo_aln.sweeps.plan import name_of_point
from mammo_aln.sweeps.plan_file import PLAN, read_plan
from mammo_aln.sweeps.planning.combinations import readable_settings, refuse_combinations
from mammo_aln.sweeps.planning.definition import (
    Definition,
    Nested,
    Point,
    Seeds,
    merged,
    nested,
    points,
    read_definition,
)
from mammo_aln.sweeps.planning.preflight import Planner, refuse_same_training, require_sound_cohort, settings_of
from mammo_aln.sweeps.planning.room import PROCESS_GB, require_room
from mammo_aln.sweeps.planning.space import Space
from mammo_aln.sweeps.planning.weights import asking_points, weighted
from mammo_aln.sweeps.searching.begin import refuse_unlike_slots, refuse_varied_pretraining, trials_at_once
from mammo_aln.sweeps.searching.study import study_name
from mammo_aln.sweeps.slurm.asks import require_asks, require_fits

ENDS = "ranges"
"""Column that names at which end of a search's ranges a cell is."""


def forecast_sweep(
    file: Path,
    cohort: Path,
    out: Path,
    *,
    store: Path | None = None,
    executor: Literal["local", "slurm"] = "local",
    slots: int | None = None,
    cluster: ClusterConfig = ClusterConfig(),
    seeds: Seeds | None = None,
    pretrained: Path | None = None,
    over: Nested | None = None,
) -> str:
    """Tell what `run_sweep` with the same arguments would do; nothing is written, decoded, downloaded or trained.

    Args:
        file: the sweep's YAML file.
        cohort: cohort folder; its pixels are not checked, its tables, splits and headers are.
        out: the sweep's folder.
        store: crop store; by default `.crops` in the cohort folder.
        executor: where cells train.
        slots: cells that train at once on this machine.
        cluster: what a SLURM job asks for.
        seeds: in place of the file's.
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        over: settings that win over the file's.

    Raises:
        InputError: settings or a cohort that no cell can be trained with, or too little room on the disk.
    """
    require_folder("--out", out)
    definition = read_definition(file, over, seeds)
    here = executor == "local"
    planner = Planner(cohort, store, here=here, keep=False)
    asked = list(points(definition))
    several = readable_settings(asked)
    if not here:
        require_asks(cluster, definition.axes)
        if definition.search is None:
            require_fits(cluster, [(point.axes, settings) for point, settings in zip(asked, several, strict=True)])
    asking = asking_points(asked, definition, pretrained)
    planner.require_folds(several)
    require_sound_cohort(cohort, several, store, pixels=False)
    refuse_combinations(asked, planner)
    refuse_same_training(asked, [resolved(settings_of(point), here=here) for point in asked])
    if pretrained is None:
        refuse_varied_pretraining(definition, asked)
    places = slots_here(several[0].trainer, slots, len(asked), PROCESS_GB, free_memory_gb(), usable_cores())
    threads = int(places[0].environment.get("OMP_NUM_THREADS", 1))
    if pretrained is None:
        pretrainings = forecast_pretrainings(asking, definition, cohort, out, store, threads, here=here)
        weights = {id(point): job.weights for job in pretrainings if job.weights for point in job.begins}
    else:
        pretrainings, weights = [], {id(point): pretrained for point in asking}
    begins = [weighted(point, weights[id(point)]) if id(point) in weights else point for point in asked]
    forecaster = Forecaster(planner, out, threads)
    if definition.search is not None:
        if here:
            refuse_unlike_slots(definition.search, several)
        for point in begins:
            if fault := forecaster.fault_of(point):
                raise InputError(f"search: {name_of_point(point)}: cannot be trained: {fault}")
        begins = list(_ends(definition, definition.search, begins))
    cells = [forecaster.cell(point) for point in begins]
    faulty = [cell for cell in cells if cell.fault]
    if len(faulty) == len(cells):
        raise InputError(f"no cell can be trained: {faulty[0].name}: {faulty[0].fault}")
    at_once = len(places) if here else cluster.max_jobs
    forecast = Forecast(
        definition,
        cells,
        pretrainings,
        tuple(forecaster.crops.values()),
        _completed_of_search(definition, planner, begins, out),
        _cells_at_once(definition, cells, at_once, executor),
        executor,
        threads,
    )
    if definition.search is None:
        waiting = [(cell.network, cell.prunes) for cell in cells if cell.is_trained]
        require_room(waiting, out, forecast.at_once if here else 0, cluster.max_jobs)
    return in_words(forecast, cohort)


def _ends(definition: Definition, space: Space, begins: Sequence[Point]) -> Iterator[Point]:
    """Give each place of a search's grid once: at the lowest and at the highest values of all its ranges."""
    for point in begins:
        if point.settings["seed"] != definition.seeds[0] or (definition.folds and point.settings["data"]["fold"]):
            continue
        if not space.ranges:
            yield point
            continue
        for end in ("lowest", "highest"):
            settings = point.settings
            for name, values in space.ranges.items():
                settings = merged(settings, nested(name, values.low if end == "lowest" else values.high))
            yield replace(point, axes={ENDS: end, **point.axes}, settings=settings)


def _cells_at_once(
    definition: Definition, cells: Sequence[CellForecast], at_once: int, executor: Literal["local", "slurm"]
) -> int:
    if definition.search is None:
        return max(1, min(at_once, sum(cell.is_trained for cell in cells)))
    each = len(definition.seeds) * max(1, definition.folds)
    return max(1, min(at_once, each * trials_at_once(definition.search, executor)))


def _completed_of_search(definition: Definition, planner: Planner, begins: Sequence[Point], out: Path) -> int:
    """Count the completed cells of a search's trials so far; none where the folder's plan is of another search."""
    if definition.search is None or not (out / PLAN).is_file():
        return 0
    plan = read_plan(out)
    content = planner.content(settings_of(begins[0]))
    if (plan.search or {}).get("study") != study_name(definition, definition.search, content):
        return 0
    return sum(read_state(plan.runs / cell.run_id).state == "completed" for cell in plan.cells)
