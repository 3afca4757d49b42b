"""Weights that a sweep makes first: by one process at a time, and never on the machine that submits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mammo_aln.errors import InputError
from mammo_aln.machine import slurm_ends
from mammo_aln.runs.lock import RunIsHeld
from mammo_aln.settings import ClusterConfig, DataConfig, PretrainSettings, TrainerConfig
from mammo_aln.sweeps.planning import weights
from mammo_aln.sweeps.planning.definition import Point
from mammo_aln.sweeps.planning.weights import PretrainJob
from mammo_aln.training.pretraining import pretrain
from tests.support.slurm_programs import slurm_programs

ON_GPUS = replace(
    PretrainSettings(),
    trainer=TrainerConfig(accelerator="gpu", devices=4, num_nodes=2),
    data=DataConfig(num_workers=3),
)


PRE_TRAINING = ClusterConfig(poll_s=0.011)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of SLURM's programs; nothing may be trained where jobs are submitted."""
    monkeypatch.setattr(pretrain, "pretrain_run", lambda *_, **__: pytest.fail("trained where it was submitted"))
    with slurm_programs(tmp_path / "state", monkeypatch) as state:
        yield state


def weights_when(programs: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Have the weights be there once a file is."""
    monkeypatch.setattr(pretrain, "finished_weights", lambda *_, **__: file if file.is_file() else None)


def test_a_job_without_weights_is_told_and_nothing_is_trained_where_it_was_submitted(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_when(programs, monkeypatch, tmp_path / "never")
    (programs / "ends").write_text("JobId=8 JobState=FAILED Reason=None ExitCode=1:0\n")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "8_0_log.err").write_text("srun: error: Unable to create step\n")
    job = PretrainJob(tmp_path, tmp_path / "pretrain", ON_GPUS, None)
    words = r"job 8 ended by exit code 1 \(FAILED\), without weights: srun: error: Unable to create step"
    with pytest.raises(InputError, match=words):
        weights.weights_by_slurm(job, tmp_path, PRE_TRAINING)
    script = (programs / "script.8").read_text()
    for option in ("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=4"):
        assert f"#SBATCH --{option}\n" in script
    assert (programs / "number").read_text() == "8\n"


def test_weights_that_are_there_need_no_job(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pretrained.safetensors").touch()
    weights_when(programs, monkeypatch, tmp_path / "pretrained.safetensors")
    made = weights.weights_by_slurm(PretrainJob(tmp_path, tmp_path, ON_GPUS, None), tmp_path, PRE_TRAINING)
    assert made == str(tmp_path / "pretrained.safetensors")
    assert (programs / "number").read_text() == "7\n"


def test_a_later_command_waits_for_the_job_of_a_former_one_or_tells_how_that_ended(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first command is left by Ctrl-C; the second finds the job; the third finds that somebody cancelled it."""
    file = tmp_path / "pretrained.safetensors"
    weights_when(programs, monkeypatch, file)
    job = PretrainJob(tmp_path, tmp_path / "pretrain", ON_GPUS, None)

    def interrupt(seconds: float) -> None:
        if seconds == PRE_TRAINING.poll_s:
            raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(slurm_ends.time, "sleep", interrupt)
            with pytest.raises(KeyboardInterrupt):
                weights.weights_by_slurm(job, tmp_path, PRE_TRAINING)
        (programs / "queue").write_text("8|RUNNING|None\n")
    assert (programs / "number").read_text() == "8\n"
    said = capsys.readouterr().err
    assert "SLURM job 8 of a former command is at it; this one waits for it" in said
    assert said.count("1 job stays in SLURM's queue and go on; to stop them: scancel 8") == 2
    (programs / "queue").write_text("")
    (programs / "ends").write_text(
        "JobId=8 JobState=CANCELLED Reason=None ExitCode=0:15\nJobId=9 JobState=COMPLETED Reason=None ExitCode=0:0\n"
    )
    submit = weights.submit

    def submit_and_train(*given: Any, **more: Any) -> list[str]:
        file.touch()
        return submit(*given, **more)

    monkeypatch.setattr(weights, "submit", submit_and_train)
    assert weights.weights_by_slurm(job, tmp_path, PRE_TRAINING) == str(file)
    assert "its former SLURM job 8 was cancelled (scancel); another one follows" in capsys.readouterr().err
    file.unlink()
    weights.weights_by_slurm(job, tmp_path, PRE_TRAINING)
    assert "former SLURM job" not in capsys.readouterr().err, "how job 9 ended is known"


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
