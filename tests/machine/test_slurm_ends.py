"""Ends of SLURM's jobs, as its controller and its accounting tell them. Its programs answer in its words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mammo_aln.machine import slurm_ends
from mammo_aln.machine.slurm import SchedulerSilentError
from mammo_aln.machine.slurm_ends import JobEnd, await_jobs, await_left, end_in_words, job_end
from mammo_aln.settings import ClusterConfig
from tests.support.slurm_programs import slurm_programs


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of SLURM's programs."""
    with slurm_programs(tmp_path / "state", monkeypatch) as state:
        yield state


@pytest.mark.parametrize(
    ("state", "code", "end"),
    [
        ("TIMEOUT", "0:15", JobEnd("TIMEOUT", 0, 15)),
        ("CANCELLED", "0:0", JobEnd("CANCELLED", 0, 0)),
        ("FAILED", "75:0", JobEnd("FAILED", 75, 0)),
    ],
)
def test_the_controller_remembers_how_a_job_ended(programs: Path, state: str, code: str, end: JobEnd) -> None:
    (programs / "ends").write_text(
        f"JobId=12_3 ArrayJobId=11 JobName=cells JobState={state} Reason=None Requeue=1 ExitCode={code} RunTime=1\n"
    )
    assert job_end("12_3") == end
    assert job_end("99") is None


@pytest.mark.parametrize(
    "line",
    [
        "echo 'slurm_load_jobs error: Invalid job id specified' >&2",
        "echo 'Job 12_3 not found'",  # a task that was cancelled while it waited, on standard output
    ],
)
def test_a_job_that_the_controller_has_forgotten_is_no_silence_of_it(programs: Path, line: str) -> None:
    (programs / "scontrol").write_text(f"#!/bin/sh\n{line}\nexit 1\n")
    assert job_end("12_3") is None


def accounting(state: Path, line: str, code: int = 0) -> None:
    """Put a sacct beside the other programs."""
    (state / "sacct").write_text(f"#!/bin/sh\n{line}\nexit {code}\n")
    (state / "sacct").chmod(0o755)


@pytest.mark.parametrize(
    ("line", "code", "end"),
    [
        ("echo 'CANCELLED by 1000|0:0'", 0, JobEnd("CANCELLED")),
        ("echo 'TIMEOUT|0:15'", 0, JobEnd("TIMEOUT", 0, 15)),
        ("echo 'Slurm accounting storage is disabled' >&2", 1, None),
        ("true", 0, None),
    ],
)
def test_what_the_controller_has_forgotten_the_accounting_tells(
    programs: Path, line: str, code: int, end: JobEnd | None
) -> None:
    accounting(programs, line, code)
    assert job_end("12_3") == end


def test_an_accounting_that_is_away_is_no_word_that_the_job_is_unknown(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounting(programs, "echo 'sacct: error: Problem talking to the database: Connection refused' >&2", 1)
    with pytest.raises(SchedulerSilentError, match=r"sacct does not answer: .*Connection refused"):
        job_end("12_3")
    accounting(programs, "exec sleep 20")
    monkeypatch.setattr(slurm_ends, "ANSWER_S", 0.2)
    with pytest.raises(SchedulerSilentError, match="sacct has not answered"):
        job_end("12_3")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (None, "ended without a word"),
        (JobEnd("CANCELLED", 0, 15), "was cancelled (scancel)"),
        (JobEnd("COMPLETED"), "ended in good order"),
        (JobEnd("PREEMPTED", 0, 15), "was pre-empted"),
        (JobEnd("FAILED", 75), "was pre-empted, or stopped by a signal, with its state saved"),
        (JobEnd("TIMEOUT", 0, 15), "was ended at its time limit of 30 min"),
        (JobEnd("OUT_OF_MEMORY", 0, 125), "used more memory than it had asked for (cluster.mem_gb: 4 GB)"),
        (JobEnd("NODE_FAIL"), "lost its node (NODE_FAIL)"),
        (JobEnd("FAILED", 139), "ended by signal 11 (FAILED)"),
        (JobEnd("FAILED", 0, 9), "ended by signal 9 (FAILED)"),
        (JobEnd("FAILED", 255), "ended by exit code 255 (FAILED)"),
    ],
)
def test_an_end_in_words(end: JobEnd | None, words: str) -> None:
    assert end_in_words(end, ClusterConfig(time_min=30, mem_gb=4)).startswith(words)


def test_jobs_are_waited_for_until_they_are_over_and_their_ends_returned(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One waits for ever and is told; one leaves the queue and comes back, as a requeued job of a moment ago."""
    (programs / "queue").write_text("8_0|RUNNING|None\n8_1|PENDING|(PartitionTimeLimit)\n")
    looks = iter(
        [
            ("8_1|PENDING|(PartitionTimeLimit)\n", "JobId=8_0 JobState=COMPLETING Reason=None ExitCode=0:0\n"),
            ("8_0|RUNNING|None\n", "JobId=8_1 JobState=CANCELLED Reason=None ExitCode=0:0\n"),
            ("", "JobId=8_0 JobState=COMPLETED Reason=None ExitCode=0:0\n"),
        ]
    )

    def rest(seconds: float) -> None:
        if seconds != 0.5:
            return  # another's
        queue, ends = next(looks)
        (programs / "queue").write_text(queue)
        (programs / "ends").write_text(ends)

    monkeypatch.setattr(slurm_ends.time, "sleep", rest)
    ends = await_jobs(["8_0", "8_1"], "jobs", poll_s=0.5)
    assert ends == {"8_0": JobEnd("COMPLETED"), "8_1": JobEnd("CANCELLED")}
    assert capsys.readouterr().err.count("SLURM does not start job 8_1 (PartitionTimeLimit)") == 1


@pytest.mark.parametrize(("state", "looked"), [("COMPLETED", 3), ("CANCELLED", 1)])
def test_what_a_job_left_in_good_order_may_be_seen_late(state: str, looked: int) -> None:
    looks: list[int] = []

    def look() -> str | None:
        looks.append(1)
        return "there" if len(looks) == 3 else None

    assert await_left(look, JobEnd(state), poll_s=0.01) == ("there" if looked == 3 else None)
    assert len(looks) == looked
