"""The process of one slot: imports once, then trains the cells that are named on its standard input, one by one.

`python -m mammo_aln.sweeps.worker DIR` reads run ids, a line each, and answers each with one line: `completed`, `held`,
`failed` or `broken`. It ends when its standard input does, at once, whatever it is doing: so nothing outlives a sweep
that was killed. What the training of a cell says goes to the cell's log.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path

from mammo_aln.errors import ExitCode
from mammo_aln.machine.signals import kill_own_group


def main(out: Path) -> None:
    """Train cells until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()

    import torch

    from mammo_aln.cohort.tables import Cohort
    from mammo_aln.errors import Requeue
    from mammo_aln.machine.memory import release_gpu_memory
    from mammo_aln.runs.record import now
    from mammo_aln.sweeps.cell import log_of, train_cell
    from mammo_aln.sweeps.plan_file import read_plan
    from mammo_aln.training import train  # noqa: F401  # loaded before the first cell's clock runs

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    cohorts: dict[bool, Cohort] = {}
    while True:
        run_id = asked.get()
        plan = read_plan(out)
        cell = plan.cell(run_id)
        log = log_of(plan, cell)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab", buffering=0) as stream:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
        print(f"{now()} {cell.name}", flush=True)
        try:
            answers.write(train_cell(plan, cell, cohorts) + "\n")
        except Requeue:
            sys.exit(ExitCode.AGAIN)
        release_gpu_memory()
        answers.flush()


def _listen(asked: queue.Queue[str]) -> None:
    for line in sys.stdin:
        asked.put(line.strip())
    # The sweep is gone; a run is whole on disk at any instant. Ranks that this process has started go with it.
    kill_own_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
