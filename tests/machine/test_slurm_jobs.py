"""Jobs as SLURM gets them: their scripts, arrays, and how they leave at a warning. Its programs answer in its words."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammo_aln.errors import ExitCode, InputError
from mammo_aln.machine import slurm
from mammo_aln.machine.slurm import Outage, SchedulerSilentError
from mammo_aln.machine.slurm_jobs import BEGUN_AT, RequeuedJob, Terms, submit
from mammo_aln.machine.slurm_request import Request
from mammo_aln.settings import ClusterConfig
from tests.support.slurm_programs import slurm_programs


class Nap(RequeuedJob):
    """Waits until a signal ends it; what it said is kept."""

    def __init__(self, sent: signal.Signals | None = None) -> None:
        self.sent = sent

    def work(self) -> str:
        if self.sent is not None:
            os.kill(os.getpid(), self.sent)
            time.sleep(5)
        return "done"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of SLURM's programs."""
    with slurm_programs(tmp_path / "state", monkeypatch) as state:
        yield state


def script_of(state: Path, jobs: int, cluster: ClusterConfig, folder: Path, **more: object) -> str:
    submit([Nap()] * jobs, folder, "cells", cluster, **more)
    return (state / "script.8").read_text()


def test_what_a_cluster_asks_for_stands_in_the_script(programs: Path, tmp_path: Path) -> None:
    cluster = ClusterConfig(
        partition="gpu",
        time="1-00:00:01",
        setup=("module load cuda/12", "source ~/env/bin/activate"),
        python="apptainer exec --nv /images/aln.sif python",
        environment={"NCCL_DEBUG": "INFO", "NOTE": "two words"},
        srun_args=("--mpi=none",),
        signal_lead_s=240,
        extra={"constraint": "a100"},
    )
    text = script_of(programs, 1, cluster, tmp_path / "jobs", request=Request(8, 2))
    asked = set(re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE))
    assert asked >= {"partition=gpu", "time=1441", "signal=USR2@240", "constraint=a100", "cpus-per-task=8",
                     "gpus-per-node=2", "requeue", "job-name=cells"}  # fmt: skip
    before, _, rest = text.partition("\nsrun ")
    lines = before.splitlines()
    assert lines.index("module load cuda/12") + 1 == lines.index("source ~/env/bin/activate")
    assert {"export NCCL_DEBUG=INFO", "export NOTE='two words'"} <= set(lines)
    command = rest.splitlines()[0]
    assert "--mpi=none apptainer exec --nv /images/aln.sif python -u -m submitit.core._submit" in command
    look = ["shellcheck", "--exclude=SC1090", "-"] if shutil.which("shellcheck") else ["bash", "-n"]
    checked = subprocess.run(look, input=text, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do case $1 in --output|--error) shift;; esac; shift; done
