"""Pre-trained weights for the cells that ask for them: a given file, or a pre-training that the sweep makes first."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.machine.hardware import resolved
from mammo_aln.machine.slurm import POLL_S, jobs_in_queue
from mammo_aln.machine.slurm_ends import await_jobs, await_left, end_in_words, job_end
from mammo_aln.machine.slurm_jobs import RequeuedJob, submit
from mammo_aln.machine.slurm_request import request_of
from mammo_aln.model.network import crop_encoder
from mammo_aln.progress import say
from mammo_aln.runs.lock import RunIsHeld
from mammo_aln.runs.names import with_weights_of_named
from mammo_aln.settings import ClusterConfig, PretrainSettings
from mammo_aln.settings.parse import settings_from
from mammo_aln.settings.steps import step_shape
from mammo_aln.sweeps.cell import last_lines
from mammo_aln.sweeps.plan import name_of, names_in_words
from mammo_aln.sweeps.planning.definition import FROM_SWEEP, Definition, Nested, Point, merged
from mammo_aln.sweeps.planning.pretraining import weights_apart
from mammo_aln.sweeps.slurm.records import FOLDER, read_job, record_job, settle_jobs

PRETRAININGS = "pretrain"
"""Folder of a sweep's pre-trainings, in the sweep's own."""
SHARED = ("pixels", "crop", "data", "trainer", "log")
"""Sections that a pre-training takes over from the cells; of `model` it takes the backbone."""


class PretrainJob(RequeuedJob):
    """A pre-training, here or as a SLURM job; requeued, it goes on from its last checkpoint."""

    def __init__(self, cohort: Path, out: Path, settings: PretrainSettings, store: Path | None) -> None:
        self.cohort, self.out, self.settings, self.store = cohort, out, settings, store

    def work(self) -> str:
        """Make the weights, or wait for the process that makes them already; returns the file's path."""
        from mammo_aln.training.pretraining.pretrain import pretrain_run

        announced = False
        while True:
            try:
                return str(pretrain_run(self.cohort, self.out, self.settings, store=self.store))
            except RunIsHeld as held:
                if not announced:
                    say(f"waiting for the pre-training: {held}")
                announced = True
                time.sleep(POLL_S)

    def finished(self) -> str | None:
        """The file's path where it is made already; nothing is trained."""
        from mammo_aln.training.pretraining.pretrain import finished_weights

        weights = finished_weights(self.cohort, self.out, self.settings, store=self.store)
        return str(weights) if weights is not None else None


def asking_points(points: Sequence[Point], definition: Definition, pretrained: Path | None) -> list[Point]:
    """List the points whose file says `model.pretrained: sweep`.

    Raises:
        InputError: they ask for weights and there are none, or none asks for those that were given.
    """
    asking = [point for point in points if point.settings.get("model", {}).get("pretrained") == FROM_SWEEP]
    if not asking and pretrained is not None:
        raise InputError(
            "--pretrained: no cell of this sweep asks for it; "
            "write `model: {pretrained: sweep}` for the cells that shall begin from it"
        )
    if asking and pretrained is None and definition.pretrain is None:
        names = list(dict.fromkeys(name_of(point.axes, seed=None) or "all cells" for point in asking))
        raise InputError(
            f"these cells begin from pre-trained weights (model.pretrained: sweep): {names_in_words(names)}; name the"
            " file by --pretrained FILE, or write a pretrain: block that makes them"
        )
    return asking


def with_weights(
    points: Sequence[Point],
    definition: Definition,
    cohort: Path,
    out: Path,
    *,
    pretrained: Path | None,
    store: Path | None,
    cluster: ClusterConfig | None,
) -> list[Point]:
    """The points, with the path of the weights wherever a file says `model.pretrained: sweep`.

    Args:
        points: all points.
        definition: the sweep; its `pretrain` block tells what is pre-trained, over the cells' own settings, and on
            which `cohort` (by default the sweep's).
        cohort: the sweep's cohort.
        out: the sweep's folder; weights go to its folder `pretrain`.
        pretrained: a file to use instead.
        store: crop store of the sweep's cohort.
        cluster: pre-train in a SLURM job that asks for this; None pre-trains here.

    Raises:
        InputError: cells ask for weights and there are none, or none asks for those that were given.
    """
    asking = asking_points(points, definition, pretrained)
    if not asking or definition.pretrain is None or pretrained is not None:
        return [point if pretrained is None else weighted(point, pretrained) for point in points]
    weights: dict[int, str] = {}
    for job, begins in pretrain_jobs(asking, definition.pretrain, cohort, out, store, here=cluster is None):
        say(f"pre-training {job.settings.model.backbone} for the cells that ask for it")
        path = weights_here(job) if cluster is None else weights_by_slurm(job, out.absolute(), cluster)
        weights |= {id(point): path for point in begins}
    return [weighted(point, weights[id(point)]) if id(point) in weights else point for point in points]


