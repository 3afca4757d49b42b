"""A sweep's jobs as a login node follows them, by programs that answer in SLURM's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mammo_aln.errors import InputError
from mammo_aln.machine.slurm_ends import JobEnd
from mammo_aln.settings import ClusterConfig, Settings, TrainerConfig
from mammo_aln.sweeps.cell import Failure, failures, record_failure
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.slurm import queue as queue_module
from mammo_aln.sweeps.slurm.ends import JOB_CANCELLED, Verdict, verdict
from mammo_aln.sweeps.slurm.queue import Queue
from mammo_aln.sweeps.withheld import reason_withheld
from tests.support.slurm_cluster import Cluster, at_work
from tests.support.slurm_programs import slurm_programs

ON_CPU = replace(Settings(), trainer=TrainerConfig(accelerator="cpu"))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of SLURM's programs."""
    with slurm_programs(tmp_path / "state", monkeypatch) as state:
        yield state


def test_a_sweep_has_at_most_max_jobs_in_the_queue_over_all_its_arrays(programs: Path, tmp_path: Path) -> None:
    names = "abcdefghij"
    _, queue, slurm, completed = at_work(programs, tmp_path / "out", names, max_jobs=4)
    while queue.waiting:
        slurm.look(queue)
        assert len(slurm.jobs) <= 4
        for job in list(slurm.jobs)[:3]:
            run_id = next(run_id for run_id, given in queue.jobs.items() if given == job)
            slurm.ends(job, "COMPLETED", completed=run_id[0])
    assert slurm.most == 4
    assert sorted(completed) == list(names)
    assert len(set(queue.jobs.values())) == len(names)


def end_of_one(programs: Path, out: Path, word: str, code: str = "0:0", **cluster: Any) -> tuple[Plan, Queue, Cluster]:
    """A sweep of one cell whose job ended so, looked at once more."""
    plan, queue, slurm, _ = at_work(programs, out, "a", **cluster)
    slurm.look(queue)
    (job,) = slurm.jobs
    slurm.ends(job, word, code)
    slurm.look(queue)
    return plan, queue, slurm


