"""Cores and GPUs that jobs ask for, of clusters whose `sinfo` says what real ones print."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mammo_aln.errors import InputError
from mammo_aln.machine.slurm import controllers_down, require_controller
from mammo_aln.machine.slurm_request import Node, Request, parse_nodes, request_of, time_limit_min
from mammo_aln.settings import ClusterConfig, TrainerConfig

SINFO = """cpu*|64+|(null)
gpu|48|gpu:a100:4(S:0-1)
gpu|16|gpu:2
mixed|32|gpu:v100:2(S:0),gpu:t4:2(S:1),nvme:1
large|128|gpu:h100:4
"""


@pytest.fixture
def sinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `sinfo` that prints the lines of the partition it is asked for, as the real one does, and logs the question."""
    program = tmp_path / "bin" / "sinfo"
    program.parent.mkdir()
    lines = tmp_path / "lines"
    lines.write_text(SINFO)
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/asked\n'
        f'for word in "$@"; do case $word in --partition=*) grep "^${{word#*=}}[*|]" {lines}; exit 0;; esac; done\n'
        f"cat {lines}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    return tmp_path / "asked"


def test_lines_of_sinfo_are_nodes() -> None:
    assert parse_nodes(SINFO) == [Node(64, 0), Node(48, 4), Node(16, 2), Node(32, 4), Node(128, 4)]
    assert parse_nodes(SINFO, default_alone=True) == [Node(64, 0)]


@pytest.mark.parametrize(
    ("trainer", "workers", "cluster", "request_"),
    [
        ({"accelerator": "cpu"}, "auto", {}, Request(None, None)),
        ({"accelerator": "cpu"}, 3, {}, Request(4, None)),
        ({"accelerator": "cpu"}, 3, {"cpus_per_task": 2}, Request(2, None)),
        ({"accelerator": "auto"}, "auto", {}, Request(None, None)),  # the default partition has no GPU
        ({"accelerator": "auto", "devices": 2}, "auto", {"partition": "gpu"}, Request(8, 2)),  # 16 cores for 2 GPUs
        ({"accelerator": "gpu"}, "auto", {"partition": "mixed"}, Request(8, 1)),
        ({"accelerator": "gpu"}, "auto", {"partition": "large"}, Request(9, 1)),  # one trains, eight load
        ({"accelerator": "gpu", "devices": 4}, 5, {"partition": "gpu"}, Request(6, 4)),
        ({"accelerator": "auto"}, "auto", {"partition": "gpu", "gpus_per_node": 0}, Request(None, 0)),
        ({"accelerator": "gpu"}, 2, {"gpus_per_node": 8}, Request(3, 8)),
    ],
)
def test_a_job_asks_for_what_its_settings_use(sinfo: Path, trainer, workers, cluster, request_: Request) -> None:
    assert request_of(TrainerConfig(**trainer), workers, ClusterConfig(**cluster)) == request_


def test_nothing_is_asked_of_sinfo_where_the_settings_say_it_all(sinfo: Path) -> None:
    request_of(TrainerConfig(accelerator="gpu"), 4, ClusterConfig())
    request_of(TrainerConfig(accelerator="cpu"), "auto", ClusterConfig())
    assert not sinfo.exists()


def test_a_cluster_that_does_not_answer_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"--cluster\.gpus_per_node=N"):
        request_of(TrainerConfig(accelerator="auto"), 2, ClusterConfig())


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("01:00:00", 60), ("00:00:30", 1), ("12:00:01", 721), ("1-12:00:00", 2160), ("2-00:30", 2910), ("0-1:2:3", 63)],
)
def test_a_time_as_slurm_writes_it_is_minutes_rounded_up(time: str, minutes: int) -> None:
    assert time_limit_min(ClusterConfig(time=time, time_min=5)) == minutes


@pytest.mark.parametrize("time", ["60", "90:00", "1 day", "00:00:00", "01:75:00", "3600"])
def test_a_time_that_is_none_or_could_be_two_is_refused(time: str) -> None:
    with pytest.raises(InputError, match=r"cluster\.time"):
        time_limit_min(ClusterConfig(time=time))


@pytest.mark.parametrize(
    ("answer", "down"),
    [
        ("Slurmctld(primary) at vm is DOWN\n*****\n** RESTORE SLURMCTLD DAEMON TO SERVICE **\n*****\n", ["vm"]),
        ("Slurmctld(primary) at vm is UP\n", []),
        ("Slurmctld(primary) at one is DOWN\nSlurmctld(backup) at two is UP\n", []),
        ("Slurmctld(primary) at one is DOWN\nSlurmctld(backup1) at two is DOWN\n", ["one", "two"]),
        ("", []),
    ],
)
def test_slurm_is_down_where_each_of_its_controllers_is(answer: str, down: list[str]) -> None:
    """What `scontrol ping` of SLURM 22.05 prints."""
    assert controllers_down(answer) == down


def test_a_dead_controller_is_told_at_once() -> None:
    if shutil.which("scontrol") is None or subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0:
        pytest.skip("needs SLURM without a running controller")
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"DOWN\): no job can be submitted; .*scontrol ping"):
        require_controller()
    assert time.monotonic() - begun < 20