exec "$@"
"""
APPTAINER = """#!/bin/sh
printf '%s\\n' "$@" > {state}/container
while [ "${{1%.sif}}" = "$1" ]; do shift; done
shift
exec "$@"
"""


def test_a_container_s_command_line_starts_the_job_and_its_script_ends_as_the_job_does(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The programs `srun` and `apptainer` take their own words off and run the rest, as those do."""
    image = tmp_path / "an image" / "aln.sif"
    python = f"apptainer exec --nv --bind /data {shlex.quote(str(image))} {sys.executable}"
    cluster = ClusterConfig(
        python=python, environment={"NOTE": "two words"}, setup=('test "$NOTE" = "two words" || exit 9',)
    )
    for name, text in (("srun", SRUN), ("apptainer", APPTAINER.format(state=programs))):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    submit([Nap()], tmp_path / "jobs", "cells", cluster)
    of_a_job = {
        "JOB_ID": "8",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
        "NTASKS": "1",
        "JOB_NUM_NODES": "1",
        "JOB_NODELIST": "n1",
    }
    for name, value in of_a_job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    done = subprocess.run(["bash", programs / "script.8"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = (programs / "container").read_text().splitlines()
    assert words[:5] == ["exec", "--nv", "--bind", "/data", str(image)]
    assert words[5:] == [sys.executable, "-u", "-m", "submitit.core._submit", str(tmp_path / "jobs")]
    assert pickle.loads((tmp_path / "jobs" / "8_0_result.pkl").read_bytes()) == ("success", "done")


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("wckey", [None, "breast"])
def test_a_wckey_is_sent_only_where_it_is_given(programs: Path, tmp_path: Path, jobs: int, wckey: str | None) -> None:
    text = script_of(programs, jobs, ClusterConfig(wckey=wckey), tmp_path / "jobs")
    assert re.findall(r"--(wckey\S*)", text) == ([f"wckey={wckey}"] if wckey else [])


def test_an_array_is_split_where_slurm_allows_no_longer_one(programs: Path, tmp_path: Path) -> None:
    ids = submit([Nap()] * 15, tmp_path / "jobs", "cells", ClusterConfig())
    assert ids == [f"8_{n}" for n in range(6)] + [f"9_{n}" for n in range(6)] + [f"10_{n}" for n in range(3)]
    assert all(f"--array=0-{last}%" in (programs / f"script.{number}").read_text() for number, last in
               ((8, 5), (9, 5), (10, 2)))  # fmt: skip


def test_where_slurm_takes_few_jobs_of_a_user_as_many_are_submitted(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (programs / "room").write_text("4")
    assert len(submit([Nap()] * 9, tmp_path / "jobs", "cells", ClusterConfig())) == 4
    assert "4 of 9 jobs are submitted, and no more of them now" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"SLURM refuses the jobs: .*submit limit"):
        submit([Nap()] * 2, tmp_path / "jobs", "cells", ClusterConfig())


def test_a_controller_that_is_away_is_another_thing_than_a_refusal(programs: Path, tmp_path: Path) -> None:
    (programs / "silent").touch()
    with pytest.raises(SchedulerSilentError, match="Unable to contact"):
        submit([Nap()] * 2, tmp_path / "jobs", "cells", ClusterConfig())


def test_a_job_that_submits_does_not_hand_its_own_variables_down(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_CONF", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "12")
    submit([Nap()], tmp_path / "jobs", "cells", ClusterConfig())
    assert sorted((programs / "variables").read_text().split()) == ["SBATCH_ACCOUNT=12", "SLURM_CONF=12"]
    assert os.environ["SLURM_JOB_ID"] == "12"


@pytest.mark.parametrize("option", ["time", "signal", "array"])
def test_an_option_that_jobs_rely_on_is_a_setting(programs: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match=rf"cluster\.extra: {option}: .*cluster\."):
        submit([Nap()], tmp_path / "jobs", "cells", ClusterConfig(extra={option: "1"}))


@pytest.mark.parametrize(
    ("sent", "ran_min", "limits"),
    [
        (signal.SIGUSR2, 58.5, ["1"]),  # the warning before the time limit
        (signal.SIGUSR1, 20, []),  # a pre-emption that warns: it counts for nothing
        (signal.SIGTERM, 58.5, []),  # pre-empted, with a grace time; the script knows a cancelled job
    ],
)
def test_a_job_that_is_to_leave_asks_its_script_to_requeue_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent, ran_min, limits: list[str]
) -> None:
    job = _in_a_job(tmp_path, monkeypatch, sent, ran_min)
    with pytest.raises(SystemExit) as left:
        job()
    assert left.value.code == ExitCode.AGAIN == 75
    assert (tmp_path / "requeue.5").exists()
    assert [path.read_text().strip() for path in tmp_path.glob("limits.5")] == limits


def test_a_job_is_requeued_so_often_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = _in_a_job(tmp_path, monkeypatch, signal.SIGUSR2, 59)
    codes = []
    for _ in range(3):
        (tmp_path / "requeue.5").unlink(missing_ok=True)
        with pytest.raises(SystemExit) as left:
            job()
        codes.append(left.value.code)
    assert codes == [75, 75, 1]
    assert not (tmp_path / "requeue.5").exists()
    assert "run into its time limit of 60 min 3 times (cluster.requeues=2)" in capsys.readouterr().err


def test_a_job_without_a_signal_returns_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _in_a_job(tmp_path, monkeypatch, None, 1)() == "done"


def _in_a_job(folder: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals | None, ran_min: float) -> Nap:
    """A job of 60 minutes, two requeues and a warning of 90 s, that began so long ago."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv(BEGUN_AT, str(time.time() - 60 * ran_min))
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    job = Nap(sent)
    job.terms = Terms(folder, 60, 90, 2)
    return job


def test_a_silence_is_told_once_a_minute_and_borne_for_an_hour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(slurm.time, "monotonic", lambda: clock[0])
    outage, error = Outage(), SchedulerSilentError("squeue does not answer")
    for _ in range(3600 // 5):
        outage.bear(error)
        clock[0] += 5
    lines = capsys.readouterr().err.splitlines()
    assert 59 <= len(lines) <= 61
    assert "silent for 30 min" in lines[30]
    outage.end()
    assert "answers again, after 3600 s" in capsys.readouterr().err
    outage.bear(error)
    clock[0] += 3700
    with pytest.raises(InputError, match="has not answered for 62 min"):
        outage.bear(error)
