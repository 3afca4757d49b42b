"""The training of one cell on several devices: `python -m mammo_aln.sweeps.apart DIR RUN_ID`.

Lightning starts the other ranks by this same command. Its exit code is 0, `INPUT` for wrong input, `HELD` where another
process trains the run, or `AGAIN` where a signal ended it and its step is saved; anything else is a crash.
"""

from __future__ import annotations

import sys
from pathlib import Path

INPUT, HELD, AGAIN = 2, 3, 75


def main(out: Path, run_id: str) -> int:
    """Train the cell; returns the exit code."""
    from mammo_aln.errors import InputError, Requeue
    from mammo_aln.runs.lock import RunIsHeld
    from mammo_aln.sweeps.plan import read_plan
    from mammo_aln.training.train import train_run

    plan = read_plan(out)
    settings = plan.cell(run_id).typed_settings()
    try:
        train_run(plan.cohort, plan.runs, settings, store=plan.store, planned=run_id)
    except RunIsHeld as error:
        print(error, file=sys.stderr)
        return HELD
    except InputError as error:
        print(error, file=sys.stderr)
        return INPUT
    except Requeue as stopped:
        print(stopped, file=sys.stderr)
        return AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
