"""The cage: what a call dies of costs that call alone, is known by its signal, and its place is taken again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mammo_aln.machine.cage import Cage, caged, doing, kept_cage
from mammo_aln.machine.deaths import Death, bounded_memory, bounded_time, reason_of
from mammo_aln.settings import PixelConfig


def killed_by(number: int) -> int:
    doing(f"signal {number}")
    os.kill(os.getpid(), number)
    return number


def fate(task: object) -> Any:
    """Die as asked, or return the task."""
    return fates[task](task) if task in fates else task


def spin(_: object) -> None:
    with bounded_time(0.3):
        while True:
            pass


def wait(_: object) -> None:
    with bounded_time(0.05):
        time.sleep(60)


def devour(_: object) -> str:
    try:
        with bounded_memory(1 << 28) as bounded:
            assert bounded
            np.ones(1 << 26)  # twice as much
    except MemoryError:
        return "no more"
    return "all it wanted"


def outlive(_: object) -> str:
    with bounded_memory(1 << 28), bounded_time(0.1):
        pass
    np.ones(1 << 26)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    return "outlived"


def leave(_: object) -> None:
    print("what a decoder prints on its way down", file=sys.stderr)
    os._exit(7)


class PanicException(BaseException):
    """As Rust's panics arrive in Python."""


PanicException.__module__ = "pyo3_runtime"


def panic(_: object) -> None:
    raise PanicException("index out of bounds")


fates: dict[object, Callable[[Any], Any]] = {
    "spin": spin,
    "wait": wait,
    "devour": devour,
    "outlive": outlive,
    "leave": leave,
    "panic": panic,
    **dict.fromkeys((signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL), killed_by),
}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_call_ends_in_its_result_or_its_own_death(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    tasks: list[Any] = [signal.SIGSEGV, 1, signal.SIGABRT, 2, "leave", "panic", 3, signal.SIGKILL, 4, "spin", "wait", 5]
    ends = {tasks[number]: end for number, end in caged(fate, tasks, workers, few=0)}
    assert {task: end for task, end in ends.items() if not isinstance(end, Death)} == {n: n for n in range(1, 6)}
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL):
        assert ends[number] == Death(number, f"signal {int(number)}")
    assert ends["leave"] == ends["panic"] == Death(0)
    assert ends["spin"] == Death(signal.SIGPROF)
    assert ends["wait"] == Death(signal.SIGALRM)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("number", "words", "outside"),
    [
        (signal.SIGSEGV, "the decoder crashed on this file (SIGSEGV)", False),
        (0, "the decoder crashed on this file", False),
        (signal.SIGPROF, "took more than 3 s of processor time (pixels.decode_timeout_s)", False),
        (signal.SIGKILL, "ended from outside (SIGKILL)", True),
        (signal.SIGALRM, "waited for too long", True),
    ],
)
def test_a_death_is_the_files_own_or_came_from_outside(number: int, words: str, outside: bool) -> None:
    assert words in reason_of(Death(number), PixelConfig(decode_timeout_s=3))
    assert Death(number).from_outside is outside


def test_memory_is_bounded_in_the_cage_and_nothing_is_bounded_outside() -> None:
    assert dict(caged(fate, ["devour", "outlive"], workers=1)) == {0: "no more", 1: "outlived"}
    with bounded_memory(0) as bounded, bounded_time(0.001):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    assert not bounded


def fail(_: object) -> None:
    raise ValueError("no such thing")


def test_what_a_call_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="no such thing"):
        list(caged(fail, [1]))
    assert dict(caged(fate, [1])) == {0: 1}


def process(_: object) -> int:
    return os.getpid()


def test_few_calls_share_one_process_that_is_kept() -> None:
    first, second = dict(caged(process, [1])), dict(caged(process, [1, 2, 3], workers=1))
    assert {first[0]} == set(second.values()) != {os.getpid()}
    with kept_cage() as kept:
        kept.give("one", os._exit, 3)
        assert kept.ended() == [("one", Death(0))]
    assert dict(caged(process, [1])) != first


def test_a_process_that_nobody_calls_leaves_and_another_answers() -> None:
    with Cage(1, idle_s=0.2) as cage:
        cage.give(1, process, None)
        ((_, first),) = cage.ended()
        end = time.monotonic() + 30
        while os.path.exists(f"/proc/{first}/fd") and os.listdir(f"/proc/{first}/fd") and time.monotonic() < end:
            time.sleep(0.05)
        cage.give(2, process, None)
        ((tag, second),) = cage.ended()
    assert tag == 2
    assert second != first
