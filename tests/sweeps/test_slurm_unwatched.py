"""Jobs that end while no command looks are told and respected by the next one, by programs in SLURM's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from mammo_aln.runs.record import write_state
from mammo_aln.sweeps.cell import Failure, failures, record_failure
from mammo_aln.sweeps.orders import retry_cells
from mammo_aln.sweeps.slurm.ends import JOB_CANCELLED, NEVER_BEGAN
from mammo_aln.sweeps.slurm.jobs import note_begun
from mammo_aln.sweeps.standing.states import STOPPED, queue_of, standing
from mammo_aln.sweeps.withheld import CANCELLED, reason_withheld, withhold
from tests.support.slurm_cluster import command, left_alone, planned
from tests.support.slurm_programs import slurm_programs


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of SLURM's programs."""
    with slurm_programs(tmp_path / "state", monkeypatch) as state:
        yield state


ALONE: list[tuple[str, str, str | None, str, int]] = [
    ("CANCELLED", "0:15", JOB_CANCELLED, "mammo-aln sweep retry aaaaaaaaaaaa --out", 0),
    ("TIMEOUT", "0:15", None, "its SLURM job 8 was ended at its time limit", 1),
    ("NODE_FAIL", "0:0", None, "its SLURM job 8 lost its node", 1),
    ("OUT_OF_MEMORY", "0:125", None, "used more memory", 1),
    ("FAILED", "1:0", None, "its SLURM job 8 ended by exit code 1", 1),
    ("FAILED", "75:0", None, "pre-empted with its step saved", 0),
    ("PREEMPTED", "0:15", None, "pre-empted with its step saved", 0),
]


@pytest.mark.parametrize(("word", "code", "reason", "words", "tries"), ALONE)
def test_a_job_that_ended_while_no_command_looked_is_told_by_the_next_one(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    word: str, code: str, reason: str | None, words: str, tries: int,
) -> None:  # fmt: skip
    plan, slurm = left_alone(programs, tmp_path / "out", "a")
    slurm.ends("8", word, code)
    for _ in range(2):  # the second one has nothing more to tell
        queue, slurm, _ = command(programs, plan)
        slurm.look(queue)
        assert reason_withheld(plan.out, "a" * 12) == reason
        assert len(failures(plan, plan.cells[0])) == tries
        assert list(slurm.jobs) == ([] if reason else ["9"])
    assert capsys.readouterr().err.count(words) == (2 if reason else 1)


@pytest.mark.parametrize(("began", "tries"), [(False, 0), (True, 1)])
def test_a_job_that_nobody_knows_any_more_was_cancelled_if_it_never_began(
    programs: Path, tmp_path: Path, began: bool, tries: int
) -> None:
    """SLURM without accounting forgets after MinJobAge; a job that begins leaves a log."""
    plan, slurm = left_alone(programs, tmp_path / "out", "a")
    slurm.jobs.clear()
    slurm.show()
    if began:
        (plan.out / "slurm" / "8_0_log.err").touch()
    queue, slurm, _ = command(programs, plan)
    slurm.look(queue)
    assert reason_withheld(plan.out, "a" * 12) == (None if began else NEVER_BEGAN)
    assert (list(slurm.jobs), len(failures(plan, plan.cells[0]))) == (["9"] if began else [], tries)


