"""The pixel path beside its floor and its peers, each pair measured in one run: build, memory, index, reading, growth.

python -m benchmarks imaging [ROW ...] [--folder DIR]

ROW: build memory index read growth (all by default). Takes about 15 minutes on two cores and 6 GB of disk in the folder
(a temporary one by default). The peer of `read` needs `pip install monai`.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.cohort import SYNTAXES, write_bench_cohort
from benchmarks.imaging_peers import monai_dataset, only_decode, pydicom_decoders_only, pydicom_throughout
from benchmarks.notes import machine, replace_section
from mammo_aln.machine.signals import end_with_parent

PROCESSES = 2
ROWS, COLUMNS = 4096, 3328
IMAGES, PEER_IMAGES = 64, 32
ROUNDS = 3
HEADERS = 20_000
CROPS, READS = 2_000, 20_000
GROWTH = (100, 1_000, 10_000)
IMAGE_BYTES = 2 * ROWS * COLUMNS


def timed(work: Callable[[], object]) -> float:
    """Wall time of one call in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def medians(rounds: int, **works: Callable[[], object]) -> dict[str, float]:
    """Median wall time of each work, the works taking turns so that a drifting machine favours none."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(timed(work))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def in_two_processes(function: Callable[[Path], object], paths: Iterable[Path]) -> None:
    """The peers' pool, like ours: spawned, one file a task."""
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        for _ in pool.map(function, paths):
            pass


def build_here(cohort: Path, strategy: str, workers: int = PROCESSES) -> None:
    """Our build into an empty store."""
    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.crops.build import build_crops
    from mammo_aln.settings import CropConfig, PixelConfig

    store = cohort / ".crops"
    shutil.rmtree(store, ignore_errors=True)
    build_crops(read_cohort(cohort), PixelConfig(), CropConfig(strategy=strategy), store=store, workers=workers)


def bench_build(folder: Path) -> list[str]:
    """All four crops of two regions."""
    cohort = write_bench_cohort(folder / "build", ROWS, COLUMNS, IMAGES)
    paths = sorted((cohort / "dicom").iterdir())
    for path in paths:  # into the page cache
        path.read_bytes()
    two = medians(ROUNDS, ours=lambda: build_here(cohort, "all"), floor=lambda: in_two_processes(only_decode, paths))
    few = paths[:PEER_IMAGES]  # whole turns of the four syntaxes; a peer takes a second and more an image
    peers = {
        name: timed(lambda work=work: in_two_processes(work, few)) / len(few)
        for name, work in (("voi", pydicom_throughout), ("decoders", pydicom_decoders_only))
    }
    ours, floor = (two[name] / IMAGES for name in ("ours", "floor"))
    shutil.rmtree(cohort)
    return [
        f"{IMAGES} MLO views of {ROWS} x {COLUMNS}, 12 bit, {', '.join(SYNTAXES)} in equal parts, files in the page "
        f"cache; eight crops (four strategies x primary, axilla) an image; {PROCESSES} processes; ours and floor: "
        f"median of {ROUNDS} rounds in turn; the peers: one pass over {PEER_IMAGES} of the files; starting "
        "the processes counts.",
        "",
        "| build | ms an image | images/s | ours is |",
        "|---|---|---|---|",
        f"| ours, into the store | {1e3 * ours:.0f} | {1 / ours:.1f} | |",
        f"| floor: read and decode with imagecodecs, nothing else | {1e3 * floor:.0f} | {1 / floor:.1f} "
        f"| {ours / floor:.2f}x its time (at most 1.3) |",
        f"| pydicom's decoders and VOI, one pass per strategy | {1e3 * peers['voi']:.0f} | {1 / peers['voi']:.1f} "
        f"| {peers['voi'] / ours:.1f}x faster (at least 6) |",
        f"| pydicom's decoders alone, the rest ours, one pass per strategy | {1e3 * peers['decoders']:.0f} "
        f"| {1 / peers['decoders']:.1f} | {peers['decoders'] / ours:.1f}x faster |",
    ]


