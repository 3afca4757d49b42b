"""Cores that a process may use: its affinity, and the quota of its control groups (cgroup-v1, cgroup-v2.rst)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammo_aln.machine.cores import loader_processes, usable_cores


def every_core() -> set[int]:
    """Cores that this process may be bound to, whatever it is bound to now."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, own)
    return every


AFFINITY = len(every_core())
needs_two = pytest.mark.skipif(AFFINITY < 2, reason="a quota below the affinity needs two cores")


@pytest.fixture(autouse=True)
def _unbound() -> Iterator[None]:
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, every_core())
    yield
    os.sched_setaffinity(0, own)


def written(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@needs_two
def test_the_tightest_quota_above_a_job_counts_in_version_2(tmp_path: Path) -> None:
    written(tmp_path / "slurm/job_7/step_0", cpu__max="max 100000\n")
    lines = ["0::/slurm/job_7/step_0"]
    assert usable_cores(lines, tmp_path) == AFFINITY
    written(tmp_path / "slurm/job_7", cpu__max="100000 100000\n")
    assert usable_cores(lines, tmp_path) == 1
    written(tmp_path / "slurm/job_7", cpu__max="150000 100000\n")  # the half core is used, not thrown away
    assert usable_cores(lines, tmp_path) == 2


@needs_two
def test_version_1_names_its_mount_by_one_controller_or_by_several(tmp_path: Path) -> None:
    lines = ["8:pids:/x", "4:cpu,cpuacct:/docker/7", "1:name=systemd:/x"]
    written(tmp_path / "a/cpu/docker/7", **{"cpu__cfs_quota_us": "100000\n", "cpu__cfs_period_us": "100000\n"})
    assert usable_cores(lines, tmp_path / "a") == 1
    written(tmp_path / "b/cpu,cpuacct", **{"cpu__cfs_quota_us": "50000\n", "cpu__cfs_period_us": "50000\n"})
    assert usable_cores(lines, tmp_path / "b") == 1  # a container: its own group is the mount's root
    written(tmp_path / "b/cpu,cpuacct", **{"cpu__cfs_quota_us": "-1\n", "cpu__cfs_period_us": "50000\n"})
    assert usable_cores(lines, tmp_path / "b") == AFFINITY


@needs_two
def test_a_group_of_cpuset_sets_no_quota_of_cpu(tmp_path: Path) -> None:
    """Version 1: `cpu` is no part of a name, and the same path in its mount is another group's."""
    quota = {"cpu__cfs_quota_us": "50000\n", "cpu__cfs_period_us": "50000\n"}
    written(tmp_path / "cpu/others", **quota)
    assert usable_cores(["5:cpuset:/others", "4:cpu:/"], tmp_path) == AFFINITY
    written(tmp_path / "cpu", **quota)
    assert usable_cores(["5:cpuset:/others", "4:cpu:/"], tmp_path) == 1


def test_a_quota_above_the_affinity_adds_no_core_and_one_below_a_core_leaves_one(tmp_path: Path) -> None:
    written(tmp_path, cpu__max=f"{1000 * 100000} 100000\n")
    assert usable_cores(["0::/"], tmp_path) == AFFINITY
    written(tmp_path, cpu__max="20000 100000\n")
    assert usable_cores(["0::/"], tmp_path) == 1


def test_a_process_bound_to_one_core_has_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from mammo_aln.machine.cores import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("asked", "on_gpu", "batches", "ranks", "cores", "expected"),
    [
        (3, False, 1, 8, 1, 3),  # as asked, whatever there is
        (0, True, 100, 1, 64, 0),
        ("auto", True, 100, 1, 64, 8),
        ("auto", True, 100, 8, 64, 7),  # eight ranks share the cores
        ("auto", True, 100, 8, 16, 0),
        ("auto", True, 100, 1, 4, 3),
        ("auto", True, 7, 1, 64, 0),  # a small split
        ("auto", True, 8, 1, 64, 8),
        ("auto", False, 100, 1, 64, 0),  # a CPU computes the network
    ],
)
def test_loader_processes_take_the_cores_that_a_rank_has_to_spare(
    asked, on_gpu: bool, batches: int, ranks: int, cores: int, expected: int
) -> None:
    assert loader_processes(asked, on_gpu=on_gpu, batches=batches, ranks=ranks, cores=cores) == expected
