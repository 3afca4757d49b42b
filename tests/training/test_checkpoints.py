"""Checkpoints are written beside the training, whole, in an order that leaves a state to go on from at any instant."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mammo_aln.errors import InputError
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.origin import read_checkpoint
from mammo_aln.settings import TrainerConfig
from mammo_aln.training.checkpoints import RunCheckpoints, prune, refuse_other_ranks, settle, snapshot
from mammo_aln.training.frozen_facts import FrozenFacts
from tests.support.full_disk import room_for


def last_state(weight: torch.Tensor, best_epoch: int) -> dict[str, Any]:
    rows = [{"epoch": epoch, "val_auc": 0.5} for epoch in range(best_epoch + 1)]
    return {"state_dict": {"w": weight}, "callbacks": {"RunRecorder": {"best_epoch": best_epoch, "rows": rows}}}


def read(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return tmp_path / "run"


def test_a_snapshot_keeps_values_sharing_and_structure() -> None:
    network = torch.nn.BatchNorm2d(2)
    network.twin = network.weight
    state = {"state_dict": network.state_dict(), "steps": [1, (2.5, "x")], "strided": torch.arange(6).view(2, 3).T}
    taken = snapshot(state)
    with torch.no_grad():
        network.weight += 1
    state["steps"].append(3)
    assert taken["steps"] == [1, (2.5, "x")]
    assert torch.equal(taken["strided"], torch.arange(6).view(2, 3).T)
    assert torch.equal(taken["state_dict"]["weight"], torch.ones(2))
    assert taken["state_dict"]["weight"].data_ptr() == taken["state_dict"]["twin"].data_ptr()
    assert taken["state_dict"]._metadata == network.state_dict()._metadata


def test_the_file_holds_the_step_of_the_save_though_training_goes_on_before_it_is_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, gate, save = torch.zeros(3), threading.Event(), torch.save

    def save_late(*words: Any) -> None:
        gate.wait(10)
        save(*words)

    monkeypatch.setattr(torch, "save", save_late)
    with RunCheckpoints(run / "checkpoints", save_every_s=0.0) as checkpoints:
        assert checkpoints.due
        checkpoints.save_checkpoint(last_state(weight, -1), run / "checkpoints" / "last.ckpt")
        weight += 1  # the next step
        assert not checkpoints.due, "the one before is not on the disk"
        gate.set()
    assert torch.equal(read(run / "checkpoints" / "last.ckpt")["state_dict"]["w"], torch.zeros(3))


def test_a_save_waits_for_the_one_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers would put the older state over the newer one."""
    path, at_once, most, save = run / "checkpoints" / "last.ckpt", [0], [0], torch.save

    def save_slowly(content: Any, *words: Any) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.2 if float(content["state_dict"]["w"]) == 1 else 0.0)
        save(content, *words)
        at_once[0] -= 1

    monkeypatch.setattr(torch, "save", save_slowly)
    with RunCheckpoints(run / "checkpoints", save_every_s=0.0) as checkpoints:
        for number in (1.0, 2.0):
            checkpoints.save_checkpoint(last_state(torch.tensor(number), -1), path)
    assert most == [1]
    assert float(read(path)["state_dict"]["w"]) == 2


def test_the_best_epochs_weights_are_those_of_its_end(run: Path) -> None:
    """They are written with the next save, many steps later."""
    weight = torch.zeros(3)
    with RunCheckpoints(run / "checkpoints", save_every_s=0.0) as checkpoints:
        checkpoints.keep_best({"epoch": 0, "state_dict": {"w": weight}})
        weight += 1
        checkpoints.save_checkpoint(last_state(weight, 0), run / "checkpoints" / "last.ckpt")
    assert torch.equal(read(run / "checkpoints" / "best.ckpt")["state_dict"]["w"], torch.zeros(3))


def test_best_weights_of_a_training_that_saved_nothing_else_are_not_kept(run: Path) -> None:
    torch.save({"epoch": 0, "state_dict": {}}, run / "checkpoints" / "next_best.ckpt")
    settle(run)
    assert not list((run / "checkpoints").iterdir())