def status_mb(field: str, process: int | str | None = "self") -> float:
    """A line of a process's status file (VmRSS, VmHWM) in MB; of this one by default."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def worker_memory(idle: Path, busy: Path) -> None:
    """In a process of its own: what a pool's worker holds after small images, and its peak over large ones."""
    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.crops import parallel
    from mammo_aln.crops.job import CropJob
    from mammo_aln.crops.regions import linked_groups, plan_crops
    from mammo_aln.crops.store.held import Held
    from mammo_aln.settings import CropConfig, PixelConfig

    crop = CropConfig(strategy="all")
    parallel.begin(CropJob(PixelConfig(), crop, busy / ".crops"))
    for group in linked_groups(plan_crops(read_cohort(idle), crop).images):
        assert not parallel.work(parallel.Step(group, Held())).failures
    groups = linked_groups(plan_crops(read_cohort(busy), crop).images)
    before = status_mb("VmRSS")
    for group in groups:
        assert not parallel.work(parallel.Step(group, Held())).failures
    print(status_mb("VmHWM") - before)


def bench_memory(folder: Path) -> list[str]:
    """Peak of one worker, above itself idle."""
    idle = write_bench_cohort(folder / "idle", 256, 208, 16)
    lines = ["| files | peak of a worker above idle, MB | in uncompressed images (27.3 MB; under 4) |", "|---|---|---|"]
    for name, syntaxes in {**{name: (name,) for name in SYNTAXES}, "all four in turn": tuple(SYNTAXES)}.items():
        busy = write_bench_cohort(folder / "busy", ROWS, COLUMNS, 24, syntaxes)
        words = [sys.executable, __file__, "--worker-memory", str(idle), str(busy)]
        megabytes = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        lines.append(f"| {name} | {megabytes:.0f} | {megabytes * 1e6 / IMAGE_BYTES:.2f} |")
        shutil.rmtree(busy)
    return lines


def bench_index(folder: Path) -> list[str]:
    """`index` of many headers."""
    import pydicom

    from mammo_aln.cohort.index import index_folder

    few = write_bench_cohort(folder / "few", 64, 52, 4, ("raw",))
    dicom = folder / "headers"
    dicom.mkdir()
    sources = sorted((few / "dicom").iterdir())
    originals = [(path.read_bytes(), pydicom.dcmread(path).SOPInstanceUID.encode()) for path in sources]
    for number in range(HEADERS):
        whole, uid = originals[number % len(originals)]
        (dicom / f"{number:06d}.dcm").write_bytes(whole.replace(uid, uid[:-6] + f"{number:06d}".encode()))
    paths = sorted(dicom.iterdir())

    def peer() -> None:
        for path in paths:
            pydicom.dcmread(path, stop_before_pixels=True)

    def ours() -> None:
        shutil.rmtree(folder / "indexed", ignore_errors=True)
        index_folder(dicom, folder / "indexed")

    two = medians(ROUNDS, ours=ours, peer=peer)
    return [
        f"{HEADERS} headers, files in the page cache, median of {ROUNDS} rounds in turn.",
        "",
        "| | seconds | headers/s |",
        "|---|---|---|",
        f"| `index`, tables written | {two['ours']:.1f} | {HEADERS / two['ours']:.0f} |",
        "| pydicom `dcmread(stop_before_pixels=True)`, one process "
        f"| {two['peer']:.1f} | {HEADERS / two['peer']:.0f} |",
        "",
        f"{two['peer'] / two['ours']:.1f}x faster (at least 4).",
    ]


