"""Around the epochs of a training: seeding, the metrics table, checkpoints that appear whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from mammo_aln.files import write_csv
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.learner import Learner
from mammo_aln.model.origin import PRETRAINED_KEY
from mammo_aln.progress import Progress
from mammo_aln.runs.epoch_scores import EpochScores, write_epoch_scores
from mammo_aln.training.checkpoints import LAST, TRAINED_S, RunCheckpoints, without_optimiser
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.stopping import STEPS_BETWEEN_TALKS, STOP, Position
from mammo_aln.training.throughput import Throughput, in_words
from mammo_aln.training.trackers.registry import Mirrors

NOTE_EVERY_S = 1.0
COLUMNS = ("train_loss", "val_loss", "val_auc")


def _column_order(name: str) -> tuple[int, str]:
    return (COLUMNS.index(name) if name in COLUMNS else len(COLUMNS), name)


class StepSeed(pl.Callback):
    """Seeds torch from (seed, epoch, step) at each step: a run resumed at any step draws what it would have.

    Args:
        seed: the run's.
        per_rank: each rank draws other numbers; else all of them the same, as `BatchDropout` needs it.
    """

    def __init__(self, seed: int, *, per_rank: bool = False) -> None:
        self.seed, self.per_rank = seed, per_rank

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set torch's generators."""
        rank = trainer.global_rank if self.per_rank else 0
        entropy = np.random.SeedSequence((self.seed, trainer.current_epoch, batch_idx, rank))
        number = int(entropy.generate_state(1, np.uint64)[0] >> 1)
        # torch.manual_seed also looks for every kind of device there might be, at each step
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(number)


