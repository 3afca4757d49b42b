"""The executor `local`: a pool of slots, one per GPU or per share of the CPU cores, each a warm process.

A slot's process trains cell after cell, so that imports and compilation are paid once. If it dies (out of memory,
kill -9), the cell's failure is recorded with its last lines, the slot gets a new process, and the cell is tried again.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import mammo_aln
from mammo_aln.errors import ExitCode, InputError
from mammo_aln.files import make_folder
from mammo_aln.machine.locks import Lock, take_lock
from mammo_aln.machine.memory import free_gpu_memory_gb, free_memory_gb
from mammo_aln.progress import say
from mammo_aln.runs.record import read_state
from mammo_aln.settings import TrainerConfig
from mammo_aln.sweeps.cell import Failure, Further, claim_of, exhausted, failures, last_lines, log_of, record_failure
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.withheld import reason_withheld, withheld

POLL_S = 1.0
KEPT_FREE = 0.9
"""Share of the free memory that cells may take."""

LEAVE_S = 20.0
"""How long a slot may take to leave after SIGTERM before it is killed."""


@dataclass
class Slot:
    """A warm process, the devices it sees, and the cell it trains.

    Attributes:
        environment: variables of the process, which name its devices.
        memory_gb: what the cells of all slots on these devices may need together.
    """

    environment: dict[str, str]
    memory_gb: float = math.inf
    process: subprocess.Popen[str] | None = None
    cell: Cell | None = None
    claim: Lock | None = None

    def start(self, out: Path) -> None:
        """A new process; standard error of its start is this process's own."""
        package = str(Path(mammo_aln.__file__).parents[1])
        paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mammo_aln.sweeps.worker", str(out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the sweep, which then ends its slots in order
        )

    def ask(self, cell: Cell, claim: Lock) -> None:
        """Have the process train a cell."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.cell, self.claim = cell, claim
        with suppress(BrokenPipeError):  # it died meanwhile: its standard output tells
            self.process.stdin.write(cell.run_id + "\n")
            self.process.stdin.flush()

    def free(self) -> None:
        """Let go of the cell."""
        if self.claim is not None:
            self.claim.close()
        self.cell = self.claim = None


@dataclass
class Pool:
    """Slots at work on a plan's cells, beside other commands on the same folder.

    Attributes:
        plan: the sweep.
        slots: the slots.
        retries: how often a cell is tried again.
        changed: called about once a second, and whenever a cell ends (then with the cell); always with the ids of the
            cells that are in the slots.
        needs_gb: memory of cells, by id, where it was measured.
        longest_first: cells that take longest begin first; else in their order.
        further: has more cells than those that are known when the work begins; it ends when there are none.
        measure: measures the memory of such cells.
    """

    plan: Plan
    slots: Sequence[Slot]
    retries: int
    changed: Callable[[Cell | None, frozenset[str]], None]
    needs_gb: dict[str, float] = field(default_factory=dict)
    longest_first: bool = True
    further: Further = lambda free, ended: ()
    measure: Callable[[Sequence[Cell]], Mapping[str, float]] = lambda cells: {}
    before: dict[str, int] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    completed: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    def run(self, cells: Sequence[Cell]) -> None:
        """Train what is not completed; ends when each cell is completed, withheld or has failed for good."""
        make_folder(self.plan.out / "claims")
        order: list[Cell] = []
        self._take_up(sorted(cells, key=lambda cell: -cell.cost if self.longest_first else 0.0), order)
        with selectors.DefaultSelector() as selector:
            try:
                while True:
                    waiting = self._waiting(order)
                    self._fill(waiting, selector)
                    if self._more(waiting, order):
                        continue
                    if not waiting and not any(slot.cell for slot in self.slots):
                        return
                    for key, _ in selector.select(timeout=POLL_S):
                        self._hear(key.data, order, selector)
                    self._changed(None)
            finally:
                self._end()

    def _take_up(self, cells: Sequence[Cell], order: list[Cell]) -> bool:
        """Have some cells trained too; tells whether there are any that were not known, or had ended."""
        known = {cell.run_id for cell in order} - self.ended
        self.ended -= {cell.run_id for cell in cells}
        cells = [cell for cell in cells if cell.fault is None and cell.run_id not in known]
        self.before |= {cell.run_id: len(failures(self.plan, cell)) for cell in cells}
        ids = {cell.run_id for cell in cells}
        order[:] = [*(cell for cell in order if cell.run_id not in ids), *cells]
        return bool(cells)

    def _more(self, waiting: Sequence[Cell], order: list[Cell]) -> bool:
        """Say which cells have ended, and take up those that there are by now."""
        left = {slot.cell.run_id for slot in self.slots if slot.cell is not None}
        left |= {cell.run_id for cell in waiting}
        ended = [cell for cell in order if cell.run_id not in left | self.ended]
        self.ended = {cell.run_id for cell in order} - left
        idle = sum(slot.cell is None for slot in self.slots)
        cells = self.further(max(0, idle - len(waiting)), ended)
        self.needs_gb |= self.measure([cell for cell in cells if cell.run_id not in self.needs_gb])
        return self._take_up(cells, order)

    def _waiting(self, order: Sequence[Cell]) -> list[Cell]:
        """List what may begin: looked at anew each time, as other commands complete, withhold and retry cells."""
        busy = {slot.cell.run_id for slot in self.slots if slot.cell is not None}
        idle = busy | self.completed | withheld(self.plan.out)
        return [cell for cell in order if cell.run_id not in idle and not self.is_over(cell)]

    def _changed(self, ended: Cell | None) -> None:
        """Tell; whoever looks at the cells must not ask for the locks of those that this very process has claimed."""
        self.changed(ended, frozenset(slot.cell.run_id for slot in self.slots if slot.cell is not None))

    def is_over(self, cell: Cell) -> bool:
        """Tell if another command has completed the cell or failed on it for good."""
        if read_state(self.plan.runs / cell.run_id).state == "completed":
            self.completed.add(cell.run_id)
            self._changed(cell)  # another command did it
            return True
        tries = failures(self.plan, cell)
        self.before[cell.run_id] = min(self.before[cell.run_id], len(tries))  # `sweep retry` sets them aside
        return exhausted(tries, self.before[cell.run_id], self.retries)

    def _fill(self, waiting: list[Cell], selector: selectors.BaseSelector) -> None:
        for slot in self.slots:
            if slot.cell is not None:
                continue
            for cell in waiting:
                if time.monotonic() < self.not_before.get(cell.run_id, 0.0) or not self._fits(slot, cell):
                    continue
                claim = take_lock(claim_of(self.plan, cell))
                if claim is None:
                    continue  # another command is at it
                if slot.process is None:
                    slot.start(self.plan.out)
                    assert slot.process is not None
                    assert slot.process.stdout is not None
                    selector.register(slot.process.stdout, selectors.EVENT_READ, slot)
                waiting.remove(cell)
                slot.ask(cell, claim)
                break

    def _fits(self, slot: Slot, cell: Cell) -> bool:
        """True where the slot's devices have room for a cell beside those that train there, or nothing trains there."""
        beside = [
            self.needs_gb.get(other.cell.run_id, 0.0)
            for other in self.slots
            if other.cell is not None and other.environment == slot.environment
        ]
        return not beside or sum(beside) + self.needs_gb.get(cell.run_id, 0.0) <= slot.memory_gb

    def _hear(self, slot: Slot, order: list[Cell], selector: selectors.BaseSelector) -> None:
        """Hear a slot out: how its cell ended, or nothing more, because it died."""
        process, cell = slot.process, slot.cell
        assert process is not None
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
        if answer in ("", "broken"):
            selector.unregister(process.stdout)
            code = _leave(process)
            slot.process = None
            if code == ExitCode.AGAIN and cell is not None:
                say(f"{cell.name}: stopped by a signal after its step was saved; it goes on")
                answer = "held"
            elif answer == "" and cell is not None:
                record_failure(self.plan, cell, _death(code, last_lines(log_of(self.plan, cell))))
        slot.free()
        if cell is None:
            return
        if answer == "completed":
            self.completed.add(cell.run_id)
            self._changed(cell)
            return
        if answer == "withheld":
            say(f"{cell.name}: {reason_withheld(self.plan.out, cell.run_id) or 'withheld'}; it is left as it is")
        elif answer == "held":
            self.not_before[cell.run_id] = time.monotonic() + 2 * POLL_S
        else:
            tries = failures(self.plan, cell)
            left = "" if exhausted(tries, self.before[cell.run_id], self.retries) else "; it is tried again"
            say(f"{cell.name}: {tries[-1].error}{left}")
        order.remove(cell)
        order.append(cell)

    def _end(self) -> None:
        running = [slot for slot in self.slots if slot.process is not None]
        for slot in running:
            if slot.cell is not None and slot.process is not None:
                slot.process.send_signal(signal.SIGTERM)
        for slot in running:
            assert slot.process is not None
            _leave(slot.process, wait_s=LEAVE_S if slot.cell is not None else 0.0)
            slot.process = None
            slot.free()


