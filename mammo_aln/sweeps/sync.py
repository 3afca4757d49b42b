"""`sync`: upload runs to W&B that were kept offline, stopped half-way or not reached; nothing is sent twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mammo_aln.errors import CheckFailed, InputError
from mammo_aln.files import read_object
from mammo_aln.progress import Progress, say
from mammo_aln.runs.identity import RunIdentity
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.names import run_path
from mammo_aln.runs.record import read_any_settings, read_state
from mammo_aln.sweeps.cell import mirrored_cell
from mammo_aln.sweeps.plan_file import PLAN, read_plan
from mammo_aln.sweeps.planning.weights import PRETRAININGS
from mammo_aln.training.trackers.mirrored import CellOfSweep, Mirrored
from mammo_aln.training.trackers.outcome import Outcome
from mammo_aln.training.trackers.wandb_key import has_wandb_key, wandb_server
from mammo_aln.training.trackers.wandb_run import WandbRun

OF_A_RUN = ("config.yaml", "environment.json")
"""Files that a run has from its beginning."""


def sync_runs(folder: Path) -> Path:
    """Upload the cells and pre-trainings of a sweep, or one run, from their own files; runs in training are left to it.

    Args:
        folder: folder of a sweep, or directory of a run, of a training or a pre-training.

    Raises:
        InputError: no such runs, one whose files cannot be read, or W&B has no key here.
        CheckFailed: W&B did not take a run; those before it are there.
    """
    folder = run_path(folder)
    runs = _runs_of(folder)
    if not has_wandb_key():
        raise InputError(
            f"W&B has no API key for {wandb_server()} here; expected one by `wandb login` or WANDB_API_KEY"
        )
    ready = {run: cell for run, cell in runs.items() if (run / "metrics.csv").is_file() and not is_held(run)}
    progress = Progress(total=len(ready), what="sync", unit="run")
    for run, cell in ready.items():
        mirrored, outcome = _read(run, cell)
        try:
            _upload(mirrored, outcome, completed=read_state(run).state == "completed")
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise CheckFailed(
                f"{run.name}: {wandb_server()} did not take it ({reason}); the same command goes on"
            ) from error
        progress.advance()
    progress.end()
    if left := len(runs) - len(ready):
        say(f"{left} of {len(runs)} runs have no epoch yet or are being trained: not uploaded")
    return folder


def _runs_of(folder: Path) -> Mapping[Path, CellOfSweep | None]:
    if (folder / PLAN).is_file():
        plan = read_plan(folder)
        cells = {plan.runs / cell.run_id: mirrored_cell(plan, cell) for cell in plan.cells}
        return {**dict.fromkeys(_pretrainings(folder)), **cells}
    if (folder / "config.yaml").is_file():
        return {folder: None}
    raise InputError(f"{folder}: expected the folder of a sweep ({PLAN}) or the directory of a run (config.yaml)")


def _pretrainings(folder: Path) -> Iterator[Path]:
    for run in sorted((folder / PRETRAININGS).glob("*")):
        if all((run / name).is_file() for name in OF_A_RUN):
            yield run


def _read(run: Path, cell: CellOfSweep | None) -> tuple[Mirrored, Outcome]:
    settings = read_any_settings(run)
    record = run / "environment.json"
    try:
        identity = RunIdentity(**read_object(record)["identity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record}: cannot be read ({type(error).__name__}: {error}); expected a run's own") from error
    return Mirrored(run, settings, identity, cell), Outcome.of_run(run)


def _upload(mirrored: Mirrored, outcome: Outcome, *, completed: bool) -> None:
    open_run = WandbRun(mirrored, "online")
    if completed:
        open_run.complete(outcome)
    else:
        # It may go on: its epochs alone, so that the next one finds its step free.
        open_run.log_rows(outcome.rows, last=False)
    open_run.close(exit_code=0 if completed else 1)
