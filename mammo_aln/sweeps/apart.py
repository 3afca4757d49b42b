"""The training of one cell on several devices: `python -m mammo_aln.sweeps.apart DIR RUN_ID`.

Lightning starts the other ranks by this same command. Its exit code is that of `train`, or `HELD` where another process
trains the run; anything else is a crash.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mammo_aln.errors import ExitCode, InputError, Requeue


def main(out: Path, run_id: str) -> int:
    """Train the cell; returns the exit code."""
    from mammo_aln.runs.lock import RunIsHeld
    from mammo_aln.sweeps.cell import mirrored_cell
    from mammo_aln.sweeps.plan_file import read_plan
    from mammo_aln.training.train import train_run

    plan = read_plan(out)
    cell = plan.cell(run_id)
    try:
        train_run(
            plan.cohort, plan.runs, cell.settings, store=plan.store, planned=run_id, cell=mirrored_cell(plan, cell)
        )
    except RunIsHeld as error:
        print(error, file=sys.stderr)
        return ExitCode.HELD
    except InputError as error:
        print(error, file=sys.stderr)
        return ExitCode.WRONG_INPUT
    except Requeue as stopped:
        print(stopped, file=sys.stderr)
        return ExitCode.AGAIN
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
