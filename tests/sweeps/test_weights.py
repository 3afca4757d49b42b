"""Weights that a sweep makes first: by one process at a time, and never on the machine that submits."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mammo_aln.errors import InputError
from mammo_aln.machine.slurm_request import Request
from mammo_aln.runs.lock import RunIsHeld
from mammo_aln.settings import ClusterConfig, DataConfig, PretrainSettings, TrainerConfig
from mammo_aln.sweeps.planning import weights
from mammo_aln.sweeps.planning.definition import Point
from mammo_aln.sweeps.planning.weights import PretrainJob
from mammo_aln.training.pretraining import pretrain

ON_GPUS = replace(
    PretrainSettings(),
    trainer=TrainerConfig(accelerator="gpu", devices=4, num_nodes=2),
    data=DataConfig(num_workers=3),
)


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was submitted; the jobs end at once."""
    asked: list[dict[str, Any]] = []

    def submit(calls: object, folder: Path, name: str, cluster: ClusterConfig, **more: Any) -> list[str]:
        asked.append(more)
        return ["7_0"]

    monkeypatch.setattr(weights, "submit", submit)
    monkeypatch.setattr(weights, "await_jobs", lambda *_: None)
    monkeypatch.setattr(pretrain, "pretrain_run", lambda *_, **__: pytest.fail("trained where it was submitted"))
    return asked


def test_a_job_without_weights_is_told_and_nothing_is_trained_where_it_was_submitted(
    submitted: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "finished_weights", lambda *_, **__: None)
    (tmp_path / "7_0_0_log.err").write_text("srun: error: out of memory\n")
    job = PretrainJob(tmp_path, tmp_path / "pretrain", ON_GPUS, None)
    with pytest.raises(InputError, match=r"job 7_0 ended without weights: srun: error: out of memory"):
        weights.weights_by_slurm(job, tmp_path, ClusterConfig())
    assert submitted == [{"nodes": 2, "tasks_per_node": 4, "request": Request(4, 4)}]


def test_weights_that_are_there_need_no_job(
    submitted: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "finished_weights", lambda *_, **__: tmp_path / "pretrained.safetensors")
    made = weights.weights_by_slurm(PretrainJob(tmp_path, tmp_path, ON_GPUS, None), tmp_path, ClusterConfig())
    assert made == str(tmp_path / "pretrained.safetensors")
    assert submitted == []


@pytest.mark.parametrize(
    ("label", "folds", "refused"), [("aln_status", 5, True), ("aln_status:binary", 5, True), ("aln_status", 0, False),
                                    ("birads", 5, False)]
)  # fmt: skip
def test_a_pre_training_on_the_outcome_is_refused_beside_folds(label: str, folds: int, refused: bool) -> None:
    settings = replace(PretrainSettings(), pretrain=replace(PretrainSettings().pretrain, labels=(label,)))
    point = Point({}, {}, {"data": {"folds": folds}})
    with pytest.raises(InputError, match="validate on folds") if refused else nullcontext():
        weights.refuse_outcome(point, settings)


def test_a_second_command_waits_for_the_pre_training_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries: list[int] = []

    def held_twice(*_: object, **__: object) -> Path:
        tries.append(1)
        if len(tries) < 3:
            raise RunIsHeld("process 1 is training this run")
        return tmp_path / "pretrained.safetensors"

    monkeypatch.setattr(pretrain, "pretrain_run", held_twice)
    monkeypatch.setattr(weights, "POLL_S", 0.0)
    assert PretrainJob(tmp_path, tmp_path, PretrainSettings(), None).work() == str(tmp_path / "pretrained.safetensors")
    assert capsys.readouterr().err.count("waiting for the pre-training") == 1
