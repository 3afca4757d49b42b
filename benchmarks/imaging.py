"""The pixel path beside its floor and its peers, each pair measured in one run."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.cohort import SYNTAXES, build_store, write_bench_cohort
from benchmarks.imaging_peers import monai_dataset, only_decode, pydicom_decoders_only, pydicom_throughout
from benchmarks.page import ROOT, Section, table
from benchmarks.rounds import Times, clocked, in_turn
from mammo_aln.machine.pool import results_of

PROCESSES = 2
ROWS, COLUMNS = 4096, 3328
IMAGE_BYTES = 2 * ROWS * COLUMNS


@contextlib.contextmanager
def work_folder(parent: Path | None) -> Iterator[Path]:
    """A temporary folder, on the disk of `parent` where one is named."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


def in_two_processes(work: Callable[[Path], object], paths: Sequence[Path]) -> None:
    """Run a peer's work as ours runs: in spawned processes, one file a task."""
    for _ in results_of(work, paths, PROCESSES, few=0):
        pass


def build_anew(cohort: Path, strategy: str) -> None:
    """Build into an empty store."""
    shutil.rmtree(cohort / ".crops", ignore_errors=True)
    build_store(cohort, cohort / ".crops", strategy=strategy, workers=PROCESSES)


def measured_apart(function: str, *words: object) -> list[float]:
    """Numbers that a function of this module prints in a process of its own."""
    code = f"import sys; from benchmarks.imaging import {function}; {function}(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, words)]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    return [float(number) for number in shown.split()]