def bench_read(folder: Path) -> list[str]:
    """Random access to stored crops as float tensors."""
    import torch

    from mammo_aln.crops.store.records import CropRecord
    from mammo_aln.crops.store.store import CropStore, SegmentWriter, display_values
    from mammo_aln.crops.window import Window

    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 65536, (CROPS, 256, 256), dtype=np.uint16)
    writer = SegmentWriter(folder / "store")
    for number, picture in enumerate(pictures):
        record = CropRecord(str(number), "", "whole_breast", Window(0, 0, 256, 256), None, 1.0, 0.0, (), 256)
        writer.append([], [(record, picture)])
    writer.close()
    store = CropStore(folder / "store")
    order = rng.integers(0, CROPS, READS)
    keys = [str(number) for number in order]

    def from_store() -> None:
        for key in keys:
            torch.from_numpy(store.read_values(key))

    def from_memory() -> None:
        for number in order:
            torch.from_numpy(display_values(pictures[number]))

    torch.set_num_threads(1)
    from_store()
    two = medians(7, ours=from_store, floor=from_memory)
    lines = [
        f"{READS} random reads among {CROPS} crops of 256 x 256 as float32 tensors, one process, median of 7 rounds in "
        "turn.",
        "",
        "| | microseconds a crop | ours is |",
        "|---|---|---|",
        f"| crop store, memory-mapped | {two['ours'] / READS * 1e6:.1f} | |",
        f"| same conversion from an array in memory | {two['floor'] / READS * 1e6:.1f} "
        f"| {two['ours'] / two['floor']:.2f}x its time (at most 1.4) |",
    ]
    if find_spec("monai") is None:
        return [*lines, "| MONAI `PersistentDataset` | not run: `pip install monai` | |"]
    files = []
    for number, picture in enumerate(pictures):
        files.append({"image": folder / f"{number}.npy"})
        np.save(files[-1]["image"], picture)
    cached = monai_dataset(files, folder / "monai")
    for number in range(CROPS):
        cached[number]
    some = order[: READS // 10]

    def from_monai() -> None:
        for number in some:
            cached[int(number)]

    peer = medians(3, peer=from_monai)["peer"] / len(some)
    return [
        *lines,
        f"| MONAI `PersistentDataset`, filled, dictionary transforms | {peer * 1e6:.0f} "
        f"| {peer / (two['ours'] / READS):.0f}x faster (at least 12) |",
    ]


def bench_growth(folder: Path) -> list[str]:
    """Time and memory as the cohort grows."""
    lines = [
        "| images (512 x 416) | seconds | ms an image | peak of this process, MB | of a worker, MB |",
        "|---|---|---|---|---|",
    ]
    for images in GROWTH:
        cohort = write_bench_cohort(folder / f"growth{images}", 512, 416, images)
        words = [sys.executable, __file__, "--build", str(cohort)]
        seconds, own, worker = map(
            float, subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        )
        lines.append(f"| {images} | {seconds:.1f} | {seconds / images * 1e3:.2f} | {own:.0f} | {worker:.0f} |")
        shutil.rmtree(cohort)
    return ["fixed_5cm of primary and axilla, two processes, their start included.", "", *lines]


def build_measured(cohort: Path) -> None:
    """In a process of its own: seconds, own peak and the largest worker's peak.

    Workers are asked while they live: what the system tells of ended children counts their parent's size, too.
    """
    peak_mb = 0.0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak_mb
        while not ended.wait(0.05):
            for child in multiprocessing.active_children():
                with contextlib.suppress(OSError, StopIteration):  # it has just ended
                    peak_mb = max(peak_mb, status_mb("VmHWM", child.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    seconds = timed(lambda: build_here(cohort, "fixed_5cm"))
    ended.set()
    watching.join()
    print(seconds, status_mb("VmHWM"), peak_mb)


BENCHES = {
    "build": (bench_build, "Pixel path: building crops"),
    "memory": (bench_memory, "Pixel path: memory of a worker"),
    "index": (bench_index, "Pixel path: indexing headers"),
    "read": (bench_read, "Pixel path: reading crops"),
    "growth": (bench_growth, "Pixel path: growth"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*BENCHES, []], help="which (all by default)")
    parser.add_argument("--folder", type=Path, help="where files are made (a temporary folder by default)")
    parser.add_argument("--worker-memory", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker_memory:
        worker_memory(*given.worker_memory)
        return
    if given.build:
        build_measured(given.build)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    notes = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
    for row in given.rows or BENCHES:
        bench, title = BENCHES[row]
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            lines = bench(Path(folder))
        text = "\n".join([f"`python -m benchmarks imaging {row}`. {machine()}.", "", *lines])
        print(text, flush=True)
        replace_section(notes, title, text)


if __name__ == "__main__":
    main()
