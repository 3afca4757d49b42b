"""A training that diverged ends at that step, in words; no checkpoint holds its weights."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mammo_aln.cli import main
from mammo_aln.model.backbones import LearningNetwork
from mammo_aln.model.learner import Learner
from mammo_aln.runs.record import read_state
from mammo_aln.settings import OptimConfig, PretrainConfig, PretrainSettings, Settings, TrainerConfig
from mammo_aln.settings.stored import plain_settings
from mammo_aln.training.divergence import Diverged, DivergenceGuard, advice, first_not_finite
from mammo_aln.training.pretraining.pretrain import pretrain_run
from mammo_aln.training.train import train_run
from tests.support.sweep_files import sweep, tiny_sweep
from tests.support.tiny_settings import tiny_settings


def runaway() -> Settings:
    tiny = tiny_settings(epochs=3)
    return replace(tiny, optim=replace(tiny.optim, lr=1e30, warmup_fraction=0.0), data=replace(tiny.data, batch_size=4))


class Line(LearningNetwork):
    """One weight; LearningNetwork's two facts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


class FollowsALine(Learner):
    """Its loss at each step is weight x the step's number, so that the gradient's norm is that number."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"total_steps": 100})
        self.network, self.average = Line(), None
        self.optim_config = OptimConfig(lr=1e-3, gradient_clip_norm=1.0, ema_decay=0.0)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.network.weight * batch.squeeze()


def follow(numbers: list[float], guard: DivergenceGuard, *more: pl.Callback, **arguments) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(
        **({"max_epochs": 1, "enable_checkpointing": False} | quiet | arguments), callbacks=[guard, *more]
    )
    trainer.fit(FollowsALine(), torch.utils.data.DataLoader(torch.tensor(numbers), batch_size=1))
    return trainer


class Count(pl.Callback):
    """Counts the steps that were taken."""

    steps = 0

    def on_train_batch_start(self, *_) -> None:
        self.steps += 1


@pytest.mark.parametrize(("behind", "taken"), [(0, 3), (2, 5), (9, 6)])
def test_the_step_is_named_however_late_its_figures_arrive(behind: int, taken: int) -> None:
    count = Count()
    with pytest.raises(Diverged, match=r"epoch 1, step 3 \(step 3 of the run\): loss nan, gradient norm nan"):
        follow([1.0, 2.0, math.nan, 4.0, 5.0, 6.0], DivergenceGuard(Settings(), behind), count)
    assert count.steps == taken


def test_an_infinite_gradient_is_one_too() -> None:
    with pytest.raises(Diverged, match=r"step 2 .*gradient norm inf, learning rate 0\.0002"):
        follow([1.0, math.inf], DivergenceGuard(Settings()))


@pytest.mark.parametrize("behind", [0, 2])
def test_an_epochs_norms_are_those_of_its_steps_before_they_are_clipped(behind: int) -> None:
    metrics = follow([1.0, 2.0, 9.0], DivergenceGuard(Settings(), behind), max_epochs=2).callback_metrics
    assert float(metrics["grad_norm"]) == pytest.approx(4.0)
    assert float(metrics["grad_norm_max"]) == pytest.approx(9.0)


def test_no_checkpoint_is_written_between_a_step_and_its_figures(tmp_path: Path) -> None:
    class Saves(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    with pytest.raises(Diverged, match="step 2 "):
        follow([1.0, math.nan, 3.0, 4.0], DivergenceGuard(Settings(), 2), Saves())
    assert not list(tmp_path.iterdir())


def test_the_loss_scaler_may_skip_some_steps_but_not_go_on_for_ever() -> None:
    half = Settings(trainer=TrainerConfig(precision="16-mixed"))
    follow([1.0, *[math.inf] * 20, 1.0], Overflow(half))
    with pytest.raises(Diverged, match=r"step 22 "):
        follow([1.0, *[math.inf] * 21, 1.0], Overflow(half))
    with pytest.raises(Diverged, match=r"step 2 .*loss nan"):
        follow([1.0, math.nan], DivergenceGuard(half))


class Overflow(DivergenceGuard):
    """Sees a finite loss at each step, and skipped steps as a loss scaler leaves them: without a change of weights."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        pl_module.network.weight.data.fill_(1.0)
        super().on_train_batch_end(trainer, pl_module, {"loss": torch.ones(())}, batch, batch_idx)


def test_weights_and_buffers_that_are_not_finite_are_named() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert first_not_finite(network) is None
    network[0].weight.data.fill_(3e38)  # finite, though its sum of squares is not
    assert first_not_finite(network) is None
    network[1].running_var[1] = math.inf
    assert first_not_finite(network) == "1.running_var"
    network[0].bias.data[0] = math.nan
    assert first_not_finite(network) == "0.bias"


