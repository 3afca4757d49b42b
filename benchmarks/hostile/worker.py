"""One reader's inputs, in a process of its own under a limit of time and memory, and another one where it ends."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import time
import traceback
from collections.abc import Sequence
from functools import cache
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.hostile.mutations import mutated
from benchmarks.hostile.outcomes import Outcome, Verdict
from benchmarks.hostile.seeds import CHANGED
from benchmarks.hostile.targets import Died, Fault, Inputs, Target
from mammo_aln.errors import InputError
from mammo_aln.progress import Progress

LIMIT_S = 180.0
"""Above what a caged decoder may take, and the first import of torch on a machine that does other things too."""
MEMORY_BYTES = 4 << 30


def read_numbers(target: Target, numbers: Sequence[int], inputs: Inputs, folder: Path) -> Outcome:
    """Read a target's inputs of these numbers, a process after another where one ends by an input."""
    outcome, begun = Outcome(), time.monotonic()
    progress = Progress(total=len(numbers), what=target.name, unit="input")
    context = multiprocessing.get_context("fork")
    at = 0
    while at < len(numbers):
        current: Synchronized[int] = context.Value("q", at)
        answers, ours = context.SimpleQueue(), folder / f"at_work_{os.getpid()}"
        worker = context.Process(target=_work, args=(target, numbers, at, inputs, ours, current, answers))
        worker.start()
        seen, since = at, time.monotonic()
        verdict = Verdict.CRASH
        while worker.is_alive():
            worker.join(0.05)
            _collect(answers, outcome, progress)
            if current.value != seen:
                seen, since = current.value, time.monotonic()
            elif time.monotonic() - since > LIMIT_S:
                verdict = Verdict.HANG
                worker.kill()
                worker.join()
        _collect(answers, outcome, progress)
        at = current.value
        if at < len(numbers):
            outcome.add(numbers[at], verdict, f"exit code {worker.exitcode}")
            progress.advance()
            at += 1
    outcome.seconds = time.monotonic() - begun
    return outcome


def _collect(answers: Any, outcome: Outcome, progress: Progress) -> None:
    while not answers.empty():
        outcome.add(*answers.get())
        progress.advance()


def content_of(target: Target, seed: int, number: int) -> tuple[Path, bytes]:
    """Make one input: the file it comes from, and its mutated bytes."""
    draw = Random(f"{target.name}/{seed}/{number}")
    path = draw.choice(target.files)
    others = [_bytes(draw.choice(target.files)) for _ in range(2)]
    return path, mutated(draw, [_bytes(path), *others])


@cache
def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _work(
    target: Target, numbers: Sequence[int], first: int, inputs: Inputs, folder: Path, current: Any, answers: Any
) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for beside in CHANGED:
        if (folder.parent / beside).is_dir():
            shutil.copytree(folder.parent / beside, folder / beside)
    for index in range(first, len(numbers)):
        current.value = index
        seed_file, content = inputs(numbers[index])
        path = folder / f"input_{seed_file.name}"
        path.write_bytes(content)
        answers.put((numbers[index], *judged(target, path)))
        path.unlink(missing_ok=True)
    current.value = len(numbers)


def judged(target: Target, path: Path) -> tuple[Verdict, str]:
    """Read one file: what became of it, and in words what should not be."""
    try:
        target.read(path)
    except InputError:
        return Verdict.REFUSED, ""
    except Died as death:
        return Verdict.DIED, str(death)
    except MemoryError as error:
        return Verdict.MEMORY, _words(error)
    except Fault as error:
        return Verdict.FAULT, str(error)
    except Exception as error:  # noqa: BLE001 - the command line says so of itself
        return Verdict.FAULT, _words(error)
    except BaseException as error:  # noqa: BLE001 - what else a reader raises is what is sought
        return Verdict.OTHER, _words(error)
    return Verdict.READ, ""


def _words(error: BaseException) -> str:
    frames = [f"{Path(each.filename).name}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__}: {error!s:.200} ({' '.join(frames[-6:])})"
