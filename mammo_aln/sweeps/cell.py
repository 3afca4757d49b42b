"""One cell: its training in this process, and the record of its failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from mammo_aln.errors import ExitCode, InputError, Requeue
from mammo_aln.files import make_folder, read_object, write_json
from mammo_aln.machine.signals import die_with_parent, leave_in_time
from mammo_aln.runs.lock import RunIsHeld
from mammo_aln.runs.record import now
from mammo_aln.settings import reads_images
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.withheld import reason_withheld
from mammo_aln.training.trackers.mirrored import CellOfSweep

if TYPE_CHECKING:
    from mammo_aln.cohort.tables import Cohort

LAST_LINES = 20
WATCHED_EVERY_S = 1.0
"""How often a training looks whether its cell was withheld meanwhile."""

Result = Literal["completed", "held", "withheld", "failed", "broken"]

Further: TypeAlias = Callable[[int, Sequence[Cell]], Sequence[Cell]]
"""Asked by an executor for cells that are not known yet, with the number of those that may begin and the cells that
ended since it was asked last (completed, withheld, or failed for good)."""


@dataclass(frozen=True)
class Failure:
    """A try of a cell that failed.

    Attributes:
        error: in one line.
        lines: the last lines of the cell's log.
        again: whether another try may help.
        time: when, UTC.
    """

    error: str
    lines: tuple[str, ...] = ()
    again: bool = True
    time: str = ""


def log_of(plan: Plan, cell: Cell) -> Path:
    """Name the file of what a cell's training says."""
    return plan.out / "logs" / f"{cell.run_id}.log"


def claim_of(plan: Plan, cell: Cell) -> Path:
    """Name the file whose lock a command holds while one of its slots is at the cell."""
    return plan.out / "claims" / f"{cell.run_id}.lock"


def failures(plan: Plan, cell: Cell) -> list[Failure]:
    """Read the failed tries of a cell, oldest first; each is a file, so that machines never write the same one."""
    records = sorted((plan.out / "failures" / cell.run_id).glob("*.json"))
    plain = [read_object(path, "error", "lines", "again", "time") for path in records]
    return [Failure(each["error"], tuple(each["lines"]), each["again"], each["time"]) for each in plain]


def record_failure(plan: Plan, cell: Cell, failure: Failure) -> None:
    """Keep a failed try, with the last lines of the cell's log where none are given.

    Of a job's tasks the first one alone: each of them meets the failure, and it is one try.
    """
    if int(os.environ.get("SLURM_PROCID", "0")) > 0:
        return
    lines = failure.lines or last_lines(log_of(plan, cell))
    name = f"{time.time_ns()}-{os.getpid()}.json"
    record = {"error": failure.error, "lines": list(lines), "again": failure.again, "time": now(), "cell": cell.name}
    write_json(plan.out / "failures" / cell.run_id / name, record)


def set_failures_aside(plan: Plan, cell: Cell) -> None:
    """Keep a cell's failed tries, but count them no more."""
    folder = plan.out / "failures" / cell.run_id
    for path in folder.glob("*.json"):
        path.replace(make_folder(folder / "former") / path.name)


def last_lines(log: Path, count: int = LAST_LINES) -> tuple[str, ...]:
    """Read the last lines of a log, without those that are empty."""
    if not log.is_file():
        return ()
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 1000 * count))
        text = stream.read().decode(errors="replace")
    return tuple(line for line in text.splitlines() if line.strip())[-count:]


def train_cell(plan: Plan, cell: Cell, cohorts: dict[bool, Cohort]) -> Result:
    """Train one cell in this process; a failure is recorded and told by the result, never raised.

    A cell that is withheld meanwhile leaves at its next step, which is saved.

    Args:
        plan: the sweep.
        cell: the cell.
        cohorts: tables already read by this process; filled here.

    Returns:
        `held` where another process trains it; `withheld` where it was cancelled or dropped; `broken` where the
        failure was unexpected, so that this process had better be replaced.

    Raises:
        Requeue: a signal stopped it after its step was saved.
    """
    from mammo_aln.training.stopping import STOP

    if reason_withheld(plan.out, cell.run_id) is not None:
        return "withheld"
    try:
        with STOP.watched(), _leaves_when_withheld(plan, cell):
            return _trained(plan, cell, cohorts)
    except Requeue:
        if reason_withheld(plan.out, cell.run_id) is None:
            raise
        return "withheld"


@contextmanager
def _leaves_when_withheld(plan: Plan, cell: Cell) -> Iterator[None]:
    """Ask this process to leave as a scheduler does, once the cell that it trains is withheld."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(WATCHED_EVERY_S):
            if reason_withheld(plan.out, cell.run_id) is not None:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    watcher = threading.Thread(target=watch, daemon=True, name="withheld")
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _trained(plan: Plan, cell: Cell, cohorts: dict[bool, Cohort]) -> Result:
    try:
        settings = cell.settings
        processes = settings.trainer.ranks
        if processes > 1 and int(os.environ.get("SLURM_NTASKS", "1")) < processes:
            _train_apart(plan, cell)
            return "completed"
        _train_here(plan, cell, cohorts)
    except RunIsHeld:
        return "held"
    except InputError as error:
        record_failure(plan, cell, Failure(str(error), again=False))
        return "failed"
    except Exception as error:  # noqa: BLE001  # whatever ends one cell must not end the others; it is kept and told
        trace = traceback.format_exc()
        print(trace, file=sys.stderr, flush=True)
        reason = (str(error).strip().splitlines() or [""])[0]
        record_failure(
            plan, cell, Failure(f"{type(error).__name__}: {reason}", tuple(trace.splitlines()[-LAST_LINES:]))
        )
        return "broken"
    return "completed"


def _train_here(plan: Plan, cell: Cell, cohorts: dict[bool, Cohort]) -> None:
    from mammo_aln.training.data.base import read_for
    from mammo_aln.training.train import train_run

    settings = cell.settings
    images = reads_images(settings.model.inputs)
    if images not in cohorts:
        cohorts[images] = read_for(settings.model.inputs, plan.cohort, plan.store)
    train_run(
        cohorts[images], plan.runs, settings, store=plan.store, planned=cell.run_id, cell=mirrored_cell(plan, cell)
    )


def mirrored_cell(plan: Plan, cell: Cell) -> CellOfSweep:
    """Name a cell's position in its sweep, for trackers."""
    configuration = ", ".join(f"{name}={value}" for name, value in cell.axes.items())
    return CellOfSweep(plan.out.absolute().name, cell.name, configuration)


def _train_apart(plan: Plan, cell: Cell) -> None:
    """A training on several devices, in processes of its own, which end with this one."""
    from mammo_aln.training.stopping import STOP

    words = [sys.executable, "-m", "mammo_aln.sweeps.apart", str(plan.out), cell.run_id]
    with STOP.watched():
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=2, preexec_fn=die_with_parent)
        try:
            code = process.wait()
        except BaseException:
            leave_in_time(process)
            raise
    if code == ExitCode.HELD:
        raise RunIsHeld(f"{plan.runs / cell.run_id}: another process is training this run")
    if code == ExitCode.AGAIN:
        raise Requeue("stopped by a signal")
    if code == ExitCode.WRONG_INPUT:
        raise InputError((last_lines(log_of(plan, cell)) or ("wrong input",))[-1])
    if code:
        raise RuntimeError(f"the training ended with exit code {code}")


def exhausted(tries: Sequence[Failure], before: int, retries: int) -> bool:
    """Tell whether a cell has failed too often since a command began, or in a way that another try does not mend."""
    new = tries[before:]
    return len(new) > retries or any(not failure.again for failure in new)