def test_the_advice_is_of_settings_that_are_not_so_already() -> None:
    assert advice(Settings(trainer=TrainerConfig(precision="32-true"))) == [
        "--optim.lr=0.0001",
        "--optim.warmup_fraction=0.2",
    ]
    free = Settings(
        optim=OptimConfig(lr=0.5, gradient_clip_norm=0.0, warmup_fraction=0.3),
        trainer=TrainerConfig(precision="bf16-mixed"),
    )
    assert advice(free) == ["--optim.lr=0.001", "--optim.gradient_clip_norm=1", "--trainer.precision=32-true"]


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (Settings(optim=OptimConfig(weight_decay=100.0)), "--optim.weight_decay=0.05"),
        (Settings(optim=OptimConfig(weight_decay=100.0, lr=10.0)), "--optim.lr=0.001"),
        (Settings(optim=OptimConfig(unimodal_weight=50.0)), "--optim.unimodal_weight=1"),
        (Settings(optim=OptimConfig(focal_gamma=20.0, loss="focal")), "--optim.focal_gamma=2"),
        (Settings(optim=OptimConfig(focal_gamma=20.0)), "--optim.lr=0.0001"),
        (PretrainSettings(pretrain=PretrainConfig(temperature=0.01)), "--pretrain.temperature=0.2"),
        (PretrainSettings(pretrain=PretrainConfig(contrastive_weight=50.0)), "--pretrain.contrastive_weight=0.5"),
    ],
)
def test_the_advice_begins_with_what_is_farthest_from_its_default(settings: Settings, first: str) -> None:
    remedies = advice(settings)
    assert remedies[0] == first
    assert sum(remedy.startswith("--optim.lr=") for remedy in remedies) == 1


def test_a_run_that_diverges_fails_at_that_step_and_keeps_no_such_weights(
    phantom: Path, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(Diverged, match=r"epoch 1, step \d+ .* rate \S+e\+29\. What may help: --optim.lr=0.001[ ,]"):
        train_run(phantom, tmp_path, runaway(), store=store)
    (run,) = tmp_path.iterdir()
    state = read_state(run)
    assert state.state == "failed"
    assert "diverged in epoch 1" in str(state.error)
    assert not list(run.glob("checkpoints/*"))


def test_the_command_ends_in_one_line(phantom: Path, store: Path, tmp_path: Path, capsys) -> None:
    config = tmp_path / "run.json"
    config.write_text(json.dumps(plain_settings(runaway())))
    words = ["train", str(phantom), "--out", str(tmp_path / "runs"), "--store", str(store), "--config", str(config)]
    assert main([*words, "--optim.lr=100"]) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("mammo-aln train: the training diverged in "), err


@pytest.mark.slow
def test_two_ranks_end_together(phantom: Path, store: Path, tmp_path: Path) -> None:
    wild = runaway()
    config = tmp_path / "run.json"
    config.write_text(json.dumps(plain_settings(replace(wild, trainer=replace(wild.trainer, devices=2)))))
    words = [
        "train",
        str(phantom),
        "--out",
        str(tmp_path / "runs"),
        "--store",
        str(store),
        "--config",
        str(config),
        "--optim.lr=100",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mammo_aln", *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("mammo-aln train: the training diverged in epoch 1, step ")
    assert done.stderr.count("the training diverged") == 1, done.stderr
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert read_state(run).state == "failed"
    assert not list(run.glob("checkpoints/*"))


def test_a_pretraining_that_diverges_fails_likewise(phantom: Path, store: Path, tmp_path: Path) -> None:
    wild = runaway()
    settings = PretrainSettings(
        **{name: getattr(wild, name) for name in ("crop", "optim", "data", "trainer", "log", "seed")},
        model=replace(wild.model, inputs=("primary",)),
        pretrain=PretrainConfig(mode="contrastive"),
    )
    with pytest.raises(Diverged, match="epoch 1, step"):
        pretrain_run(phantom, tmp_path, settings, store=store)
    (run,) = tmp_path.iterdir()
    assert read_state(run).state == "failed"
    assert not list(run.glob("checkpoints/*"))


def test_norms_stand_in_the_table_of_metrics(phantom: Path, store: Path, tmp_path: Path) -> None:
    table = pd.read_csv(train_run(phantom, tmp_path, tiny_settings(epochs=2), store=store) / "metrics.csv")
    assert (table["grad_norm"] > 0).all()
    assert (table["grad_norm_max"] >= table["grad_norm"]).all()


@pytest.mark.slow
def test_a_sweep_does_not_try_a_diverged_cell_again_and_says_why(phantom: Path, store: Path, tmp_path: Path) -> None:
    file = tiny_sweep(tmp_path, epochs=1, grid={"optim.lr": [1e-3, 100.0]}, optim={"warmup_fraction": 0.0})
    out = tmp_path / "out"
    done = sweep("run", file, "--cohort", phantom, "--store", store, "--out", out)
    assert done.returncode == 1
    (record,) = out.glob("failures/*/*.json")
    assert json.loads(record.read_text())["again"] is False
    status = sweep("status", "--out", out)
    assert "the training diverged in " in status.stdout + status.stderr