class RunRecorder(pl.callbacks.Checkpoint):
    """After each epoch a row of metrics.csv; checkpoints by time, at the end, and where a signal asks for one.

    A signal that asks the process to leave is answered after a step, with a `last.ckpt` of that step. `metrics.csv` may
    be ahead of `last.ckpt`, which holds its rows: a resumed run begins with those. The validation's logits of each
    epoch are kept beside the rows, and become a file of the run with its last epoch.

    Args:
        run: run directory.
        throughput: tells the pace.
        frozen: what each checkpoint holds beside the weights.
        checkpoints: writes them.
        mirrors: are kept up to date with the rows, if there are any.
    """

    def __init__(
        self,
        run: Path,
        throughput: Throughput,
        frozen: FrozenFacts,
        checkpoints: RunCheckpoints,
        mirrors: Mirrors | None,
    ) -> None:
        self.run, self.throughput, self.frozen, self.checkpoints = run, throughput, frozen, checkpoints
        self.mirrors = mirrors
        self.best_auc, self.best_epoch = -1.0, -1
        self.rows: list[dict[str, float]] = []
        self.val_logits: list[torch.Tensor] = []
        self._earlier_s, self._begun = 0.0, time.monotonic()
        self._progress: Progress | None = None
        self._note = ""
        self._epoch_note = ""
        self._noted = 0.0
        self._position: Position | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to tell how far the training has come, in steps: an epoch may take hours."""
        if trainer.is_global_zero:
            steps = int(trainer.num_training_batches) * int(trainer.max_epochs or 0)
            self._progress = Progress(total=steps, what="train", unit="step", done=trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step more; leave after it where a signal asked for that."""
        if self._progress is not None:
            if time.monotonic() - self._noted > NOTE_EVERY_S:
                self._noted = time.monotonic()
                self._note = "; ".join(filter(None, (self._epoch_note, in_words(self.throughput.so_far()))))
            self._progress.advance(note=self._note)
        # After an epoch's last step its validation comes first.
        if batch_idx + 1 < trainer.num_training_batches:
            stop = STOP.agreed(trainer, batch_idx)
            # A data module that cannot begin within an epoch goes on from the end of the last one.
            resumable = hasattr(getattr(trainer, "datamodule", None), "begin")
            if resumable and (stop or self._is_due(trainer, batch_idx)):
                self._save(trainer, Position.after_step(trainer, batch_idx))
                self.throughput.begin_wait()
            if stop:
                self._leave(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last state on the terminal or in the log."""
        if self._progress is not None:
            self._progress.end(self._note)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run must know."""
        return {
            "best_auc": self.best_auc,
            "best_epoch": self.best_epoch,
            "rows": self.rows,
            "val_logits": self.val_logits,
            TRAINED_S: self._earlier_s + time.monotonic() - self._begun,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up the state of `last.ckpt`."""
        self.best_auc, self.best_epoch, self.rows = (
            state_dict["best_auc"],
            state_dict["best_epoch"],
            list(state_dict["rows"]),
        )
        # A training begun before these were kept has none.
        self.val_logits = list(state_dict.get("val_logits", []))
        self._earlier_s = float(state_dict.get(TRAINED_S, 0.0))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put what is frozen beside the weights: run id, pixel recipe, clinical encoding."""
        checkpoint[PRETRAINED_KEY] = self.frozen.to_state()
        checkpoint["place"] = vars(self._position) if self._position is not None else {}
        checkpoint["ranks"] = {"devices": trainer.num_devices, "num_nodes": trainer.num_nodes}
        checkpoint["hyper_parameters"] = _without_origin(checkpoint["hyper_parameters"])
        if self._position is not None and self._position.done and not self.checkpoints.keeps_optimiser:
            without_optimiser(checkpoint)
        if trainer.world_size > 1:
            # A rank has its own share of the epoch's mean loss, and each rank of a resumed run reads this one's file.
            weights = checkpoint["state_dict"]
            for name in [name for name in weights if name.startswith("train_mean.")]:
                weights[name] = trainer.strategy.reduce(weights[name].clone(), reduce_op="mean")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        auc = metrics.get("val_auc", float("nan"))
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": max(float(group["lr"]) for group in trainer.optimizers[0].param_groups),  # lower layers learn slower
            **{name: metrics[name] for name in sorted(metrics, key=_column_order)},
            **self.throughput.figures,
        }
        self.rows = [*self.rows, row]
        is_best = auc > self.best_auc
        if is_best:
            self.best_auc, self.best_epoch = auc, trainer.current_epoch
        position = Position.after_epoch(trainer)
        self._keep_scores(trainer, pl_module, position)
        if trainer.is_global_zero:
            # `last.ckpt` holds the rows too: until the last one there is nothing to wait for the disk for.
            write_csv(self.run / "metrics.csv", pd.DataFrame(self.rows), durable=position.done)
            if self.mirrors is not None:
                self.mirrors.log_rows(self.rows, last=position.done)
            self._epoch_note = self._in_words(trainer, row)
            self._note = "; ".join(filter(None, (self._epoch_note, in_words(self.throughput.figures))))
            if is_best:
                self.checkpoints.keep_best(self._best_checkpoint(trainer, pl_module))
        stop = not position.done and STOP.agreed(trainer)
        if position.done or stop or self._is_due(trainer):
            self._save(trainer, position)
        if stop:
            self._leave(trainer)

    def _keep_scores(self, trainer: pl.Trainer, pl_module: pl.LightningModule, position: Position) -> None:
        """Keep the epoch's validation logits; write those of all epochs where this was the last one."""
        if not isinstance(pl_module, AxillaryClassifier):
            return
        logits, labels = pl_module.val_scores.compute()  # computed already: no rank waits for another one
        self.val_logits = [*self.val_logits, logits.cpu()]
        if position.done and trainer.is_global_zero and len(self.val_logits) == len(self.rows):
            scores = EpochScores(torch.stack(self.val_logits).numpy(), labels.cpu().numpy() == 1)
            write_epoch_scores(self.run, scores)

    def _is_due(self, trainer: pl.Trainer, batch_idx: int | None = None) -> bool:
        """Decide by the first rank's clock, on all ranks alike; within an epoch they talk only now and then.

        The first epoch's end is always due: a disk that fails had better fail early.
        """
        if trainer.world_size > 1 and batch_idx is not None and (batch_idx + 1) % STEPS_BETWEEN_TALKS:
            return False
        due = trainer.is_global_zero and ((batch_idx is None and len(self.rows) == 1) or self.checkpoints.due)
        return bool(trainer.strategy.reduce_boolean_decision(due, all=False)) if trainer.world_size > 1 else due

    def _save(self, trainer: pl.Trainer, position: Position) -> None:
        """Begin to write `last.ckpt`; every rank takes part in collecting the state."""
        self._position = position
        trainer.save_checkpoint(self.run / "checkpoints" / LAST)

    def _leave(self, trainer: pl.Trainer) -> None:
        self.checkpoints.wait()
        # A launcher kills all ranks when the first one leaves.
        trainer.strategy.barrier("checkpoint")
        STOP.leave()

    def _best_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, object]:
        """Gather for prediction the weights that are scored with, and what is frozen beside them."""
        averages = isinstance(pl_module, Learner) and pl_module.average is not None
        scored = "average.network." if averages else "network."
        weights = pl_module.state_dict()
        return {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "pytorch-lightning_version": pl.__version__,
            "state_dict": {name: value for name, value in weights.items() if name.startswith(scored)},
            "hyper_parameters": _without_origin(dict(pl_module.hparams)),
            PRETRAINED_KEY: self.frozen.to_state(),
        }

    def _in_words(self, trainer: pl.Trainer, row: dict[str, float]) -> str:
        loss = row.get("train_loss", nan)
        judged = f"val_loss {row.get('val_loss', nan):.4f}"
        if "val_auc" in row:
            judged = f"val_auc {row['val_auc']:.3f} (best {self.best_auc:.3f} at epoch {self.best_epoch + 1})"
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: train_loss {loss:.4f}, {judged}"


def _without_origin(settings: dict[str, Any]) -> dict[str, Any]:
    """Weights that a run began from are inside it; the path they came from is nobody's business."""
    return {**settings, "model": {**settings["model"], "pretrained": False}}
