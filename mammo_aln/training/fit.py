"""The loop: a module, its data and Lightning's trainer, from `last.ckpt` where there is one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from mammo_aln.files import read_object, write_json
from mammo_aln.machine.arithmetic import arithmetic
from mammo_aln.machine.hardware import computes_on_gpu, resolved_precision
from mammo_aln.machine.memory import keep_freed_memory
from mammo_aln.model.backbones import compile_backbones
from mammo_aln.model.batch_statistics import share_batch_statistics
from mammo_aln.model.learner import Learner
from mammo_aln.model.micro_batch import MicroBatch
from mammo_aln.model.network import CropEncoder
from mammo_aln.progress import say
from mammo_aln.settings import Settings
from mammo_aln.settings.steps import StepShape, draws_per_rank, drops_in_backbone, step_shape
from mammo_aln.training.attempt import leads
from mammo_aln.training.callbacks import RunRecorder, StepSeed
from mammo_aln.training.checkpoints import LAST, RunCheckpoints, read_last, settle
from mammo_aln.training.divergence import DivergenceGuard
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.scoring import lightning_hushed
from mammo_aln.training.stopping import STOP, Position, StopAtStep
from mammo_aln.training.throughput import Throughput
from mammo_aln.training.trackers.registry import Mirrors

MICRO_BATCH_FILE = "micro_batch.json"


def remembered(run: Path, step: StepShape) -> int:
    """Number of patients at once that this run's memory sufficed for; the step's own where nothing was halved."""
    file = run / MICRO_BATCH_FILE
    if not step.may_halve or not file.is_file():
        return step.at_once
    return int(read_object(file, "patients")["patients"])


def remember(run: Path, drops: bool, patients: int) -> None:
    """Say and keep that memory sufficed for so many patients at once only; whether the backbone drops by parts too."""
    result = "other branches are dropped at random" if drops else "the result is the same"
    say(f"run {run.name}: out of memory; the step is repeated with {patients} patients at once, {result}")
    write_json(run / MICRO_BATCH_FILE, {"patients": patients})


def fit_module(
    run: Path,
    data: pl.LightningDataModule,
    module: Learner,
    settings: Settings,
    frozen: FrozenFacts,
    mirrors: Mirrors | None = None,
) -> None:
    """Train a module from `last.ckpt`, or from its beginning where there is none.

    Args:
        run: run directory, named by the run's id.
        data: batches that depend on seed and epoch alone.
        module: the network and how it learns.
        settings: all settings.
        frozen: what each checkpoint holds beside the weights.
        mirrors: of the run in trackers, if any.
    """
    run_id = run.name
    if not computes_on_gpu(settings.trainer):
        keep_freed_memory()
    if settings.trainer.compile:
        compile_backbones(module)
    throughput = Throughput()
    last = run / "checkpoints" / LAST
    checkpoints = RunCheckpoints(
        last.parent, settings.trainer.save_every_s, keeps_optimiser=settings.trainer.keep_optimiser
    )
    callbacks: list[pl.Callback] = [
        StepSeed(settings.seed, per_rank=draws_per_rank(settings)),
        throughput,
        DivergenceGuard(settings),
        StopAtStep(),
        RunRecorder(run, throughput, frozen, checkpoints, mirrors),
    ]
    if settings.trainer.patience:
        callbacks.append(
            pl.callbacks.EarlyStopping("val_auc", mode="max", patience=settings.trainer.patience, verbose=False)
        )
    if leads():
        settle(run)
    if last.is_file():
        position = _position(run)
        if position is not None and position.done:
            say(f"run {run_id}: {last.name} stands at the end of the training")
            return
        if position is not None and hasattr(data, "begin"):
            data.begin = (position.epoch, position.step)
        say(f"run {run_id}: going on from {last.name}")
    frozen_epochs, epochs = settings.model.freeze_epochs, settings.trainer.max_epochs
    if frozen_epochs >= epochs and module.network.loaded_backbones and leads():
        say(
            f"run {run_id}: model.freeze_epochs = {frozen_epochs} of trainer.max_epochs = {epochs}: the loaded backbone"
            " rests to the end; only what stands behind it learns"
        )
    step = step_shape(settings)
    module.micro_batch = MicroBatch(
        step, remembered(run, step), partial(remember, run, drops_in_backbone(settings.model))
    )
    if step.ranks > 1 and settings.trainer.sync_batchnorm:
        for encoder in [each for each in module.network.modules() if isinstance(each, CropEncoder)]:
            encoder.ranks_in_backbone = share_batch_statistics(encoder.backbone)
    with lightning_hushed(), arithmetic(settings.trainer):
        trainer = pl.Trainer(
            max_epochs=settings.trainer.max_epochs,
            accelerator=settings.trainer.accelerator,
            devices=settings.trainer.devices,
            num_nodes=settings.trainer.num_nodes,
            # Shared statistics are the same on every rank; others are the first rank's, as its checkpoint keeps them.
            strategy=DDPStrategy(broadcast_buffers=not settings.trainer.sync_batchnorm, gradient_as_bucket_view=True)
            if step.ranks > 1
            else "auto",
            precision=resolved_precision(settings.trainer),
            logger=False,
            callbacks=callbacks,
            plugins=[checkpoints],
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
        try:
            with STOP.at_steps(), checkpoints:
                trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
        except SystemExit as stopped:
            # So Lightning passes on Ctrl-C (exit code 1).
            raise KeyboardInterrupt("stopped by Ctrl-C") from stopped


def _position(run: Path) -> Position | None:
    """Position of `last.ckpt`; the file is closed, so that its space is free once the next one replaces it."""
    plain = (read_last(run) or {}).get("place")
    return Position(**plain) if plain else None