def test_what_a_job_recorded_itself_while_no_command_looked_is_told_and_counts_once(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, slurm = left_alone(programs, tmp_path / "out", "a")
    record_failure(plan, plan.cells[0], Failure("the labels are all of one class", again=False))
    slurm.ends("8", "COMPLETED")
    queue, slurm, _ = command(programs, plan)
    slurm.look(queue)
    assert "config=net_a, seed=0: the labels are all of one class" in capsys.readouterr().err
    assert (list(slurm.jobs), len(failures(plan, plan.cells[0]))) == (["9"], 1)


def test_a_cancelled_job_of_several_cells_leaves_those_that_it_had_not_completed(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, slurm = left_alone(programs, tmp_path / "out", "abcdef", cells_per_job=3)
    (plan.out / "slurm" / "8_0.begun").write_text(f"{'a' * 12}\n{'b' * 12}\n")
    slurm.ends("8_0", "CANCELLED", "0:15", completed="a")
    queue, slurm, completed = command(programs, plan, cells_per_job=3)
    slurm.jobs["8_1"] = "RUNNING"
    slurm.show()
    slurm.look(queue)
    assert completed == ["a"]
    assert [reason_withheld(plan.out, name * 12) for name in "abcdef"] == [None, *[JOB_CANCELLED] * 2, *[None] * 3]
    assert list(slurm.jobs) == ["8_1"]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "cancelled" in line]
    assert line == (
        f"config=net_b, seed=0; config=net_c, seed=0: {JOB_CANCELLED}; they are left as is, until"
        f" `mammo-aln sweep retry {'b' * 12} {'c' * 12} --out {plan.out}`"
    )


@pytest.mark.parametrize("is_watched", [True, False])
@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETED"])
def test_an_end_that_an_order_brought_about_is_no_new_order_after_the_retry(
    programs: Path, tmp_path: Path, is_watched: bool, state: str
) -> None:
    """`sweep cancel` takes a job that waits from the queue, and has one that runs end in good order; then `retry`."""
    plan, slurm = left_alone(programs, tmp_path / "out", "a")
    queue, slurm, _ = command(programs, plan)
    if is_watched:
        slurm.jobs = {"8": "RUNNING"}
        slurm.look(queue)
    withhold(plan.out, ["a" * 12], CANCELLED)
    slurm.jobs = {"8": "RUNNING"}
    slurm.ends("8", state)
    if is_watched:
        slurm.look(queue)
        assert queue.waiting == []
    retry_cells(plan.out, ["a" * 12])
    if is_watched:
        assert queue._more(None)
    slurm.look(queue)
    assert (reason_withheld(plan.out, "a" * 12), failures(plan, plan.cells[0])) == (None, [])
    assert list(slurm.jobs) == ["9"]


def test_a_job_that_comes_to_a_cell_after_its_retry_is_answerable_for_it(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    plan, slurm = left_alone(programs, tmp_path / "out", "a")
    withhold(plan.out, ["a" * 12], CANCELLED)
    retry_cells(plan.out, ["a" * 12])
    note_begun(plan, plan.cells[0])
    slurm.ends("8", "FAILED", "0:9")
    queue, slurm, _ = command(programs, plan)
    slurm.look(queue)
    assert len(failures(plan, plan.cells[0])) == 1


def test_a_job_of_another_user_that_goes_on_is_left_to_go_on(programs: Path, tmp_path: Path) -> None:
    """squeue lists one's own jobs; a colleague's command may have submitted those of a shared folder."""
    plan, slurm = left_alone(programs, tmp_path / "out", "a")
    slurm.ends("8", "RUNNING")
    queue, slurm, _ = command(programs, plan)
    slurm.look(queue)
    assert (len(queue.waiting), slurm.jobs, failures(plan, plan.cells[0])) == (1, {}, [])


def test_two_commands_that_look_at_once_submit_one_job_for_a_cell(programs: Path, tmp_path: Path) -> None:
    sbatch = programs / "sbatch"
    sbatch.write_text(sbatch.read_text().replace("#!/bin/sh\n", "#!/bin/sh\nsleep 1\n"))
    (programs / "squeue").write_text(f"#!/bin/sh\nsed 's/.*/&|PENDING|None/' {programs}/number\n")
    plan = planned(tmp_path / "out", "a")
    queues = [command(programs, plan)[0] for _ in range(2)]
    threads = [Thread(target=queue._work) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (programs / "number").read_text() == "8\n"
    assert [queue.jobs for queue in queues] == [{"a" * 12: "8"}] * 2


def test_a_status_tells_of_a_job_whose_end_is_still_to_be_told(programs: Path, tmp_path: Path) -> None:
    plan, slurm = left_alone(programs, tmp_path / "out", "ab")
    slurm.ends("8_0", "CANCELLED")
    states = [standing(plan, cell, queue=queue_of(plan)) for cell in plan.cells]
    gone = "its SLURM job 8_0 has left the queue; the sweep's command tells how"
    assert [(one.state, one.note) for one in states] == [("not_started", gone), ("starting", "job 8_1")]
    write_state(plan.runs / ("a" * 12), "stopped")
    assert standing(plan, plan.cells[0], queue=queue_of(plan)).note == f"{STOPPED}; {gone}"
    queue, slurm, _ = command(programs, plan)
    slurm.jobs["8_1"] = "RUNNING"
    slurm.show()
    slurm.look(queue)
    assert standing(plan, plan.cells[0], queue=queue_of(plan)).note == JOB_CANCELLED
    (programs / "silent").touch()
    assert queue_of(plan) is None
