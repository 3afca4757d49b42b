"""Fuzzing: mutations of real files, read in a process of its own under a limit of time and memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random

from benchmarks.hostile.mutations import mutated
from benchmarks.hostile.seeds import targets_of
from benchmarks.hostile.targets import Target
from benchmarks.page import OUT, Section, table
from mammo_aln.errors import InputError
from mammo_aln.progress import Progress, say

LIMIT_S = 20.0
MEMORY_BYTES = 6 << 30
READ, REFUSED = "read", "refused"


@dataclass
class Outcome:
    """What became of one target's inputs.

    Attributes:
        counts: inputs that were read or refused, or ended in a crash, a hang or another exception.
        offenders: number, and in words what happened, of those that should not be.
        seconds: in all.
    """

    counts: Counter[str] = field(default_factory=Counter)
    offenders: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


def fuzz(
    inputs: int = 1000,
    seed: int = 0,
    only: Sequence[str] = (),
    shared: Path = Path("../shared"),
    keep: Path | None = None,
) -> Section:
    """Read mutated files of every kind that a user may bring: DICOM, tables, YAML, volumes, regions, checkpoints, runs.

    Args:
        inputs: of each target.
        seed: draws the mutations; input n of a target is the same whatever was read before it.
        only: names of targets; all where empty.
        shared: folder of real files, whose `data` and `cases` are used beside a small phantom.
        keep: folder for offending inputs.
    """
    keep = keep or OUT / "fuzz"
    with tempfile.TemporaryDirectory(prefix="mammo_aln_fuzz_") as name:
        targets = [target for target in targets_of(Path(name), shared) if not only or target.name in only]
        outcomes = {target.name: fuzz_target(target, range(inputs), seed, Path(name), keep) for target in targets}
    rows = []
    for target, outcome in outcomes.items():
        counts = outcome.counts
        kinds = [counts[kind] for kind in (READ, REFUSED, "crash", "hang", "other")]
        rows.append((target, counts.total(), *kinds, f"{counts.total() / max(outcome.seconds, 1e-9):.0f}"))
        for number, what in list(outcome.offenders.items())[:20]:
            say(f"{target} {number}: {what}")
    total = sum((outcome.counts for outcome in outcomes.values()), Counter())
    header = ("reader", "inputs", "read", "refused in words", "crashes", "hangs", "other exceptions", "inputs/s")
    return Section(
        "Hostile inputs",
        f"{total.total():,} mutated inputs (seed {seed}), each with {LIMIT_S:g} s and {MEMORY_BYTES >> 30} GB",
        table(header, rows),
    )


def fuzz_target(target: Target, numbers: range, seed: int, folder: Path, keep: Path) -> Outcome:
    """Read a target's inputs, a process after another where one ends by an input."""
    outcome, begun = Outcome(), time.monotonic()
    progress = Progress(total=len(numbers), what=target.name, unit="input")
    context = multiprocessing.get_context("fork")
    at = numbers.start
    while at < numbers.stop:
        current: Synchronized[int] = context.Value("q", at)
        answers, ours = context.SimpleQueue(), folder / f"{target.name}_{os.getpid()}"
        worker = context.Process(target=_work, args=(target, range(at, numbers.stop), seed, ours, current, answers))
        worker.start()
        seen, since = at, time.monotonic()
        verdict = "crash"
        while worker.is_alive():
            worker.join(0.05)
            _collect(answers, outcome, progress)
            if current.value != seen:
                seen, since = current.value, time.monotonic()
            elif time.monotonic() - since > LIMIT_S:
                verdict = "hang"
                worker.kill()
                worker.join()
        _collect(answers, outcome, progress)
        at = current.value
        if at < numbers.stop:
            outcome.counts[verdict] += 1
            progress.advance()
            outcome.offenders[at] = f"{verdict} (exit {worker.exitcode})"
            at += 1
    for number, words in outcome.offenders.items():
        path, content = content_of(target, number, seed)
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{target.name}_{number}{path.suffix}").write_bytes(content)
        (keep / f"{target.name}_{number}.txt").write_text(words)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _collect(answers: object, outcome: Outcome, progress: Progress) -> None:
    while not answers.empty():  # type: ignore[attr-defined]
        number, verdict, words = answers.get()  # type: ignore[attr-defined]
        outcome.counts[verdict] += 1
        if words:
            outcome.offenders[number] = words
        progress.advance()


def content_of(target: Target, number: int, seed: int) -> tuple[Path, bytes]:
    """Make one input: the file it comes from, and its mutated bytes."""
    draw = Random(f"{target.name}/{seed}/{number}")
    path = draw.choice(target.files)
    others = [draw.choice(target.files).read_bytes() for _ in range(2)]
    return path, mutated(draw, [path.read_bytes(), *others])


def _work(target: Target, numbers: range, seed: int, folder: Path, current: Synchronized[int], answers: object) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    folder.mkdir(exist_ok=True)
    for beside in ("cohort", "run"):
        if (folder.parent / beside).is_dir() and not (folder / beside).exists():
            shutil.copytree(folder.parent / beside, folder / beside)
    for number in numbers:
        current.value = number
        seed_file, content = content_of(target, number, seed)
        path = folder / f"input_{seed_file.name}"
        path.write_bytes(content)
        verdict, words = READ, ""
        try:
            target.read(path)
        except InputError:
            verdict = REFUSED
        except BaseException as error:  # noqa: BLE001 - what else a reader raises is what is sought
            last = traceback.extract_tb(error.__traceback__)[-1]
            verdict, words = "other", f"{type(error).__name__}: {error!s:.200} ({last.filename}:{last.lineno})"
        path.unlink(missing_ok=True)
        answers.put((number, verdict, words))  # type: ignore[attr-defined]
    current.value = numbers.stop
