"""`sweep write`: plan a sweep here, with its crops, and write the job file of an engine; nothing is submitted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mammo_aln.errors import InputError
from mammo_aln.files import require_folder, write_text
from mammo_aln.progress import counted, say
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.engines.jobs import FOLDER, JobList, job_lists, write_list
from mammo_aln.sweeps.engines.kubernetes import kubernetes_file, read_volumes
from mammo_aln.sweeps.engines.ray_tasks import ray_file
from mammo_aln.sweeps.engines.skypilot import launch_command, skypilot_file
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.plan_file import announce
from mammo_aln.sweeps.planning.combinations import readable_settings, refuse_combinations
from mammo_aln.sweeps.planning.definition import Nested, Seeds, points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner, plan_sweep, require_sound_cohort
from mammo_aln.sweeps.planning.weights import asking_points, with_weights
from mammo_aln.sweeps.sealed import declare

OF_SLURM = ("where", "cells_per_job", "setup", "python", "environment", "srun_args", "wckey", "time", "job_name")
"""Settings of jobs that job files of engines have no word for."""
Engine = Literal["kubernetes", "skypilot", "ray"]


def write_jobs(
    file: Path,
    cohort: Path,
    out: Path,
    engine: Engine,
    *,
    image: str | None,
    volumes: Sequence[str],
    store: Path | None = None,
    retries: int = 2,
    seeds: Seeds | None = None,
    pretrained: Path | None = None,
    cluster: ClusterConfig = ClusterConfig(),
    over: Nested | None = None,
    command: str = "mammo-aln sweep write",
) -> Path:
    """Plan a sweep and write a job file for the cells that are not completed; returns the file, or their folder.

    Args:
        file: the sweep's YAML file.
        cohort: cohort folder; the engine's processes must see it, `out` and `store` at the same paths.
        out: the sweep's folder.
        engine: what the job file is for.
        image: container image, which Kubernetes and SkyPilot need.
        volumes: `NAME:/FOLDER` words: an engine's volumes and where they hang.
        store: crop store; by default `.crops` in the cohort folder.
        retries: how often a cell that failed is tried again.
        seeds: in place of the file's.
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        cluster: what a cell's process asks for.
        over: settings that win over the file's.
        command: the command line, for messages that say how to go on.

    Raises:
        InputError: whatever keeps every cell from its training, a search, a missing image, or a folder that the
            engine's processes would not see.
    """
    require_folder("--out", out)
    if engine == "ray" and (image or volumes):
        raise InputError("--image, --volumes: Ray's nodes run what is installed on them; leave both out")
    if engine != "ray" and not image:
        raise InputError(f"--image: {engine} needs a container image that holds mammo_aln (see Dockerfile)")
    defaults = ClusterConfig()
    if unread := [name for name in OF_SLURM if getattr(cluster, name) != getattr(defaults, name)]:
        raise InputError(
            f"cluster.{unread[0]}: SLURM's alone (sweep run --executor slurm); {engine} knows nothing of it"
        )
    needed = {"--cohort": cohort.absolute(), "--out": out.absolute()}
    needed |= {"--store": store.absolute()} if store is not None else {}
    mounted = read_volumes(volumes, {} if engine == "ray" else needed)
    definition = read_definition(file, over, seeds)
    if definition.search is not None:
        raise InputError("a search asks for its cells one after another; expected a grid: use `mammo-aln sweep run`")
    if definition.pruner is not None:
        raise InputError(
            "pruner: an engine's processes do not see one another's epochs; leave it out, or use `mammo-aln sweep run`"
        )
    planner = Planner(cohort, store, here=False)
    asked = list(points(definition))
    readable = readable_settings(asked)
    asking_points(asked, definition, pretrained)
    planner.require_folds(readable)
    require_sound_cohort(cohort, readable, store)
    refuse_combinations(asked, planner)
    begins = with_weights(asked, definition, cohort, out, pretrained=pretrained, store=store, cluster=None)
    plan = plan_sweep(definition, begins, cohort, out, store=store, slots=0, check=False, planner=planner)
    plan = freeze(replace(plan, command=command))
    plan = announce(plan, declare(plan))
    waiting = [
        cell for cell in plan.cells if not cell.fault and read_state(plan.runs / cell.run_id).state != "completed"
    ]
    if not waiting:
        say(
            f"{counted(len(plan.cells), 'cell')}, none of them to be trained;"
            f" `mammo-aln sweep status --out {shlex.quote(str(out))}` tells more"
        )
        return plan.out
    lists = list(job_lists(plan, waiting, cluster))
    files = _texts(engine, plan, lists, image or "", mounted, retries, cluster)
    for jobs in lists:
        write_list(jobs)
    for path, text in files.items():
        write_text(path, text)
    say(f"{counted(len(waiting), 'cell')} in {counted(len(lists), 'list')}; start them by:")
    for line in _commands(engine, list(files), lists, cluster):
        say(f"  {line}")
    say(f"then: mammo-aln sweep status --out {shlex.quote(str(out))}")
    return next(iter(files)) if len(files) == 1 else plan.out / FOLDER


def _texts(
    engine: Engine,
    plan: Plan,
    lists: Sequence[JobList],
    image: str,
    volumes: dict[Path, str],
    retries: int,
    cluster: ClusterConfig,
) -> dict[Path, str]:
    """Texts of an engine's job files, by path: all of them are sound before the first is written."""
    folder = plan.out / FOLDER
    if engine == "kubernetes":
        text = kubernetes_file(lists, image=image, volumes=volumes, retries=retries, cluster=cluster)
        return {folder / f"{lists[0].name}.kubernetes.yaml": text}
    if engine == "ray":
        return {folder / f"{lists[0].name}.ray.json": ray_file(lists, retries=retries, cluster=cluster)}
    return {
        folder / f"{jobs.name}.skypilot.yaml": skypilot_file(
            jobs, image=image, volumes=volumes, retries=retries, cluster=cluster
        )
        for jobs in lists
    }


def _commands(engine: Engine, files: Sequence[Path], lists: Sequence[JobList], cluster: ClusterConfig) -> list[str]:
    if engine == "kubernetes":
        return [f"kubectl apply -f {shlex.quote(str(file))}" for file in files]
    if engine == "ray":
        return [
            f"ray job submit -- python -m mammo_aln.sweeps.engines.ray_tasks {shlex.quote(str(file))}" for file in files
        ]
    return [launch_command(file, jobs, cluster) for file, jobs in zip(files, lists, strict=True)]