def test_a_training_goes_on_with_its_own_number_of_ranks_until_it_is_done(run: Path) -> None:
    two = TrainerConfig(devices=2)
    refuse_other_ranks(run, two)  # nothing to go on with
    state = {**last_state(torch.zeros(1), -1), "ranks": {"devices": 1, "num_nodes": 1}}
    for done in (False, True):
        torch.save({**state, "place": {"epoch": 1, "step": 0, "done": done}}, run / "checkpoints" / "last.ckpt")
        refuse_other_ranks(run, TrainerConfig())
        with nullcontext() if done else pytest.raises(InputError, match=r"--trainer\.devices=1 --trainer\.num_nodes=1"):
            refuse_other_ranks(run, two)


def test_time_alone_makes_the_next_save_due(run: Path) -> None:
    with RunCheckpoints(run / "checkpoints", save_every_s=3600.0) as checkpoints:
        assert not checkpoints.due
    with RunCheckpoints(run / "checkpoints", save_every_s=0.0) as checkpoints:
        assert checkpoints.due


def test_at_every_instant_best_and_last_are_of_one_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own calls: what is renamed was on the disk before, and each state between two calls is settled."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def noted(kind: str, path: str | Path) -> None:
        calls.append((kind, Path(path).name.split(".ckpt")[0].lstrip(".")))
        shutil.copytree(run, run.parent / f"instant_{len(calls)}")

    def noted_fsync(handle: int) -> None:
        noted("sync", os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        noted("rename", target)
        return replace(self, target)

    folder = run / "checkpoints"
    with RunCheckpoints(folder, save_every_s=0.0) as checkpoints:
        checkpoints.keep_best({"epoch": 0, "state_dict": {"w": torch.full((3,), 0.5)}})
        checkpoints.save_checkpoint(last_state(torch.zeros(3), 0), folder / "last.ckpt")
        checkpoints.wait()
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "replace", noted_replace)
        checkpoints.keep_best({"epoch": 4, "state_dict": {"w": torch.full((3,), 4.5)}})
        checkpoints.save_checkpoint(last_state(torch.full((3,), 4.0), 4), folder / "last.ckpt")
    monkeypatch.undo()
    written = [("sync", "next_best"), ("rename", "next_best"), ("sync", "checkpoints")]
    written += [("sync", "last"), ("rename", "last"), ("sync", "checkpoints")]
    assert calls == [*written, ("rename", "best"), ("sync", "checkpoints")]
    instants = [run.parent / f"instant_{number}" for number in range(1, len(calls) + 1)]
    epochs = []
    for instant in [*instants, run]:
        settle(instant)
        last, best = (read(instant / "checkpoints" / name) for name in ("last.ckpt", "best.ckpt"))
        assert best["epoch"] == last["callbacks"]["RunRecorder"]["best_epoch"]
        assert torch.equal(best["state_dict"]["w"], last["state_dict"]["w"] + 0.5)
        assert sorted(path.name for path in (instant / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
        assert len(pd.read_csv(instant / "metrics.csv")) == best["epoch"] + 1
        epochs.append(best["epoch"])
    assert epochs == [0] * 5 + [4] * 4


def test_a_disk_that_fails_is_told_at_the_next_look_and_at_the_end(run: Path) -> None:
    (run / "checkpoints" / "last.ckpt" / "in_the_way").mkdir(parents=True)
    path = run / "checkpoints" / "last.ckpt"
    checkpoints = RunCheckpoints(run / "checkpoints", save_every_s=0.0)

    def save_and_look() -> None:
        checkpoints.save_checkpoint(last_state(torch.zeros(1), -1), path)
        while not checkpoints.due:
            pass

    with pytest.raises(InputError, match=r"last\.ckpt: cannot be written \(Is a directory\)$"):
        save_and_look()

    def save_and_end() -> None:
        with checkpoints:
            checkpoints.save_checkpoint(last_state(torch.zeros(1), -1), path)

    with pytest.raises(InputError, match=r"last\.ckpt: cannot be written"):
        save_and_end()

    def fail_after_save() -> None:
        with checkpoints:
            checkpoints.save_checkpoint(last_state(torch.zeros(1), -1), path)
            raise ValueError("loss")

    with pytest.raises(ValueError, match="loss") as told:
        fail_after_save()
    assert "was not written either" in told.value.__notes__[0]


def test_a_best_epoch_whose_weights_are_gone_is_refused(run: Path) -> None:
    folder = run / "checkpoints"
    with RunCheckpoints(folder, save_every_s=0.0) as checkpoints:
        checkpoints.save_checkpoint(last_state(torch.zeros(1), 2), folder / "last.ckpt")
    with pytest.raises(InputError, match=r"best\.ckpt is not there, .* epoch 3 was the best"):
        settle(run)
    torch.save({"epoch": 0}, folder / "best.ckpt")
    with pytest.raises(InputError, match=r"best\.ckpt is of epoch 1, .* epoch 3 was the best"):
        settle(run)


@pytest.mark.parametrize("kept", [0, 100, 700])
@pytest.mark.parametrize(
    "read_it",
    [
        lambda run: refuse_other_ranks(run, TrainerConfig()),
        settle,
        lambda run: FrozenFacts.of_checkpoint(run / "checkpoints" / "last.ckpt"),
        lambda run: AxillaryClassifier.load(run / "checkpoints" / "last.ckpt"),
        lambda run: read_checkpoint(run / "checkpoints" / "last.ckpt"),
    ],
)
def test_a_checkpoint_that_was_cut_short_is_named_with_what_to_do(
    kept: int, read_it: Callable[[Path], object], run: Path
) -> None:
    last = run / "checkpoints" / "last.ckpt"
    torch.save(last_state(torch.zeros(100), 2), last)
    os.truncate(last, kept)
    with pytest.raises(InputError, match=r"last\.ckpt.*(train anew|train the run anew|whole and of)") as told:
        read_it(run)
    assert len(str(told.value).splitlines()) == 1
    assert "weights_only" not in str(told.value)
    assert "PytorchStreamReader" not in str(told.value)


def test_pruning_leaves_what_predicts(run: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        (run / "checkpoints" / name).write_bytes(b"x")
    prune(run)
    prune(run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["best.ckpt"]


@pytest.mark.parametrize("weights", [100, 100_000])
def test_a_file_that_may_not_grow_is_told_in_the_systems_words_and_the_last_checkpoint_stays(
    weights: int, run: Path
) -> None:
    folder = run / "checkpoints"
    with RunCheckpoints(folder, save_every_s=0.0) as checkpoints:
        checkpoints.save_checkpoint(last_state(torch.zeros(3), 0), folder / "last.ckpt")
    checkpoints = RunCheckpoints(folder, save_every_s=0.0)
    with room_for(100):
        checkpoints.save_checkpoint(last_state(torch.ones(weights), 1), folder / "last.ckpt")
        words = r"last\.ckpt: cannot be written \(File too large\); a file may have 0\.00 MB here: raise that limit"
        with pytest.raises(InputError, match=rf"{words} \(ulimit -f\), then the same command goes on$"):
            checkpoints.wait()
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    assert torch.equal(read(folder / "last.ckpt")["state_dict"]["w"], torch.zeros(3))


def test_a_best_checkpoint_that_cannot_get_its_name_is_told(run: Path) -> None:
    folder = run / "checkpoints"
    (folder / "best.ckpt" / "in_the_way").mkdir(parents=True)
    checkpoints = RunCheckpoints(folder, save_every_s=0.0)
    checkpoints.keep_best({"epoch": 0, "state_dict": {"w": torch.zeros(3)}})
    checkpoints.save_checkpoint(last_state(torch.zeros(3), 0), folder / "last.ckpt")
    with pytest.raises(InputError, match=r"best.ckpt: cannot be written \(Is a directory\)$"):
        checkpoints.wait()
