"""Free memory under a control group's limit, in the kernel's two layouts (cgroup-v1/memory.rst, cgroup-v2.rst)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mammo_aln.machine import memory
from mammo_aln.machine.memory import free_memory_gb, free_of_groups
from mammo_aln.machine.signals import die_with_parent


def written(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_jobs_limit_counts_in_version_2_and_its_file_cache_does_not(tmp_path: Path) -> None:
    written(tmp_path / "slurm/job_7/step_0", memory__max="max\n", memory__current="3000\n")
    stat = "anon 2500\ninactive_file 400\n"
    written(tmp_path / "slurm/job_7", memory__max="8000\n", memory__current="3000\n", memory__stat=stat)
    assert list(free_of_groups(["0::/slurm/job_7/step_0"], tmp_path)) == [5400]


def test_version_1_and_a_container_whose_own_group_is_the_root(tmp_path: Path) -> None:
    written(tmp_path / "memory", memory__limit_in_bytes="9000\n", memory__usage_in_bytes="1000\n")
    deep = tmp_path / "memory/a/b"
    written(deep, memory__limit_in_bytes="5000\n", memory__usage_in_bytes="4500\n")
    lines = ["8:pids:/x", "4:memory:/a/b", "1:name=systemd:/x"]
    assert sorted(free_of_groups(lines, tmp_path)) == [500, 8000]
    # Use counts the groups below, and so does `total_` alone.
    written(tmp_path / "memory", memory__stat="inactive_file 5\ntotal_inactive_file 300\n")
    assert sorted(free_of_groups(lines, tmp_path)) == [500, 8300]
    written(tmp_path, memory__max="700\n", memory__current="100\n")
    assert list(free_of_groups(["0::/"], tmp_path)) == [600]


def test_a_machine_without_a_limit_has_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel counts in units of 1024 bytes, whatever it calls them (proc_meminfo(5))."""
    monkeypatch.setattr(memory, "own_groups", list)

    def available_gb() -> float:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024 / 1e9

    for _ in range(20):  # others take and give memory meanwhile
        before, free, after = available_gb(), free_memory_gb(), available_gb()
        if abs(before - after) < 0.002 * before:
            break
    assert free == pytest.approx(before, rel=0.006)


def test_this_machine_has_some() -> None:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert 0 < free_memory_gb() <= int(total.split()[1]) * 1024 / 1e9


def test_a_programs_peak_is_its_own_and_not_that_of_the_process_that_started_it() -> None:
    ballast = b"1" * 400_000_000
    code = "from mammo_aln.machine.memory import peak_memory_gb; {}; print(peak_memory_gb())"
    peaks = [
        float(subprocess.run([sys.executable, "-c", code.format(own)], stdout=-1, preexec_fn=die_with_parent).stdout)
        for own in ("0", "x = b'1' * 200_000_000")
    ]
    assert len(ballast) / 1e9 > 2 * peaks[0]
    assert peaks[1] - peaks[0] == pytest.approx(0.2, abs=0.003)


FAULTS = """
import resource
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use(): return [len(b"x" * size) for size in (100_000_000, 3_000_000, 40_000_000)]
use()
before = faults()
use()
"""


def test_memory_that_is_freed_is_used_again_as_it_is() -> None:
    # 143 MB in pages of 4 kB: 34,900 pages, each cleared by the kernel at its first touch.
    keeping = "from mammo_aln.machine.memory import keep_freed_memory\nkeep_freed_memory()"
    counts = []
    for first in ("", keeping):
        words = [sys.executable, "-c", f"{first}\n{FAULTS}\nprint(faults() - before)"]
        counts.append(int(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
    given_back, kept = counts
    assert given_back > 20_000
    assert kept < 1000