def _leave(process: subprocess.Popen[str], wait_s: float = 0.0) -> int:
    """End a slot's process and whatever it has started; its exit code, negative for a signal."""
    code = _left(process, wait_s)
    with suppress(ProcessLookupError):  # nothing is left of its session
        os.killpg(process.pid, signal.SIGKILL)
    return code


def _left(process: subprocess.Popen[str], wait_s: float) -> int:
    if wait_s:
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
    try:
        return process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _death(code: int, lines: tuple[str, ...]) -> Failure:
    if code == -signal.SIGKILL:
        return Failure("its process was killed (signal 9), by hand or because the machine ran out of memory", lines)
    how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
    return Failure(f"its process died: {how}", lines)


def alike(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Group cells that the same slots serve: on GPUs or on cores, and on as many of them; the largest groups of devices
    come first.
    """
    groups: dict[tuple[int, bool], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[alike_devices(cell.settings.trainer)].append(cell)
    return [groups[key] for key in sorted(groups, reverse=True)]


def alike_devices(trainer: TrainerConfig) -> tuple[int, bool]:
    """Tell what kind of slot serves a cell: how many devices it has, and whether they may be GPUs."""
    return trainer.devices, trainer.accelerator != "cpu"


MOST_ON_A_GPU = 8
"""Cells on one GPU: more of them only wait for one another."""


def slots_by_memory(trainer: TrainerConfig, needs_gb: Sequence[float], cores: int) -> list[Slot]:
    """Make the slots of `--slots auto`: as many on each GPU, or on the cores, as the memory of its cells allows.

    Args:
        trainer: of the cells, each of which trains on one device.
        needs_gb: memory of each cell.
        cores: cores there are.
    """
    devices = slots_here(trainer, None, len(needs_gb), 0.0, 0.0, cores)
    smallest = min(needs_gb)
    if "CUDA_VISIBLE_DEVICES" not in devices[0].environment:
        free_gb = KEPT_FREE * free_memory_gb()
        count = min(cores, len(needs_gb), _fitting(free_gb, smallest))
        return [Slot(devices[0].environment, free_gb) for _ in range(count)]
    rooms = [KEPT_FREE * free_gpu_memory_gb(slot.environment["CUDA_VISIBLE_DEVICES"]) for slot in devices]
    most = min(MOST_ON_A_GPU, max(1, cores // len(devices)))
    # The first cell of each GPU before the second of any.
    slots = [
        Slot(slot.environment, room)
        for nth in range(most)
        for slot, room in zip(devices, rooms, strict=True)
        if nth < _fitting(room, smallest)
    ]
    return slots[: len(needs_gb)]


def _fitting(room_gb: float, cell_gb: float) -> int:
    return max(1, int(room_gb / cell_gb)) if cell_gb < math.inf else 1


def slots_here(
    trainer: TrainerConfig, asked: int | None, cells: int, memory_gb: float, free_gb: float, cores: int
) -> list[Slot]:
    """Make the slots of this machine: one per GPU (or group of `trainer.devices`), else shares of the CPU cores.

    Args:
        trainer: of the cells, which agree in devices and accelerator (`alike`).
        asked: number that the user wants, or None.
        cells: number of cells; more slots have no use.
        memory_gb: memory that one process of a cell needs; a cell has one for each of `trainer.devices`.
        free_gb: memory there is.
        cores: cores there are.
    """
    from mammo_aln.machine.hardware import visible_gpus  # torch takes seconds to import

    gpus = [] if trainer.accelerator == "cpu" else visible_gpus()
    if gpus and trainer.devices > len(gpus):
        raise InputError(
            f"trainer.devices={trainer.devices}: this machine has {len(gpus)} CUDA device(s); "
            "ask for no more, or set trainer.accelerator=cpu"
        )
    if gpus:
        groups = [gpus[i : i + trainer.devices] for i in range(0, len(gpus) - trainer.devices + 1, trainer.devices)]
        count = min(asked or len(groups), cells)
        seen = [{"CUDA_VISIBLE_DEVICES": ",".join(groups[n % len(groups)])} for n in range(count)]
    else:
        processes = trainer.devices
        shares = max(1, cores // processes)
        fitting = max(1, int(free_gb / (processes * memory_gb))) if memory_gb else shares
        count = min(asked or min(shares, fitting), cells)
        # Not shared out by `count`: the number of threads shapes the last bits of a result, and a resumed sweep, with
        # fewer cells left or less memory free, must compute what an undisturbed one does.
        threads = str(max(1, cores // ((asked or shares) * processes)))
        seen = [dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads) for _ in range(count)]
    return [Slot(environment) for environment in seen]