def pretrain_jobs(
    asking: Sequence[Point], block: Nested, cohort: Path, out: Path, store: Path | None, *, here: bool
) -> list[tuple[PretrainJob, list[Point]]]:
    """Read all pre-trainings behind some points before the first of them begins.

    Args:
        asking: points that begin from the sweep's weights.
        block: the sweep's `pretrain` block.
        cohort: the sweep's cohort.
        out: the sweep's folder.
        store: crop store of the sweep's cohort.
        here: they compute on this machine.

    Returns:
        The distinct pre-trainings, each with the points that begin from its weights.

    Raises:
        InputError: settings that no pre-training can be made with.
    """
    block = dict(block)
    other = block.pop("cohort", None)
    source, crops = (cohort, store) if other is None else (Path(str(other)), None)
    jobs: dict[str, tuple[PretrainJob, list[Point]]] = {}
    for point in asking:
        settings = resolved(pretrain_settings(point, block), here=here)
        refuse_outcome(point, settings)
        step_shape(settings)
        crop_encoder(replace(settings.model, pretrained=False), settings.crop.size_px)
        job = PretrainJob(source.absolute(), (out / PRETRAININGS).absolute(), settings, crops and crops.absolute())
        jobs.setdefault(repr(settings), (job, []))[1].append(point)
    return list(jobs.values())


def refuse_outcome(point: Point, settings: PretrainSettings) -> None:
    """One pre-training serves all folds, so that it has seen each fold's validation patients: never their outcome."""
    outcome = {"aln_status", "patients.aln_status"} & {label.partition(":")[0] for label in settings.pretrain.labels}
    if outcome and int(point.settings.get("data", {}).get("folds", 0)):
        raise InputError(
            "pretrain.labels has aln_status, and the cells validate on folds of the patients that it learns from; "
            "pre-train on other labels, or without folds"
        )


def weights_here(job: PretrainJob) -> str:
    """Make the weights on this machine, in a process of its own, unless they are there."""
    return job.finished() or weights_apart(job)


def weights_by_slurm(job: PretrainJob, out: Path, cluster: ClusterConfig) -> str:
    """Have a SLURM job make the weights, unless they are there; this machine trains nothing.

    A job that a former command submitted is waited for, or its end is told.

    Raises:
        InputError: the job ended without them.
    """
    weights = job.finished()
    if weights is not None:
        return weights
    name = f"pretrain-{hashlib.sha256(repr(job.settings).encode()).hexdigest()[:12]}"
    former = read_job(out, name)
    if former is not None and former.job in jobs_in_queue():
        number = former.job
        say(f"SLURM job {number} of a former command is at it; this one waits for it")
    else:
        if former is not None and not former.settled:
            say(f"its former SLURM job {former.job} {end_in_words(job_end(former.job), cluster)}; another one follows")
        number = _submitted(job, out, cluster)
        record_job(out, name, number)
    end = await_jobs([number], "pre-training", cluster.poll_s)[number]
    settle_jobs(out, [name])
    weights = await_left(job.finished, end, cluster.poll_s)
    if weights is None:
        log = out / FOLDER / f"{number}_0_log.err"
        lines = last_lines(log) or last_lines(log.with_suffix(".out")) or ("it said nothing",)
        for line in lines:
            say(f"    | {line}")
        raise InputError(
            f"the pre-training's SLURM job {number} {end_in_words(end, cluster)}, without weights: {lines[-1]} (see"
            f" {log}); the same command submits another"
        )
    return weights


def _submitted(job: PretrainJob, out: Path, cluster: ClusterConfig) -> str:
    trainer = job.settings.trainer
    (number,) = submit(
        [job],
        out / FOLDER,
        "mammo-aln-pretrain",
        cluster,
        nodes=trainer.num_nodes,
        tasks_per_node=trainer.devices,
        request=request_of(trainer, job.settings.data.num_workers, cluster),
    )
    return number


def pretrain_settings(point: Point, block: Nested) -> PretrainSettings:
    """Settings of the pre-training behind a point."""
    own = {name: point.settings[name] for name in SHARED if name in point.settings}
    network = {
        key: point.settings["model"][key] for key in ("backbone", "backbone_args") if key in point.settings["model"]
    }
    plain = merged(merged(own, {"model": {**network, "inputs": ["primary"]}}), block)
    plain.get("data", {}).pop("fold", None)
    plain.get("data", {}).pop("folds", None)
    return with_weights_of_named(settings_from(PretrainSettings, plain, "pretrain"))


def weighted(point: Point, path: str | Path) -> Point:
    """Fill in the path of the weights where a point's file says `model.pretrained: sweep`."""
    model = point.settings.get("model", {})
    if model.get("pretrained") != FROM_SWEEP:
        return point
    return replace(point, settings={**point.settings, "model": {**model, "pretrained": str(path)}})
