"""The end of a training, in words and pictures: numbers that were frozen, curves by epoch, augmented crops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from mammo_aln.errors import InputError
from mammo_aln.evaluation.area import area_of
from mammo_aln.files import read_own_table, shown, written_whole
from mammo_aln.runs.record import read_state
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.prediction_facts import PredictionFacts

SHEET_CROPS = 12
SHEET_COLUMNS = 6
TILE_PX = 128
CAPTION_PX = 14
VIEW_NAMES = ("CC", "MLO", "other view")
"""As batches number them."""


@dataclass(frozen=True)
class Summary:
    """The outcome of a completed run; AUCs are of the frozen predictions.

    Args:
        best_epoch: epoch of `best.ckpt`, counted from 1.
        epochs: epochs that were trained.
        val_auc: of validation.
        val_auc_low: lower limit of its 95 % interval; `val_auc_high` is the upper one.
        val_auc_high: see `val_auc_low`.
        train_auc: of the training patients.
        threshold: frozen threshold of the score.
        rule: how it was chosen.
        temperature: frozen divisor of the logit.
        training_s: seconds of all attempts that its weights come from; None before it is completed.
    """

    best_epoch: int
    epochs: int
    val_auc: float
    val_auc_low: float
    val_auc_high: float
    train_auc: float
    threshold: float
    rule: str
    temperature: float
    training_s: float | None

    @classmethod
    def of_run(cls, run: Path) -> Summary:
        """Read it from the files of a run that has its predictions."""
        metrics = read_own_table(run / "metrics.csv", "val_auc")
        table = read_own_table(run / "predictions.csv", "aln_status", "score", dtype={"patient_id": str})
        operating = PredictionFacts.read(run / "predictions.csv").operating
        val, train = (area_of(table[table["split"] == split]) for split in ("val", "train"))
        return cls(
            best_epoch=best_row(metrics) + 1,
            epochs=len(metrics),
            val_auc=val.value,
            val_auc_low=val.low,
            val_auc_high=val.high,
            train_auc=train.value,
            threshold=float(operating.threshold["value"]),
            rule=str(operating.threshold["rule"]),
            temperature=float(operating.calibration["temperature"]),
            training_s=read_state(run).training_s,
        )

    def numbers(self) -> Mapping[str, float]:
        """The finite numbers, for trackers."""
        values = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        return {name: float(value) for name, value in values.items() if math.isfinite(value)}

    def in_words(self, run: Path) -> str:
        """A few lines for the terminal."""
        interval = "no interval"
        if math.isfinite(self.val_auc_low):
            interval = f"95 % CI {self.val_auc_low:.3f} to {self.val_auc_high:.3f}"
        trained = "" if self.training_s is None else f"; trained in {self.training_s:.0f} s"
        return "\n".join(
            [
                f"run {run.name}: best epoch {self.best_epoch} of {self.epochs}{trained}",
                f"  val AUC {self.val_auc:.3f} ({interval}), train AUC {self.train_auc:.3f}",
                f"  threshold {self.threshold:.3f} ({self.rule}, on val), temperature {self.temperature:.2f}",
                *self._one_call(),
                f"  {shown(run)}: predictions.csv, training.png, checkpoints/best.ckpt, metrics.csv "
                f"(counts epochs from 0: the best is {self.best_epoch - 1})",
            ]
        )

    def _one_call(self) -> list[str]:
        """Say that an infinite threshold calls all patients alike."""
        if math.isfinite(self.threshold):
            return []
        call = "negative" if self.threshold > 0 else "positive"
        return [f"  all patients are called {call}: no score of val separates the outcomes better than that"]


def best_row(metrics: pd.DataFrame) -> int:
    """Number of the row of metrics.csv whose weights are `best.ckpt`: the first with the highest validation AUC."""
    if metrics.empty:
        raise InputError("metrics.csv holds no epoch; bring it back from a copy, or train the run anew")
    return int(metrics["val_auc"].fillna(-1.0).to_numpy().argmax())


def draw_training(run: Path) -> None:
    """Write training.png: losses and validation AUC by epoch, the best epoch marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = read_own_table(run / "metrics.csv", "epoch", "train_loss", "val_auc")
    epochs, best = metrics["epoch"] + 1, best_row(metrics)
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axes, auc_axes = figure.subplots(1, 2)
    loss_axes.plot(epochs, metrics["train_loss"], marker=".", label="training")
    loss_axes.plot(epochs, metrics["val_loss"], marker=".", label="validation")
    loss_axes.set(xlabel="epoch", ylabel="loss")
    auc_axes.plot(epochs, metrics["val_auc"], marker=".", color="C1", label="validation")
    mark = {"ms": 9, "mfc": "none", "color": "black", "label": f"best: epoch {epochs[best]}"}
    auc_axes.plot(epochs[best], metrics["val_auc"][best], "o", **mark)
    auc_axes.axhline(0.5, color="0.7", lw=0.8)
    auc_axes.set(xlabel="epoch", ylabel="AUC", ylim=(0.0, 1.05))
    for axes, corner in ((loss_axes, "upper right"), (auc_axes, "lower right")):
        axes.legend(frameon=False, fontsize="small", loc=corner)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    with written_whole(run / "training.png") as unfinished:
        figure.savefig(unfinished, format="png", dpi=120)


def draw_augmented(run: Path, data: MammoDataModule, epoch: int) -> None:
    """Write augmented.png: the first training crops as an epoch sees them, with region and view.

    Each draw is a function of seed, epoch, patient and crop, so that looking changes nothing in the training.
    """
    if not data.reads_images:
        return
    loader = data.loader("train", training=True, alone=True)
    tiles: list[tuple[str, np.ndarray]] = []
    for unit in range(len(data.patients("train"))):
        batch = loader.packed([(epoch, unit)])
        tiles += [
            (f"{data.regions[region]} {VIEW_NAMES[view]}", crop)
            for region, view, crop in zip(*(batch[name].numpy() for name in ("region", "view", "crops")), strict=True)
        ]
        if len(tiles) >= SHEET_CROPS:
            break
    tiles = tiles[:SHEET_CROPS]
    rows = -(-len(tiles) // SHEET_COLUMNS)
    sheet = Image.new("L", (SHEET_COLUMNS * TILE_PX, rows * (TILE_PX + CAPTION_PX)), 255)
    pen = ImageDraw.Draw(sheet)
    for number, (caption, crop) in enumerate(tiles):
        x, y = number % SHEET_COLUMNS * TILE_PX, number // SHEET_COLUMNS * (TILE_PX + CAPTION_PX)
        tile = Image.fromarray(np.round(255 * np.clip(crop[0], 0.0, 1.0)).astype(np.uint8))
        sheet.paste(tile.resize((TILE_PX - 2, TILE_PX - 2), Image.Resampling.BILINEAR), (x + 1, y + CAPTION_PX))
        pen.text((x + 2, y + 1), caption, fill=0)
    with written_whole(run / "augmented.png") as unfinished:
        sheet.save(unfinished, format="png")
