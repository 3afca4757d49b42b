"""What happens around the epochs of a training: seeding, the metrics table, checkpoints that appear whole."""

from __future__ import annotations

import time
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from mammo_aln.files import write_csv, written_whole
from mammo_aln.progress import Progress

COLUMNS = ("train_loss", "val_loss", "val_auc")


def _column_order(name: str) -> tuple[int, str]:
    return (COLUMNS.index(name) if name in COLUMNS else len(COLUMNS), name)


class EpochSeed(pl.Callback):
    """Seeds torch from (seed, epoch, rank) when an epoch begins: a resumed run draws what an undisturbed one does."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set torch's generators."""
        entropy = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank))
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))


class Throughput(pl.Callback):
    """Measures an epoch: seconds, training patients per second, share of the time spent waiting for data."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self._begun = self._batch_done = self._waited_s = 0.0
        self._patients = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._begun = self._batch_done = time.perf_counter()
        self._waited_s, self._patients = 0.0, 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Whatever passed since the last step was waiting."""
        self._waited_s += time.perf_counter() - self._batch_done
        self._patients += len(batch["label"])

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note when the step ended."""
        self._batch_done = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Training of this epoch is over: take its figures."""
        if not trainer.sanity_checking and self._patients:
            seconds = self._batch_done - self._begun
            self.figures = {
                "train_s": seconds,
                "train_patients_per_s": self._patients / seconds,
                "data_wait_s": self._waited_s,
            }


class RunRecorder(pl.callbacks.Checkpoint):
    """After each epoch: a row of metrics.csv, `last.ckpt`, and `best.ckpt` when validation AUC rose.

    Each file is replaced whole, checkpoint last, so that a kill at any instant leaves a state from which the same
    command goes on.
    """

    def __init__(self, run: Path, throughput: Throughput, frozen: dict[str, Any]) -> None:
        self.run, self.throughput, self.frozen = run, throughput, frozen
        self.best_auc, self.best_epoch = -1.0, -1
        self.rows: list[dict[str, Any]] = []
        self._progress: Progress | None = None
        self._note = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to tell how far the training has come, in steps: an epoch may take hours."""
        if trainer.is_global_zero:
            steps = int(trainer.num_training_batches) * int(trainer.max_epochs or 0)
            self._progress = Progress(total=steps, what="train", unit="step", done=trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step more."""
        if self._progress is not None:
            self._progress.advance(note=self._note)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last state on the terminal or in the log."""
        if self._progress is not None:
            self._progress.end(self._note)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best_auc": self.best_auc, "best_epoch": self.best_epoch, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of `last.ckpt`."""
        self.best_auc, self.best_epoch, self.rows = (
            state_dict["best_auc"],
            state_dict["best_epoch"],
            list(state_dict["rows"]),
        )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put what is frozen beside the weights: run id, pixel recipe, clinical encoding."""
        checkpoint["mammo_aln"] = self.frozen
        # Weights that a run began from are inside it; the path they came from is nobody's business.
        settings = checkpoint["hyper_parameters"]
        checkpoint["hyper_parameters"] = {**settings, "model": {**settings["model"], "pretrained": False}}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        auc = metrics.get("val_auc", float("nan"))
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            **{name: metrics[name] for name in sorted(metrics, key=_column_order)},
            **self.throughput.figures,
        }
        if torch.cuda.is_available():
            row["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        self.rows = [*self.rows, row]
        is_best = auc > self.best_auc
        if is_best:
            self.best_auc, self.best_epoch = auc, trainer.current_epoch
        if trainer.is_global_zero:
            write_csv(self.run / "metrics.csv", pd.DataFrame(self.rows))
            self._note = self._in_words(trainer, row)
        if is_best:
            self._save(trainer, "best.ckpt")
        self._save(trainer, "last.ckpt")

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        if trainer.world_size > 1:
            # Every rank takes part in collecting the state; Lightning writes on rank 0.
            trainer.save_checkpoint(self.run / "checkpoints" / name)
            return
        with written_whole(self.run / "checkpoints" / name) as part:
            trainer.save_checkpoint(part)

    def _in_words(self, trainer: pl.Trainer, row: dict[str, Any]) -> str:
        waited = 100 * row.get("data_wait_s", 0.0) / max(row.get("train_s", 1.0), 1e-9)
        rate, loss, auc = (row.get(name, nan) for name in ("train_patients_per_s", "train_loss", "val_auc"))
        return (
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: train_loss {loss:.4f}, val_auc {auc:.3f} "
            f"(best {self.best_auc:.3f} at epoch {self.best_epoch + 1}), {rate:.1f} patients/s, "
            f"{waited:.0f} % of the time waiting for data"
        )
