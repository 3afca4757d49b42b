"""Wherever a training stops, the same command ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mammo_aln.errors import Requeue
from mammo_aln.runs.record import read_state
from mammo_aln.settings import Settings
from mammo_aln.training import train as training
from mammo_aln.training.callbacks import RunRecorder
from mammo_aln.training.data.samplers import EpochSampler
from mammo_aln.training.summary import Summary
from mammo_aln.training.train import train_run
from tests.support.run_folders import same_run
from tests.support.tiny_settings import tiny_settings


def careful_settings(epochs: int = 6) -> Settings:
    """Whatever has a state: several steps an epoch, dropouts, averaged weights, early stopping, a loader process."""
    tiny = tiny_settings(epochs=epochs, drop_rate=0.3, modality_dropout=0.3, fusion="attention")
    return replace(
        tiny,
        data=replace(tiny.data, batch_size=4, num_workers=1),
        optim=replace(tiny.optim, class_weight="balanced"),
        trainer=replace(tiny.trainer, patience=1),
    )


@pytest.fixture(scope="module")
def undisturbed(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), careful_settings(), store=store)


def die_at(steps: list[int], cohort: Path, out: Path, store: Path) -> None:
    """Train in one child after another, each of which dies when its number of steps has been taken."""
    follow = RunRecorder.on_train_batch_end
    for step in steps:

        def follow_or_die(self, trainer, *rest, step=step) -> None:
            if trainer.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            follow(self, trainer, *rest)

        child = os.fork()
        if child == 0:
            RunRecorder.on_train_batch_end = follow_or_die
            train_run(cohort, out, careful_settings(), store=store)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_kill_9_at_random_steps_loses_nothing(undisturbed: Path, phantom: Path, store: Path, tmp_path: Path) -> None:
    metrics = pd.read_csv(undisturbed / "metrics.csv")
    per_epoch = int(metrics["step"].iloc[0])
    assert per_epoch >= 3, "an epoch must have a middle"
    rng = np.random.default_rng(0)
    # One in the middle of the first epoch, one of the last: each resumed by the next.
    steps = [int(epoch * per_epoch + rng.integers(1, per_epoch)) for epoch in (0, len(metrics) - 1)]
    code = "import sys; from pathlib import Path; from tests.training.test_resume import die_at\n"
    code += "die_at([*map(int, sys.argv[1].split(','))], *map(Path, sys.argv[2:]))"
    words = [sys.executable, "-c", code, ",".join(map(str, steps)), str(phantom), str(tmp_path), str(store)]
    died = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert died.returncode == 0, died.stderr
    same_run(train_run(phantom, tmp_path, careful_settings(), store=store), undisturbed)
    assert json.loads((tmp_path / undisturbed.name / "state.json").read_text())["attempts"] == 3


def cut_off(after: int, settings: Settings, cohort: Path, out: Path, store: Path) -> dict[str, object]:
    """Train until `after` steps were taken and the state of the last one is on the disk; returns its position."""

    def follow_and_fail(self, trainer, *rest) -> None:
        if trainer.global_step == after:
            self.checkpoints.wait()  # what is still being written is never due
        follow(self, trainer, *rest)
        if trainer.global_step == after:
            raise RuntimeError("power cut")

    follow = RunRecorder.on_train_batch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunRecorder, "on_train_batch_end", follow_and_fail)
        with pytest.raises(RuntimeError, match="power cut"):
            train_run(cohort, out, settings, store=store)
    (last,) = out.glob("*/checkpoints/last.ckpt")
    return dict(torch.load(last, weights_only=True)["place"])


@pytest.mark.parametrize(
    "road",
    [{"num_workers": 0}, {"num_workers": 2}, {"device_gb": 1.0}, {"device_gb": 1e-6}],
    ids=["one process", "loader processes", "crops on the device", "crops from main memory"],
)
def test_a_training_saved_by_time_within_its_epochs_ends_with_the_same_bits(
    road: dict[str, float], phantom: Path, store: Path, tmp_path: Path
) -> None:
    settings = careful_settings(epochs=3)
    settings = replace(
        settings,
        data=replace(settings.data, **{"num_workers": 0, **road}),
        # In parts: the backbone of a step is computed twice, and its draws must not move on by that.
        optim=replace(settings.optim, accumulate=2),
        trainer=replace(settings.trainer, patience=0, save_every_s=0.0),
    )
    whole = train_run(phantom, tmp_path / "whole", settings, store=store)
    per_epoch = int(pd.read_csv(whole / "metrics.csv")["step"].iloc[0])
    assert per_epoch >= 3, "an epoch must have a middle"
    for epoch, step in ((0, 2), (1, 1), (2, per_epoch - 1)):
        position = cut_off(epoch * per_epoch + step, settings, phantom, tmp_path / "cut", store)
        assert position == {"epoch": epoch, "step": step, "done": False}
    same_run(train_run(phantom, tmp_path / "cut", settings, store=store), whole)


def test_a_training_that_goes_on_otherwise_computed_says_so(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One thread more, or crops changed elsewhere, and figures are 1e-2 apart after some epochs."""
    settings = careful_settings(epochs=3)
    settings = replace(
        settings,
        data=replace(settings.data, num_workers=0, device_gb=0),
        trainer=replace(settings.trainer, save_every_s=0.0),
    )
    cut_off(2, settings, phantom, tmp_path, store)
    capsys.readouterr()
    cut_off(3, replace(settings, data=replace(settings.data, device_gb="auto")), phantom, tmp_path, store)
    assert "roundings" not in capsys.readouterr().err, "a CPU's auto is 0"
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        on_device = replace(settings, data=replace(settings.data, device_gb=1.0))
        train_run(phantom, tmp_path, on_device, store=store)
    finally:
        torch.set_num_threads(threads)
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "roundings" in each]
    assert f"goes on with OMP_NUM_THREADS={threads + 1}, data.device_gb=1.0 (crops changed where it trains)" in line
    assert f"where it had OMP_NUM_THREADS={threads}, data.device_gb=auto (crops changed by loaders)" in line


