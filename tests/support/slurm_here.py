"""A real SLURM of this one machine, for one test process at a time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_local.sh"
Seen = TypeVar("Seen")


@contextmanager
def running_slurm(cpus: int | None = None, max_array: int | None = None, nodes: int | None = None) -> Iterator[None]:
    """Start SLURM, or skip and say why there is none; one that ran already goes on unless another kind is asked for.

    Args:
        cpus: CPUs that a node claims to have; None for this machine's.
        max_array: jobs of an array; None for SLURM's default.
        nodes: nodes, all of them this machine; None for one.
    """
    asked = {"SLURM_LOCAL_CPUS": cpus, "SLURM_LOCAL_MAX_ARRAY": max_array, "SLURM_LOCAL_NODES": nodes}
    environment = {**os.environ, **{name: str(value) for name, value in asked.items() if value is not None}}
    of_a_kind = any(value is not None for value in asked.values())
    with (Path(tempfile.gettempdir()) / "slurm_local.lock").open("w") as lock:
        # Its queue is the machine's: tests of two workers would see, and requeue, one another's jobs.
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _answers() and not of_a_kind
        if of_a_kind:
            subprocess.run(["bash", str(SCRIPT), "stop"], check=True)
        done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False, env=environment)
        if done.returncode == 3:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        yield
        if not before:
            subprocess.run(["bash", str(SCRIPT), "stop"], check=True)


def _answers() -> bool:
    return subprocess.run(["bash", "-c", "sinfo -h"], capture_output=True, check=False).returncode == 0


def wait_for(look: Callable[[], Seen], seconds: float = 600.0) -> Seen:
    """Look until there is something to see."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen := look():
            return seen
        time.sleep(0.2)
    raise AssertionError("that never happened")
