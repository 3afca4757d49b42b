"""One training, from a cohort to a run directory whose weights, threshold, calibration and pixel recipe are frozen."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, make_folder, write_csv, write_json
from mammo_aln.machine.hardware import require_hardware
from mammo_aln.model.backbones import compile_backbones
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.learner import Learner
from mammo_aln.model.weights import origin_of
from mammo_aln.progress import say
from mammo_aln.runs.identity import run_identity, shaping_settings
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.record import environment, now, read_state, write_settings, write_state
from mammo_aln.runs.seal import frozen_digests
from mammo_aln.settings import Settings
from mammo_aln.training.callbacks import RunRecorder, StepSeed
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.units import cohort_flow, require_both_classes
from mammo_aln.training.leak_guard import Seen, refuse_seen_patients, seen_by
from mammo_aln.training.scoring import (
    fit_on_validation,
    lightning_hushed,
    predict_logits,
    prediction_table,
    write_predictions,
)
from mammo_aln.training.stopping import STOP, StopAtStep
from mammo_aln.training.throughput import Throughput
from mammo_aln.training.trackers import wandb_mirror


@STOP.watched()
def train_run(
    cohort_folder: Path | Cohort,
    out: Path,
    settings: Settings,
    *,
    store: Path | None = None,
    planned: str | None = None,
) -> Path:
    """Train one model, or go on with it, or do nothing where it is done; returns the run directory.

    Args:
        cohort_folder: cohort with a `split` column that holds `train` and `val`, or one that was read already.
        out: folder of runs; the run's own folder in it is named by its identity.
        settings: all settings.
        store: crop store; by default `.crops` in the cohort folder.
        planned: identity that a sweep froze for this run when it was planned.

    Raises:
        RunIsHeld: another process trains this very run.
        InputError: whatever of the cohort, the settings or the machine does not allow the training (nothing is written
            then), or the cohort is no longer the one that `planned` was made of.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, a file stands there")
    require_hardware(settings.trainer)
    data = data_module(cohort_folder, settings, store)
    for split in ("train", "val"):
        require_both_classes(data.cohort.patients, split)
    _refuse_leak(settings, data)
    data.prepare_data()
    keys = data.crop_set.table["key"].tolist() if data.reads_images else []
    run_id, identity = run_identity(settings, cohort_content(data.as_given), keys)
    if planned is not None and run_id != planned:
        raise InputError(
            f"planned as run {planned}, but the cohort's tables, its image files or the weights have changed since and "
            f"make it {run_id}; the same sweep command plans anew"
        )
    run = out / run_id
    if read_state(run)["state"] == "completed":
        say(f"run {run_id} is completed already; nothing to train")
        return run
    data.setup("fit")
    module = build_model(settings, data)
    return carry_out(
        run,
        settings,
        identity,
        fit=lambda: _fit(run, data, module, settings),
        finish=lambda: _freeze(run, run_id, data, settings),
    )


def carry_out(
    run: Path,
    settings: Settings,
    identity: dict[str, Any],
    *,
    fit: Callable[[], None],
    finish: Callable[[], dict[str, Any]],
) -> Path:
    """Learn and finish a run under its lock, its settings, environment and state recorded; returns the run directory.

    Args:
        run: its directory, named by its id.
        settings: all settings.
        identity: what the id was made from.
        fit: learns, on every process of a training on several devices.
        finish: what follows the last epoch, on the first process alone; returns what state.json shall record of it.

    Raises:
        InputError: another process trains this run.
    """
    make_folder(run)
    # Every process of a training on several devices comes through here; the first one keeps the records.
    leads = getattr(rank_zero_only, "rank", 0) == 0
    with STOP.watched(), held_alone(run) if leads else nullcontext():
        if not leads:
            fit()
            return run
        before = read_state(run)
        if before["state"] == "completed":
            return run
        write_settings(run, settings)
        write_json(
            run / "environment.json", {**environment(), "threads": torch.get_num_threads(), "identity": identity}
        )
        attempts, started = before.get("attempts", 0) + 1, before.get("started") or now()
        write_state(run, "running", run_id=run.name, attempts=attempts, started=started)
        begun = time.perf_counter()
        try:
            fit()
            ended = finish()
        except BaseException as error:
            write_state(run, "failed", error=f"{type(error).__name__}: {error}"[:2000])
            raise
        write_state(run, "completed", error=None, ended=now(), training_s=time.perf_counter() - begun, **ended)
    return run


def data_module(cohort: Path | Cohort, settings: Settings, store: Path | None, **more: Any) -> MammoDataModule:
    """The data module that these settings describe."""
    cohort = cohort if isinstance(cohort, Cohort) else read_for(settings, cohort)
    if not more.get("splits") and "split" not in cohort.patients:
        raise InputError(f"{cohort.root.name}/patients.csv has no column split; `mammo-aln split COHORT` makes one")
    return MammoDataModule(
        cohort,
        settings.crop,
        inputs=settings.model.inputs,
        pixels=settings.pixels,
        data=settings.data,
        seed=settings.seed,
        store=store,
        **more,
    )


def read_for(settings: Settings, folder: Path) -> Cohort:
    """Read the tables that the model's inputs need."""
    images = {"primary", "auxiliary"} & set(settings.model.inputs)
    return read_cohort(folder, need=("patients", "images") if images else ("patients",))