def test_the_seconds_of_a_training_are_those_of_all_its_attempts(phantom: Path, store: Path, tmp_path: Path) -> None:
    tiny = tiny_settings(epochs=2, inputs=("clinical",))
    settings = replace(tiny, data=replace(tiny.data, batch_size=4), trainer=replace(tiny.trainer, save_every_s=0.0))
    begun = time.monotonic()
    cut_off(1, settings, phantom, tmp_path, store)
    (last,) = tmp_path.glob("*/checkpoints/last.ckpt")
    state = torch.load(last, weights_only=True)
    assert 0 < state["callbacks"]["RunRecorder"]["trained_s"] < time.monotonic() - begun
    state["callbacks"]["RunRecorder"]["trained_s"] = 5000.0  # as if the first attempt had taken so long
    torch.save(state, last)
    cut_off(2, settings, phantom, tmp_path, store)
    run = train_run(phantom, tmp_path, settings, store=store)
    training_s = read_state(run).training_s
    assert training_s is not None
    assert 5000.0 < training_s < 5000.0 + time.monotonic() - begun
    assert f"trained in {training_s:.0f} s" in Summary.of_run(run).in_words(run)


def train_under_kills(kills: int, cohort: Path, out: Path, store: Path) -> int:
    """Train in children that are killed, each at a random instant; returns how many died while they wrote a file."""
    settings = careful_settings()
    settings = replace(
        settings,
        data=replace(settings.data, num_workers=0),
        trainer=replace(settings.trainer, save_every_s=0.0),
    )
    rng, in_writing = np.random.default_rng(0), 0
    for kill in range(kills + 1):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            train_run(cohort, out, settings, store=store)
            os._exit(0)
        if kill < kills:
            begun = {path: path.stat().st_mtime_ns for path in out.glob("*/state.json")}
            while {path: path.stat().st_mtime_ns for path in out.glob("*/state.json")} == begun:
                time.sleep(0.005)  # reading cohort and store is not what is killed here
            time.sleep(rng.uniform(0.05, 0.9))
            os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)[1]
        if ended == 0:
            return in_writing
        assert os.WTERMSIG(ended) == signal.SIGKILL, "it failed by itself"
        in_writing += any(out.glob("*/checkpoints/.*.part")) or any(out.glob("*/checkpoints/next_best.ckpt"))
    raise AssertionError("the last child was not killed and has not ended")


