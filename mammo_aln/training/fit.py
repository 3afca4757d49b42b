"""The loop: a module, its data and Lightning's trainer, from `last.ckpt` where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from mammo_aln.machine.arithmetic import arithmetic
from mammo_aln.machine.hardware import resolved_precision
from mammo_aln.model.backbones import compile_backbones
from mammo_aln.model.learner import Learner
from mammo_aln.progress import say
from mammo_aln.settings import Settings
from mammo_aln.training.callbacks import RunRecorder, StepSeed
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.scoring import lightning_hushed
from mammo_aln.training.stopping import STOP, Position, StopAtStep
from mammo_aln.training.throughput import Throughput


def fit_module(
    run: Path,
    data: pl.LightningDataModule,
    module: Learner,
    settings: Settings,
    frozen: FrozenFacts,
    loggers: Sequence[Logger] = (),
) -> None:
    """Train a module from `last.ckpt`, or from its beginning where there is none.

    Args:
        run: run directory, named by the run's id.
        data: batches that depend on seed and epoch alone.
        module: the network and how it learns.
        settings: all settings.
        frozen: what each checkpoint holds beside the weights.
        loggers: mirrors of the metrics.
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
        plain = torch.load(last, map_location="cpu", weights_only=True, mmap=True).get("place")
        position = Position(**plain) if plain else None
        if position is not None and position.done:
            say(f"run {run_id}: {last.name} stands at the end of the training")
            return
        if position is not None and hasattr(data, "begin"):
            data.begin = (position.epoch, position.step)
        say(f"run {run_id}: going on from {last.name}")
    with lightning_hushed(), arithmetic(settings.trainer):
        trainer = pl.Trainer(
            max_epochs=settings.trainer.max_epochs,
            accelerator=settings.trainer.accelerator,
            devices=settings.trainer.devices,
            num_nodes=settings.trainer.num_nodes,
            strategy="ddp" if settings.trainer.devices * settings.trainer.num_nodes > 1 else "auto",
            precision=resolved_precision(settings.trainer),
            logger=list(loggers),
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