def _refuse_leak(settings: Settings, data: MammoDataModule) -> None:
    """See to it that no test patient was pre-trained on, and tell where the pre-training saw other crops."""
    begun_from = origin_of(settings.model.pretrained)
    if begun_from is None:
        return
    refuse_seen_patients([Seen.from_state(state) for state in begun_from["seen"]], data.whole_cohort)
    then, here = (begun_from["crop"] or {}).get("strategy"), settings.crop.strategy
    if then is not None and then != here:
        say(f"note: pre-trained on crop.strategy={then}, this run reads {here}")


def build_model(settings: Settings, data: MammoDataModule) -> AxillaryClassifier:
    """The untrained network for these settings and this cohort; its weights depend on `settings.seed` alone."""
    torch.manual_seed(settings.seed)
    return AxillaryClassifier(
        asdict(settings.model),
        asdict(settings.optim),
        regions=list(data.regions),
        clinical_columns=list(data.clinical_columns),
        size_px=settings.crop.size_px,
    )


def _fit(run: Path, data: MammoDataModule, module: AxillaryClassifier, settings: Settings) -> None:
    encoder = data.fitted_encoder.to_state() if "clinical" in data.inputs else None
    begun_from = origin_of(settings.model.pretrained)
    frozen = json_ready(
        {
            "run_id": run.name,
            "recipe": data.recipe,
            "clinical_encoder": encoder,
            "pretraining": begun_from["seen"] if begun_from else [],
            "trained_on": [_trained_on(run.name, data).to_state()],
        }
    )
    write_json(run / "recipe.json", data.recipe)
    fit_module(run, data, module, settings, frozen)


def _trained_on(run_id: str, data: MammoDataModule) -> Seen:
    """The training patients, for the guard of a run that begins from this one's weights."""
    units = data.patients("train")
    if not data.reads_images:
        return seen_by(run_id, data.whole_cohort, units.assign(image_id=""), None)
    crops = data.crop_set.table
    return seen_by(
        run_id, data.whole_cohort, crops[crops["unit_id"].isin(units["unit_id"])], data.crop_set.open_store()
    )


def fit_module(
    run: Path, data: pl.LightningDataModule, module: Learner, settings: Settings, frozen: dict[str, Any]
) -> None:
    """Train a module from `last.ckpt`, or from its beginning where there is none.

    Args:
        run: run directory, named by the run's id.
        data: batches that depend on seed and epoch alone.
        module: the network and how it learns.
        settings: all settings.
        frozen: what each checkpoint holds beside the weights: plain dict, list, string, number.
    """
    run_id = run.name
    if settings.trainer.compile:
        compile_backbones(module.network)
    throughput = Throughput()
    callbacks: list[pl.Callback] = [
        StepSeed(settings.seed),
        throughput,
        StopAtStep(),
        RunRecorder(run, throughput, frozen),
    ]
    if settings.trainer.patience:
        callbacks.append(
            pl.callbacks.EarlyStopping("val_auc", mode="max", patience=settings.trainer.patience, verbose=False)
        )
    last = run / "checkpoints" / "last.ckpt"
    if last.is_file():
        place = torch.load(last, map_location="cpu", weights_only=True, mmap=True).get("place") or {}
        if place.get("done"):
            say(f"run {run_id}: {last.name} stands at the end of the training")
            return
        if place and hasattr(data, "begin"):
            data.begin = (place["epoch"], place["step"])
        say(f"run {run_id}: going on from {last.name}")
    with lightning_hushed():
        trainer = pl.Trainer(
            max_epochs=settings.trainer.max_epochs,
            accelerator=settings.trainer.accelerator,
            devices=settings.trainer.devices,
            num_nodes=settings.trainer.num_nodes,
            strategy="ddp" if settings.trainer.devices * settings.trainer.num_nodes > 1 else "auto",
            precision=settings.trainer.precision,
            logger=wandb_mirror(run, run_id, settings),
            callbacks=callbacks,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
        try:
            with STOP.at_steps():
                trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
        except SystemExit as stopped:
            # So Lightning passes on Ctrl-C (exit code 1).
            raise KeyboardInterrupt("stopped by Ctrl-C") from stopped


def _freeze(run: Path, run_id: str, data: MammoDataModule, settings: Settings) -> dict[str, Any]:
    """Fit calibration and threshold on validation, then write the predictions of `train` and `val`; their digests."""
    best = run / "checkpoints" / "best.ckpt"
    if not best.is_file():
        raise InputError(
            f"run {run_id}: no epoch had a finite validation AUC; look at metrics.csv in the run directory"
        )
    scored = predict_logits(AxillaryClassifier.load(best), data, settings.trainer)
    calibration, threshold = fit_on_validation(scored[scored["split"] == "val"])
    table = prediction_table(scored, run_id, calibration)
    if data.reads_images:
        write_csv(run / "exclusions.csv", data.crop_set.exclusions)
    about = {
        "run_id": run_id,
        "threshold": threshold,
        "calibration": calibration,
        "recipe": data.recipe,
        "fallbacks": data.fallbacks,
        "cohort_flow": cohort_flow(data.whole_cohort.patients, data.splits, scored),
        "settings": shaping_settings(settings),
    }
    write_predictions(run / "predictions.csv", table, about)
    return {"frozen": frozen_digests(run)}
