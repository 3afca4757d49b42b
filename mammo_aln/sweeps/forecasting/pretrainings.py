"""Forecast of the pre-trainings that a sweep makes first; nothing is decoded, trained or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.keys import KnownCrops, known_crops
from mammo_aln.crops.regions import plan_crops
from mammo_aln.machine.hardware import computes_on_gpu
from mammo_aln.model.origin import PRETRAINED_FILE
from mammo_aln.runs.identity import run_identity
from mammo_aln.runs.record import read_state
from mammo_aln.settings.steps import step_shape
from mammo_aln.sweeps.forecasting.cells import FORWARD_PASSES
from mammo_aln.sweeps.forecasting.steps import pretraining_step_seconds
from mammo_aln.sweeps.planning.definition import Definition, Point
from mammo_aln.sweeps.planning.weights import PretrainJob, pretrain_jobs
from mammo_aln.training.pretraining.data import PAIR, PretrainData
from mammo_aln.training.pretraining.pretrain import of_images


@dataclass(frozen=True)
class PretrainForecast:
    """Forecast of a pre-training.

    Attributes:
        begins: points that begin from its weights.
        backbone: what it trains.
        epochs: of it.
        weights: the file that it has made already; None where it is to be trained.
        seconds: of all its steps and validations; 0 where it is made.
        crops: what the store holds of the crops that it reads.
    """

    begins: Sequence[Point]
    backbone: str
    epochs: int
    weights: Path | None
    seconds: float
    crops: KnownCrops


def forecast_pretrainings(
    asking: Sequence[Point],
    definition: Definition,
    cohort: Path,
    out: Path,
    store: Path | None,
    threads: int,
    *,
    here: bool,
) -> list[PretrainForecast]:
    """Forecast every pre-training behind some points.

    Args:
        asking: points that begin from the sweep's weights.
        definition: the sweep.
        cohort: its cohort.
        out: its folder.
        store: crop store.
        threads: threads of a training on the CPU.
        here: they compute on this machine.

    Raises:
        InputError: settings, or a cohort, that no pre-training can be made with.
    """
    if not asking or definition.pretrain is None:
        return []
    jobs = pretrain_jobs(asking, definition.pretrain, cohort, out, store, here=here)
    return [_forecast(job, begins, threads) for job, begins in jobs]


def _forecast(job: PretrainJob, begins: Sequence[Point], threads: int) -> PretrainForecast:
    settings = of_images(job.settings)
    data = PretrainData(read_cohort(job.cohort, need=("patients", "images"), outcome=False), settings, job.store)
    known = known_crops(data.cohort, data.pixels, data.crop, data.store)
    run = job.out / run_identity(settings, data.content(), list(known.keys)).run_id
    weights = run / PRETRAINED_FILE if read_state(run).state == "completed" else None
    epochs = settings.trainer.max_epochs
    # An item is a region of a breast: it shows a pair, all of its crops, or (validating) both.
    split = data.cohort.patients.set_index("unit_id")["split"].to_dict()
    items: dict[str, list[int]] = {"train": [], "val": []}
    requests = (request for image in plan_crops(data.cohort, data.crop).images for request in image.requests)
    for (unit, _), crops in Counter((request.unit_id, request.region) for request in requests).items():
        items[str(split[unit])].append(crops)
    pair = 0 if settings.pretrain.mode == "supervised" else PAIR
    own = settings.pretrain.mode != "contrastive"
    in_steps = sum(pair or crops for crops in items["train"])
    in_validation = sum(pair + own * crops for crops in items["val"])
    seconds = 0.0
    if weights is None:
        per_item = max(1, round(in_steps / max(1, len(items["train"]))))
        at_once = per_item * (step_shape(settings).at_once if computes_on_gpu(settings.trainer) else 2)
        passes = in_steps + in_validation / FORWARD_PASSES
        seconds = epochs * passes * pretraining_step_seconds(settings, at_once, threads) / at_once
    return PretrainForecast(begins, settings.model.backbone, epochs, weights, seconds, known)
