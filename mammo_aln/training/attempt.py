"""One attempt at a run: under its lock, with its settings, environment and state on record."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only

from mammo_aln.files import make_folder, write_json
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.record import environment, now, read_state, write_settings, write_state
from mammo_aln.settings import Settings
from mammo_aln.training.stopping import STOP


def carry_out(
    run: Path,
    settings: Settings,
    identity: dict[str, Any],
    *,
    fit: Callable[[], None],
    finish: Callable[[], dict[str, Any]],
) -> Path:
    """Learn and finish a run under its lock, its settings, environment and state recorded; returns the run directory.

    Args:
        run: its directory, named by its id.
        settings: all settings.
        identity: what the id was made from.
        fit: learns, on every process of a training on several devices.
        finish: what follows the last epoch, on the first process alone; returns what state.json shall record of it.

    Raises:
        InputError: another process trains this run.
    """
    make_folder(run)
    # Every process of a training on several devices comes through here; the first one keeps the records.
    leads = getattr(rank_zero_only, "rank", 0) == 0
    with STOP.watched(), held_alone(run) if leads else nullcontext():
        if not leads:
            fit()
            return run
        before = read_state(run)
        if before["state"] == "completed":
            return run
        write_settings(run, settings)
        write_json(
            run / "environment.json", {**environment(), "threads": torch.get_num_threads(), "identity": identity}
        )
        attempts, started = before.get("attempts", 0) + 1, before.get("started") or now()
        write_state(run, "running", run_id=run.name, attempts=attempts, started=started)
        begun = time.perf_counter()
        try:
            fit()
            ended = finish()
        except BaseException as error:
            write_state(run, "failed", error=f"{type(error).__name__}: {error}"[:2000])
            raise
        write_state(run, "completed", error=None, ended=now(), training_s=time.perf_counter() - begun, **ended)
    return run