def status_mb(field: str, process: int | str | None = "self") -> float:
    """A line of a process's status file (VmRSS, VmHWM) in MB."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def build(images: int = 64, peer_images: int = 32, rounds: int = 3, folder: Path | None = None) -> Section:
    """Building all four crops of two regions, against bare decoding and pydicom.

    Args:
        images: large mammograms.
        peer_images: as many of them for pydicom, which takes a second and more an image.
        rounds: rounds in turn.
        folder: where the temporary files lie.
    """
    with work_folder(folder) as root:
        cohort = write_bench_cohort(root / "build", ROWS, COLUMNS, images)
        paths = sorted((cohort / "dicom").iterdir())
        for path in paths:  # into the page cache
            path.read_bytes()
        few = paths[:peer_images]  # whole turns of the four syntaxes
        ours, floor = in_turn(
            rounds,
            partial(clocked, partial(build_anew, cohort, "all")),
            partial(clocked, partial(in_two_processes, only_decode, paths)),
            warm_up=False,
        )
        voi, decoders = in_turn(
            1,
            *(
                partial(clocked, partial(in_two_processes, work, few))
                for work in (pydicom_throughout, pydicom_decoders_only)
            ),
            warm_up=False,
        )
    ours, floor, voi, decoders = ours.each(images), floor.each(images), voi.each(len(few)), decoders.each(len(few))

    def row(name: str, times: Times, compared: str = "") -> list[str]:
        return [name, times.words(1e-3, 0), f"{1 / times.median:.1f}", compared]

    rows = [
        row("ours, into the store", ours),
        row(
            "floor: read and decode with imagecodecs, nothing else",
            floor,
            f"{ours.median / floor.median:.2f}x its time (at most 1.3)",
        ),
        row(
            "pydicom's decoders and VOI, one pass per strategy",
            voi,
            f"{voi.median / ours.median:.1f}x faster (at least 6)",
        ),
        row(
            "pydicom's decoders alone, the rest ours, one pass per strategy",
            decoders,
            f"{decoders.median / ours.median:.1f}x faster",
        ),
    ]
    about = (
        f"{images} MLO views of {ROWS} x {COLUMNS}, 12 bit, {', '.join(SYNTAXES)} in equal parts, files in the page "
        f"cache; eight crops (four strategies x primary, axilla) an image; {PROCESSES} processes; ours and floor: "
        f"median (range) of {rounds} rounds in turn; the peers: one pass over {len(few)} of the files; starting the "
        "processes counts"
    )
    return Section("Pixel path: building crops", about, table(["build", "ms an image", "images/s", "ours is"], rows))


def memory(images: int = 24, folder: Path | None = None) -> Section:
    """Peak memory of one process that builds crops, above itself idle.

    Args:
        images: large mammograms of each syntax.
        folder: where the temporary files lie.
    """
    mixes = {**{name: (name,) for name in SYNTAXES}, "all four in turn": tuple(SYNTAXES)}
    rows = []
    with work_folder(folder) as root:
        idle = write_bench_cohort(root / "idle", 256, 208, 16)
        for name, syntaxes in mixes.items():
            busy = write_bench_cohort(root / "busy", ROWS, COLUMNS, images, syntaxes)
            (megabytes,) = measured_apart("print_peak", idle, busy)
            rows.append([name, f"{megabytes:.0f}", f"{megabytes * 1e6 / IMAGE_BYTES:.2f}"])
            shutil.rmtree(busy)
    header = ["files", "peak above idle, MB", f"in uncompressed images ({IMAGE_BYTES / 1e6:.1f} MB; under 4)"]
    return Section("Pixel path: memory of a worker", f"{images} images, one process", table(header, rows))


def print_peak(idle: str, busy: str) -> None:
    """Print the peak of the process that decodes large images, in MB above what it holds after small ones."""
    build_store(Path(idle), Path(busy) / ".crops", strategy="all", workers=1)
    (decoding,) = multiprocessing.active_children()  # kept for the next build
    before = status_mb("VmRSS", decoding.pid)
    build_store(Path(busy), Path(busy) / ".crops", strategy="all", workers=1)
    print(status_mb("VmHWM", decoding.pid) - before)


def index(headers: int = 20_000, rounds: int = 3, folder: Path | None = None) -> Section:
    """`index` of many headers, against pydicom.

    Args:
        headers: files.
        rounds: rounds in turn.
        folder: where the temporary files lie.
    """
    import pydicom

    from mammo_aln.cohort.index import index_folder

    with work_folder(folder) as root:
        sources = sorted((write_bench_cohort(root / "few", 64, 52, 4, ("raw",)) / "dicom").iterdir())
        originals = [(path.read_bytes(), pydicom.dcmread(path).SOPInstanceUID.encode()) for path in sources]
        dicom = root / "headers"
        dicom.mkdir()
        for number in range(headers):
            whole, uid = originals[number % len(originals)]
            (dicom / f"{number:06d}.dcm").write_bytes(whole.replace(uid, uid[:-6] + f"{number:06d}".encode()))
        paths = sorted(dicom.iterdir())

        def peer() -> None:
            for path in paths:
                pydicom.dcmread(path, stop_before_pixels=True)

        def ours() -> None:
            shutil.rmtree(root / "indexed", ignore_errors=True)
            index_folder(dicom, root / "indexed")

        times = in_turn(rounds, partial(clocked, ours), partial(clocked, peer), warm_up=False)
    names = ("`index`, tables written", "pydicom `dcmread(stop_before_pixels=True)`, one process")
    rows = [
        [name, seconds.words(), f"{headers / seconds.median:.0f}"] for name, seconds in zip(names, times, strict=True)
    ]
    return Section(
        "Pixel path: indexing headers",
        f"{headers} headers, files in the page cache, median (range) of {rounds} rounds in turn",
        [
            *table(["", "seconds", "headers/s"], rows),
            "",
            f"{times[1].median / times[0].median:.1f}x faster (at least 4).",
        ],
    )


def read(crops: int = 2_000, reads: int = 20_000, rounds: int = 7, folder: Path | None = None) -> Section:
    """Random reads of stored crops as float tensors, against memory and MONAI.

    Args:
        crops: crops of 256 x 256.
        reads: random reads a round.
        rounds: rounds in turn.
        folder: where the temporary files lie.
    """
    import torch

    from mammo_aln.crops.store.records import CropRecord
    from mammo_aln.crops.store.store import CropStore, SegmentWriter, display_values
    from mammo_aln.crops.window import Window, surround_px

    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 65536, (crops, 256, 256), dtype=np.uint16)
    order = rng.integers(0, crops, reads)
    torch.set_num_threads(1)
    with work_folder(folder) as root:
        writer = SegmentWriter(root / "store")
        for number, picture in enumerate(pictures):
            record = CropRecord(str(number), "", "whole_breast", Window(0, 0, 256, 256), None, 1.0, 0.0, (), 256)
            writer.append([], [(record, np.pad(picture, surround_px(256), mode="edge"))])
        writer.close()
        store = CropStore(root / "store")

        def from_store() -> None:
            for number in order:
                torch.from_numpy(store.read_values(str(number)))

        def from_memory() -> None:
            for number in order:
                torch.from_numpy(display_values(pictures[number]))

        ours, floor = (
            times.each(reads) for times in in_turn(rounds, partial(clocked, from_store), partial(clocked, from_memory))
        )
        rows = [
            ["crop store, memory-mapped", ours.words(1e-6), ""],
            [
                "same conversion from an array in memory",
                floor.words(1e-6),
                f"{ours.median / floor.median:.2f}x its time (at most 1.4)",
            ],
            ["MONAI `PersistentDataset`", "not run: `pip install monai`", ""],
        ]
        if find_spec("monai") is not None:
            files = [{"image": root / f"{number}.npy"} for number in range(crops)]
            for file, picture in zip(files, pictures, strict=True):
                np.save(file["image"], picture)
            cached = monai_dataset(files, root / "monai")
            some = order[: reads // 10]

            def from_monai() -> None:
                for number in some:
                    cached[int(number)]

            for number in range(crops):
                cached[number]
            peer = in_turn(3, partial(clocked, from_monai), warm_up=False)[0].each(len(some))
            rows[-1] = [
                "MONAI `PersistentDataset`, filled, dictionary transforms",
                peer.words(1e-6, 0),
                f"{peer.median / ours.median:.0f}x faster (at least 12)",
            ]
    about = (
        f"{reads} random reads among {crops} crops of 256 x 256 as float32 tensors, one process, median (range) of "
        f"{rounds} rounds in turn"
    )
    return Section("Pixel path: reading crops", about, table(["", "microseconds a crop", "ours is"], rows))


def growth(images: tuple[int, ...] = (100, 1_000, 10_000), folder: Path | None = None) -> Section:
    """Time and memory of building as the cohort grows.

    Args:
        images: sizes of the cohorts.
        folder: where the temporary files lie.
    """
    rows = []
    with work_folder(folder) as root:
        for count in images:
            cohort = write_bench_cohort(root / f"growth{count}", 512, 416, count)
            seconds, own, worker = measured_apart("print_growth", cohort)
            rows.append([count, f"{seconds:.1f}", f"{seconds / count * 1e3:.2f}", f"{own:.0f}", f"{worker:.0f}"])
            shutil.rmtree(cohort)
    header = ["images (512 x 416)", "seconds", "ms an image", "peak of this process, MB", "of a worker, MB"]
    about = "fixed_5cm of primary and axilla, two processes, their start included"
    return Section("Pixel path: growth", about, table(header, rows))


def print_growth(cohort: str) -> None:
    """Print seconds, own peak and the largest worker's peak.

    Workers are asked while they live: the system's account of ended children counts their parent's size, too.
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
    seconds = clocked(partial(build_anew, Path(cohort), "fixed_5cm"))
    ended.set()
    watching.join()
    print(seconds, status_mb("VmHWM"), peak_mb)