@pytest.mark.slow
def test_kill_9_at_any_instant_while_checkpoints_are_written_loses_nothing(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    code = "import sys; from pathlib import Path; from tests.training.test_resume import train_under_kills\n"
    code += "print(train_under_kills(20, *map(Path, sys.argv[1:])))"
    words = [sys.executable, "-c", code, str(phantom), str(tmp_path), str(store)]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= 3, "few kills fell into the writing of a file"
    run = tmp_path / undisturbed.name
    assert json.loads((run / "state.json").read_text())["attempts"] >= 5
    same_run(run, undisturbed)
    best = [torch.load(each / "checkpoints" / "best.ckpt", weights_only=True) for each in (run, undisturbed)]
    assert best[0]["epoch"] == best[1]["epoch"]
    assert all(torch.equal(value, best[1]["state_dict"][name]) for name, value in best[0]["state_dict"].items())
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize(("sent", "at"), [(signal.SIGTERM, 0.4), (signal.SIGUSR1, 1.0), (signal.SIGUSR2, 1.7)])
def test_a_schedulers_signal_saves_the_very_step(
    sent: signal.Signals,
    at: float,
    undisturbed: Path,
    phantom: Path,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    per_epoch = int(pd.read_csv(undisturbed / "metrics.csv")["step"].iloc[0])
    step, told = max(1, round(at * per_epoch)), RunRecorder.on_train_batch_end

    def signalled(self, trainer, *rest) -> None:
        if trainer.global_step == step:
            os.kill(os.getpid(), sent)
        told(self, trainer, *rest)

    before = signal.getsignal(sent)
    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "on_train_batch_end", signalled)
        with pytest.raises(Requeue, match=sent.name):
            train_run(phantom, tmp_path, careful_settings(), store=store)
    assert signal.getsignal(sent) == before
    last = torch.load(tmp_path / undisturbed.name / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == step
    assert last["place"] == {"epoch": step // per_epoch, "step": step % per_epoch, "done": False}
    mapped = []
    maps = Path("/proc/self/maps")
    monkeypatch.setattr(RunRecorder, "on_train_batch_end", lambda *_: mapped.append("last.ckpt" in maps.read_text()))
    resumed = train_run(phantom, tmp_path, careful_settings(), store=store)
    assert len(mapped) == pd.read_csv(undisturbed / "metrics.csv")["step"].iloc[-1] - step
    assert not any(mapped), "a file that was replaced still takes the disk's space"
    same_run(resumed, undisturbed)


def test_a_signal_after_the_last_step_is_answered_too(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def noted(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        patch.setattr(RunRecorder, "on_train_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Requeue, match="SIGTERM"):
            train_run(phantom, tmp_path, careful_settings(), store=store)
    assert not (tmp_path / undisturbed.name / "predictions.csv").exists()
    assert sum("/.metrics.csv." in path for path in synced) == 1, (
        "the last epoch's rows must be on the disk: a finished run is not settled"
    )
    same_run(train_run(phantom, tmp_path, careful_settings(), store=store), undisturbed)


def test_death_between_the_last_epoch_and_freezing_trains_nothing_more(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early stopping's decision outlives the process."""
    epochs = len(pd.read_csv(undisturbed / "metrics.csv"))
    assert epochs < careful_settings().trainer.max_epochs, "the run must have stopped early to show anything"
    with monkeypatch.context() as patch:
        patch.setattr(training, "_freeze", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
        with pytest.raises(RuntimeError, match="power cut"):
            train_run(phantom, tmp_path, careful_settings(), store=store)
    same_run(train_run(phantom, tmp_path, careful_settings(), store=store), undisturbed)


def test_a_resumed_order_is_the_rest_of_the_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = EpochSampler(10, seed=3, shuffle=True, batch_size=4)
    sampler.set_epoch(5)
    whole = list(sampler)
    resumed = EpochSampler(10, seed=3, shuffle=True, batch_size=4, begin=(5, 1))
    assert list(resumed) == whole[4:]  # though nobody has named the epoch yet
    assert len(resumed) == len(whole)
    resumed.set_epoch(6)
    sampler.set_epoch(6)
    assert list(resumed) == list(sampler)