def test_a_job_that_was_cancelled_stays_so_until_its_cell_is_retried(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, queue, slurm = end_of_one(programs, tmp_path / "out", "CANCELLED")
    assert (queue.waiting, slurm.jobs) == ([], {})
    assert reason_withheld(plan.out, "a" * 12) == JOB_CANCELLED
    assert failures(plan, plan.cells[0]) == []
    assert "mammo-aln sweep retry aaaaaaaaaaaa" in capsys.readouterr().err
    (plan.out / "withheld" / f"{'a' * 12}.json").unlink()  # what `sweep retry` does
    assert queue._more(None)
    slurm.look(queue)
    assert list(slurm.jobs) == ["9"]


@pytest.mark.parametrize(("word", "code"), [("PREEMPTED", "0:15"), ("FAILED", "75:0")])
def test_a_pre_empted_job_is_submitted_again_and_counts_for_nothing(
    programs: Path, tmp_path: Path, word: str, code: str
) -> None:
    plan, _, slurm = end_of_one(programs, tmp_path / "out", word, code, retries=0)
    assert list(slurm.jobs) == ["9"]
    assert failures(plan, plan.cells[0]) == []


@pytest.mark.parametrize(
    ("word", "code", "words"),
    [
        ("TIMEOUT", "0:15", "was ended at its time limit of 30 min, before its step was saved"),
        ("OUT_OF_MEMORY", "0:125", r"used more memory than it had asked for \(cluster.mem_gb: 4 GB\)"),
        ("NODE_FAIL", "0:0", "lost its node"),
        ("FAILED", "0:9", "signal 9"),
        ("FAILED", "137:0", "signal 9"),
        ("FAILED", "1:0", "exit code 1"),
    ],
)
def test_how_a_job_ended_is_told_and_it_is_tried_again_as_often_as_asked(
    programs: Path, tmp_path: Path, word: str, code: str, words: str
) -> None:
    plan, queue, slurm = end_of_one(programs, tmp_path / "out", word, code, retries=1, time_min=30, mem_gb=4)
    (failure,) = failures(plan, plan.cells[0])
    assert re.search(words, failure.error)
    slurm.ends(*slurm.jobs, word, code)
    slurm.look(queue)
    assert (queue.waiting, slurm.jobs, len(failures(plan, plan.cells[0]))) == ([], {}, 2)


def test_a_time_limit_that_the_job_recorded_is_not_tried_again(programs: Path, tmp_path: Path) -> None:
    plan, queue, slurm, _ = at_work(programs, tmp_path / "out", "a")
    slurm.look(queue)
    record_failure(plan, plan.cells[0], Failure("its SLURM job 8 has run into its time limit", again=False))
    slurm.ends("8", "FAILED", "1:0")
    slurm.look(queue)
    assert (queue.waiting, slurm.jobs, len(failures(plan, plan.cells[0]))) == ([], {}, 1)


def test_records_that_are_not_seen_yet_are_waited_for(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, queue, slurm = end_of_one(programs, tmp_path / "out", "COMPLETED")
    assert (len(queue.waiting), slurm.jobs, failures(plan, plan.cells[0])) == (1, {}, [])
    monkeypatch.setattr(queue_module, "SETTLE_S", 0.0)
    slurm.look(queue)
    assert "its cell is not completed" in failures(plan, plan.cells[0])[0].error


def test_several_cells_of_a_job_blame_the_one_that_it_was_at(programs: Path, tmp_path: Path) -> None:
    plan, queue, slurm, completed = at_work(programs, tmp_path / "out", "abcde", cells_per_job=3)
    slurm.look(queue)
    assert [queue.jobs[name * 12] for name in "abcde"] == ["8_0"] * 3 + ["8_1"] * 2
    (plan.out / "slurm" / "8_0.begun").write_text(f"{'a' * 12}\n{'b' * 12}\n")
    slurm.ends("8_0", "FAILED", "0:11", completed="a")
    slurm.look(queue)
    assert completed == ["a"]
    assert [len(failures(plan, cell)) for cell in plan.cells] == [0, 1, 0, 0, 0]
    assert [queue.jobs[name * 12] for name in "bc"] == ["9", "9"]


def test_a_silent_scheduler_ends_nothing(programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, queue, slurm, completed = at_work(programs, tmp_path / "out", "ab")
    (programs / "silent").touch()
    slurm.look(queue)
    assert "jobs go on; this command waits" in capsys.readouterr().err
    (programs / "silent").unlink()
    slurm.look(queue)
    assert sorted(slurm.jobs) == ["8_0", "8_1"]
    (programs / "silent").touch()
    slurm.ends("8_0", "COMPLETED", completed="a")
    slurm.look(queue)
    assert completed == ["a"]
    assert [cell.run_id[0] for cell in queue.waiting] == ["b"]
    assert failures(plan, plan.cells[1]) == []


def test_jobs_that_slurm_never_starts_are_told_once(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, queue, slurm, _ = at_work(programs, tmp_path / "out", "ab")
    slurm.look(queue)
    (programs / "queue").write_text("8_0|PENDING|(PartitionTimeLimit)\n8_1|PENDING|(PartitionTimeLimit)\n")
    queue._work()
    queue._work()
    assert capsys.readouterr().err.count("ask for less time (cluster.time_min), or another partition") == 1


def test_a_full_queue_is_waited_for_and_an_empty_one_refuses(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, queue, slurm, _ = at_work(programs, tmp_path / "out", "abc")
    (programs / "room").write_text("1")
    slurm.look(queue)
    slurm.look(queue)
    assert len(slurm.jobs) == 1
    assert "the others are submitted as these end" in capsys.readouterr().err
    slurm.ends(*slurm.jobs, "COMPLETED", completed="a")
    with pytest.raises(InputError, match="SLURM refuses the jobs"):
        queue._work()


def test_cells_are_asked_for_as_jobs_end(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search's trials: the next one is asked for with the number of free jobs and what ended meanwhile."""
    plan, queue, slurm, _ = at_work(programs, tmp_path / "out", "abcd", max_jobs=2)
    queue.waiting.clear()
    left = list(plan.cells)
    asked: list[tuple[int, str]] = []

    def further(free: int, ended: Sequence[Cell]) -> Sequence[Cell]:
        asked.append((free, "".join(cell.run_id[0] for cell in ended)))
        return [left.pop(0) for _ in range(min(free, len(left)))]

    def rest(_: float) -> None:
        """Jobs that wait begin and those that run end while the command waits."""
        slurm.jobs |= dict.fromkeys(queue._alive(), "RUNNING")
        done = [run_id for run_id, job in queue.jobs.items() if job in slurm.jobs][:1]
        for run_id in done:
            slurm.ends(queue.jobs[run_id], "COMPLETED", completed=run_id[0])
        slurm.show()

    monkeypatch.setattr(queue_module.time, "sleep", rest)
    queue.run([], further)
    assert asked[0] == (2, "")
    assert "".join(ended for _, ended in asked) == "abcd"
    assert max(free for free, _ in asked) == 2


MEANINGS: list[tuple[JobEnd | None, Callable[[Verdict], bool]]] = [
    (JobEnd("CANCELLED", 75), lambda meaning: meaning == Verdict(order=JOB_CANCELLED)),
    (JobEnd("CANCELLED", 0, 15), lambda meaning: meaning == Verdict(order=JOB_CANCELLED)),
    (JobEnd("FAILED", 75), lambda meaning: meaning == Verdict()),
    (None, lambda meaning: "SLURM does not know it any more" in (meaning.fault or "")),
    (JobEnd("DEADLINE", 0), lambda meaning: "DEADLINE" in (meaning.fault or "")),
]


@pytest.mark.parametrize(("end", "is_right"), MEANINGS)
def test_an_end_means_an_order_a_fault_or_nothing(end: JobEnd | None, is_right: Callable[[Verdict], bool]) -> None:
    assert is_right(verdict("3_1", end, ClusterConfig(), began=True))
