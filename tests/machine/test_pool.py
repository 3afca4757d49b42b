"""The pool of fresh processes: one thread each, no main guard, and no process that outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo_aln.machine.pool import ONE_THREAD, SpawnPool, results_of
from tests.support.processes import default_signals


def threads_of(_: int) -> tuple[int, int, str]:
    return os.getpid(), cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]


def product(number: int) -> float:
    values = np.random.default_rng(number).normal(size=(300, 300))
    return float((values @ values).sum())


def test_each_task_has_one_result_and_one_thread_here_and_in_fresh_processes() -> None:
    before = {name: os.environ.get(name) for name in ONE_THREAD}, cv2.getNumThreads()
    alone = dict(results_of(product, range(6), workers=1))
    assert dict(results_of(product, range(6), workers=2)) == alone
    pids, threads, numbers = zip(*dict(results_of(threads_of, range(6), workers=2)).values(), strict=True)
    assert os.getpid() not in pids
    assert set(threads) == {1}
    assert set(numbers) == {"1"}
    assert ({name: os.environ.get(name) for name in ONE_THREAD}, cv2.getNumThreads()) == before


def test_what_a_process_is_told_first_it_keeps() -> None:
    with SpawnPool(1, os.putenv, ("A_SETTING", "seven"), {"ANOTHER": "eight"}) as pool:
        assert pool.submit(os.getenv, "ANOTHER").result() == "eight"
        assert pool.submit(subprocess.check_output, ["printenv", "A_SETTING"]).result() == b"seven\n"


SCRIPT = """
import os, sys, time
from mammo_aln.machine.pool import SpawnPool
pool = SpawnPool(1)  # no main guard
try:
    with pool:
        print(pool.submit(os.getpid).result(), flush=True)
        for _ in range(20):
            pool.submit(time.sleep, 0.5)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


def leading(script: Path) -> subprocess.Popen[str]:
    """Start a script as a terminal does: leader of its own group."""
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=default_signals,
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_process_of_the_pool_ends_with_its_parent_and_says_nothing(sent: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = leading(script)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    if sent == signal.SIGINT:
        os.killpg(parent.pid, sent)  # as a terminal does
    else:
        parent.send_signal(sent)
    _, errors = parent.communicate(timeout=20)
    assert parent.returncode == (130 if sent == signal.SIGINT else -9)
    assert "Traceback" not in errors
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


SLOW_START = """
import os, time
if "LOADS_SLOWLY" in os.environ:
    print("loading", flush=True)
    time.sleep(2)
def begin():
    pass
"""


def test_ctrl_c_while_processes_load_their_modules_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "slow_start.py").write_text(SLOW_START)
    script = tmp_path / "script.py"
    named = SCRIPT.replace("SpawnPool(1)", "SpawnPool(1, slow_start.begin, (), {'LOADS_SLOWLY': '1'})")
    script.write_text("import slow_start" + named)
    parent = leading(script)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "loading\n"
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=20)
    assert parent.returncode == 130
    assert errors == ""
