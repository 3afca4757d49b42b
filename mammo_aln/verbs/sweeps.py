"""Many runs: carried out, looked at, chosen from. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from mammo_aln.settings import ClusterConfig, TrainingSettings
from mammo_aln.settings.limits import PROCESSES, RESAMPLES, RETRIES, within


def sweep_run(
    sweep: Path,
    cohort: Path,
    out: Path,
    settings: TrainingSettings,
    given: dict[str, Any],
    store: Path | None = None,
    executor: Literal["local", "slurm"] = "local",
    slots: Annotated[int | Literal["auto"] | None, PROCESSES] = None,
    retries: Annotated[int, RETRIES] = 2,
    seeds: int | list[int] | None = None,
    pretrained: Path | None = None,
    wandb_sweep: Path | None = None,
    dry_run: bool = False,
    plan_on_node: bool = False,
    cluster: ClusterConfig = ClusterConfig(),
) -> int | Path | str:
    """Train every cell of a sweep in OUT/runs; again: goes on. Exit code 1 if a cell failed for good.

    Args:
        sweep: YAML file: settings, `grid:`, `steps:`, `seeds:`, `folds:`; or the name of a shipped one.
        cohort: cohort folder.
        out: folder of the sweep; several commands on one folder share its cells.
        settings: of every cell, with defaults.
        given: those settings that were given here, as nested plain values; they win over the file's.
        store: crop store; by default .crops in the cohort folder.
        executor: `local` uses this machine's GPUs or CPU cores, `slurm` submits a job array.
        slots: cells that train at once on this machine; by default one per GPU, or per CPU core that memory allows;
            `auto` measures the first steps of each distinct network and puts as many on a GPU as its memory allows.
        retries: how often a cell that died is tried again, from its last checkpoint.
        seeds: in place of the file's: a count (3 is the seeds 0, 1 and 2), or the list of them ([3, 7]).
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        wandb_sweep: write the equivalent W&B sweep to this file instead of training anything.
        dry_run: print what would be trained, for how long, and what would be opened; write nothing.
        plan_on_node: with `--executor slurm`: plan, build crops and follow the jobs in a job of its own; this command
            shows what that one says, and may be left.
        cluster: what a SLURM job asks for.
    """
    import shlex
    import sys
    from dataclasses import fields
    from functools import partial

    from mammo_aln.errors import InputError
    from mammo_aln.sweeps.planning.definition import read_definition

    names = {field.name for field in fields(settings)}
    over = {name: value for name, value in given.items() if name in names}
    if wandb_sweep is not None:
        from mammo_aln.sweeps.planning.wandb_file import write_wandb_sweep

        return write_wandb_sweep(
            read_definition(sweep, over, seeds),
            cohort.absolute(),
            out.absolute(),
            wandb_sweep,
            store=store.absolute() if store else None,
            pretrained=pretrained,
        )
    if dry_run:
        from mammo_aln.sweeps.forecasting.sweep import forecast_sweep

        return forecast_sweep(
            sweep,
            cohort,
            out,
            store=store,
            executor=executor,
            slots=slots if isinstance(slots, int) else None,
            cluster=cluster,
            seeds=seeds,
            pretrained=pretrained,
            over=over,
        )
    from mammo_aln.sweeps.run import run_sweep

    work = partial(
        run_sweep,
        sweep,
        cohort,
        out,
        store=store,
        executor=executor,
        slots=slots,
        retries=retries,
        seeds=seeds,
        pretrained=pretrained,
        cluster=cluster,
        over=over,
        command=shlex.join(["mammo-aln", *sys.argv[1:]]),
    )
    if not plan_on_node:
        return work()
    if executor != "slurm":
        raise InputError("--plan_on_node: expected --executor slurm beside it")
    from mammo_aln.sweeps.slurm.on_node import sweep_on_node

    return sweep_on_node(work, read_definition(sweep, over, seeds), out, cluster)


def sweep_write(
    sweep: Path,
    cohort: Path,
    out: Path,
    engine: Literal["kubernetes", "skypilot", "ray"],
    settings: TrainingSettings,
    given: dict[str, Any],
    image: str | None = None,
    volumes: list[str] | None = None,
    store: Path | None = None,
    retries: Annotated[int, RETRIES] = 2,
    seeds: int | list[int] | None = None,
    pretrained: Path | None = None,
    cluster: ClusterConfig = ClusterConfig(),
) -> Path:
    """Plan a sweep, build its crops and write OUT/jobs/*: an engine's job file; nothing is submitted.

    Args:
        sweep: YAML file, as for `sweep run`.
        cohort: cohort folder; all nodes must see it, OUT and the store at the same paths.
        out: folder of the sweep.
        engine: Kubernetes (Indexed Job), SkyPilot (managed job) or Ray (tasks).
        settings: of every cell, with defaults.
        given: those settings that were given here, as nested plain values; they win over the file's.
        image: container image that holds this package (Kubernetes, SkyPilot).
        volumes: where volumes hang, e.g. `[data:/data]`: claims of Kubernetes, volumes of SkyPilot.
        store: crop store; by default .crops in the cohort folder.
        retries: how often a cell that failed is tried again; one that a signal stopped goes on without being counted.
        seeds: in place of the file's: a count (3 is the seeds 0, 1 and 2), or the list of them ([3, 7]).
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        cluster: what a cell asks for: cores, GPUs, memory, and by `extra` fields of the pod or of SkyPilot's resources.
    """
    import shlex
    import sys
    from dataclasses import fields

    from mammo_aln.sweeps.engines.write import write_jobs

    names = {field.name for field in fields(settings)}
    return write_jobs(
        sweep,
        cohort,
        out,
        engine,
        image=image,
        volumes=volumes or [],
        store=store,
        retries=retries,
        seeds=seeds,
        pretrained=pretrained,
        cluster=cluster,
        over={name: value for name, value in given.items() if name in names},
        command=shlex.join(["mammo-aln", *sys.argv[1:]]),
    )


def sweep_work(
    cells: Path, index: Annotated[int | None, within(0, 1_000_000)] = None, retries: Annotated[int, RETRIES] = 2
) -> int:
    """Train one cell of a list, or whichever is free until none is left. Exit code 75: start the same command again.

    Args:
        cells: file that `sweep write` made, OUT/jobs/NAME.cells.
        index: number of the cell, from 0; by default every cell that no other process trains.
        retries: how often a cell that failed is tried again; with --index the engine decides.
    """
    from mammo_aln.sweeps.engines.work import work

    return work(cells, index, retries)


def sweep_status(out: Path) -> Path:
    """Show where every cell stands: state, validation AUC with interval, time, and how a failed one is resumed.

    Args:
        out: folder of the sweep.
    """
    from mammo_aln.progress import say
    from mammo_aln.sweeps.plan_file import read_plan
    from mammo_aln.sweeps.standing.board import status_table, write_board
    from mammo_aln.sweeps.standing.states import queue_of, tables_touched
    from mammo_aln.sweeps.standing.table import read_rows

    plan = read_plan(out)
    rows = read_rows(plan, queue=queue_of(plan))
    say(status_table(plan, rows))
    if tables_touched(plan):
        from mammo_aln.sweeps.standing.cohort_now import changed_cohort

        if changed := changed_cohort(plan):
            say(changed)
    return write_board(plan, rows, live=any(row.standing.state == "running" for row in rows))


def sweep_drop(cells: list[str], out: Path) -> Path:
    """Take cells out of a sweep: they are neither trained nor ranked, until `sweep retry`; their runs stay on disk.

    A cell that is being trained saves its step and ends. To take out a whole axis value, delete it from the sweep's
    file and run the sweep again.

    Args:
        cells: each by its id, or by a part of its name that no other cell has (see `sweep status`).
        out: folder of the sweep.
    """
    from mammo_aln.sweeps.orders import drop_cells

    return drop_cells(out, cells)


def sweep_retry(cells: list[str], out: Path) -> Path:
    """Try cells again that failed, were cancelled or dropped: a command that runs takes them up, or the next one.

    Args:
        cells: each by its id, or by a part of its name that no other cell has (see `sweep status`).
        out: folder of the sweep.
    """
    from mammo_aln.sweeps.orders import retry_cells

    return retry_cells(out, cells)


def sweep_cancel(cells: list[str], out: Path) -> Path:
    """Stop the training of cells, or keep it from beginning; the step is saved, and `sweep retry` goes on from it.

    They stay cells of the sweep: a configuration that lacks one is not ranked, and test splits stay sealed.

    Args:
        cells: each by its id, or by a part of its name that no other cell has (see `sweep status`).
        out: folder of the sweep.
    """
    from mammo_aln.sweeps.orders import cancel_cells

    return cancel_cells(out, cells)


def sweep_prune(out: Path, cells: list[str] | None = None, remove: bool = False) -> Path:
    """List what a sweep's folder holds beyond need, with its size; remove it with --remove.

    That is `last.ckpt` of completed cells (`best.ckpt` predicts) and runs of superseded cells. What a process holds and
    the runs that have opened a test split stay.

    Args:
        out: folder of the sweep.
        cells: these alone, by id or by a part of the name; so the run of a dropped cell can go too.
        remove: remove what is listed.
    """
    from mammo_aln.sweeps.prune import prune_sweep

    return prune_sweep(out, cells or [], remove=remove)


def sweep_log(cells: list[str], out: Path, lines: Annotated[int, within(1, 1_000_000)] = 20) -> str:
    """Show the last lines of what cells said while they were trained, here or in a SLURM job, and where the rest is.

    Args:
        cells: each by its id, or by a part of its name that no other cell has (see `sweep status`).
        out: folder of the sweep.
        lines: so many of each.
    """
    from mammo_aln.sweeps.orders import log_lines

    return log_lines(out, cells, lines)


def sweep_collect(
    out: Path, test: bool = False, allow_missing: bool = False, resamples: Annotated[int, RESAMPLES] = 2000
) -> Path:
    """Write OUT/cells.csv and the choice by validation alone (choice.html); with --test, then open the test splits.

    Args:
        out: folder of the sweep.
        test: score and judge the test splits with the chosen configuration, or with every step of a ladder.
        allow_missing: of the test splits, see `predict --allow_missing`.
        resamples: bootstrap resamples of patients.
    """
    from mammo_aln.sweeps.collect import collect_sweep

    return collect_sweep(out, test=test, allow_missing=allow_missing, resamples=resamples)


def sync(folder: Path) -> Path:
    """Upload a sweep's cells and pre-trainings, or one run, to W&B from their own files; nothing is sent twice.

    For runs that were kept offline (`log.wandb=offline`, no network, no key), stopped or killed. The same command goes
    on where it stopped; cells that are being trained now are left to their training.

    Args:
        folder: folder of a sweep, or directory of a run.
    """
    from mammo_aln.sweeps.sync import sync_runs

    return sync_runs(folder)
