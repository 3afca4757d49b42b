"""Cost of decoding in processes that may die, against a checkout from before they came."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cohort import SYNTAXES, write_bench_cohort
from benchmarks.imaging import work_folder
from benchmarks.page import ROOT, Section, table
from benchmarks.rounds import Times

ROWS, COLUMNS = 2048, 1664


@dataclass(frozen=True)
class Cost:
    """Seconds of one build, its processes and their start included."""

    wall: float
    processor: float


def cage(before: str = "3f9ae22", images: int = 96, rounds: int = 3, folder: Path | None = None) -> Section:
    """Building crops in processes that may die, against the last commit before them.

    Args:
        before: that commit; it is compared with the one that is checked out, uncommitted changes left aside.
        images: mammograms.
        rounds: rounds in turn.
        folder: where the temporary files lie.
    """
    rows, loads = [], []
    with work_folder(folder) as root:
        checkouts = [_taken_out(commit, root / name) for commit, name in ((before, "before"), ("HEAD", "now"))]
        cohort = write_bench_cohort(root / "cage", ROWS, COLUMNS, images)
        for path in sorted((cohort / "dicom").iterdir()):  # into the page cache
            path.read_bytes()
        for workers in (2, 1):
            costs: dict[Path, list[Cost]] = {checkout: [] for checkout in checkouts}
            for checkout in _in_turn(checkouts, rounds):
                costs[checkout].append(_build(checkout, cohort, workers))
                loads.append(os.getloadavg()[0])
            for name, kind in (("wall", "wall-clock"), ("processor", "processor")):
                then, now = (Times(tuple(getattr(cost, name) for cost in of)).each(images) for of in costs.values())
                ratio = now.median / then.median
                rows.append([workers, kind, then.words(1e-3), now.words(1e-3), f"{ratio:.3f}x (at most 1.03)"])
    about = (
        f"{images} MLO views of {ROWS} x {COLUMNS}, 12 bit, {', '.join(SYNTAXES)} in equal parts, files in the page "
        f"cache; eight crops an image into an empty store; before: commit {before}; median "
        f"(range) of {rounds} rounds in turn; user and system time of all processes, their start included; load "
        f"{min(loads):.1f} to {max(loads):.1f}"
    )
    header = ["processes", "ms an image", "before", "now", "now is"]
    return Section("Pixel path: decoding in processes that may die", about, table(header, rows))


def _taken_out(commit: str, folder: Path) -> Path:
    """Write a commit's files to a folder, so that nobody's edits change them meanwhile."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x"], cwd=folder, check=True, input=packed)
    return folder


def _in_turn(checkouts: list[Path], rounds: int) -> Iterator[Path]:
    """Yield each checkout once a round, the first of one round being the last of the next."""
    for number in range(rounds):
        yield from checkouts if number % 2 == 0 else reversed(checkouts)


def _build(checkout: Path, cohort: Path, workers: int) -> Cost:
    store = cohort / ".crops"
    shutil.rmtree(store, ignore_errors=True)
    code = (
        "import sys; from pathlib import Path; from benchmarks.cohort import build_store\n"
        "build_store(Path(sys.argv[1]), Path(sys.argv[2]), strategy='all', workers=int(sys.argv[3]))"
    )
    begun, spent = time.perf_counter(), _processor_s()
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, "-c", code, str(cohort), str(store), str(workers)]
    subprocess.run(command, check=True, cwd=checkout, env=environment, stderr=subprocess.DEVNULL)
    return Cost(time.perf_counter() - begun, _processor_s() - spent)


def _processor_s() -> float:
    """Seconds that all ended children, and theirs, have computed."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
