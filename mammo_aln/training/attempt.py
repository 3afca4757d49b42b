"""One attempt at a run: under its lock, with its settings, environment and state on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pytorch_lightning.utilities import rank_zero_only

from mammo_aln.errors import Requeue
from mammo_aln.files import make_folder, write_json
from mammo_aln.progress import say
from mammo_aln.runs.identity import RunIdentity
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.names import record_name
from mammo_aln.runs.predecessor import predecessors
from mammo_aln.runs.record import environment, now, read_state, write_settings, write_state
from mammo_aln.settings import Settings
from mammo_aln.training.checkpoints import drop_damaged, prune, refuse_other_ranks, seconds_before
from mammo_aln.training.last_digits import arithmetic_in_words, tell_other_arithmetic
from mammo_aln.training.stopping import STOP


def leads() -> bool:
    """Ask whether this is the first process of a training, on one device or several."""
    return getattr(rank_zero_only, "rank", 0) == 0


@dataclass(frozen=True)
class Finished:
    """The end of a run, as state.json records it: digests of a training's facts, or of a pre-training's weights."""

    frozen: Mapping[str, str] | None = None
    pretrained: str | None = None


def carry_out(
    run: Path,
    settings: Settings,
    identity: RunIdentity,
    *,
    fit: Callable[[], None],
    finish: Callable[[], Finished],
    mirror: Callable[[], None],
    name: str | None = None,
) -> Path:
    """Learn and finish a run under its lock, its settings, environment and state recorded; returns the run directory.

    Args:
        run: its directory, named by its id.
        settings: all settings.
        identity: what the id was made from.
        fit: learns, on every process of a training on several devices.
        finish: what follows the last epoch, on the first process alone; returns the digests of what it froze.
        mirror: brings the trackers up to the finished run, before it counts as completed: if that is cut off, the next
            attempt does it.
        name: what its user calls it, see `names`.

    Raises:
        InputError: another process trains this run, it was begun on another number of devices, or another run of the
            folder has the name.
    """
    make_folder(run)
    # Every process of a training on several devices comes through here; the first one keeps the records.
    with STOP.watched(), held_alone(run) if leads() else nullcontext():
        if leads():
            drop_damaged(run, completed=read_state(run).state == "completed")
        refuse_other_ranks(run, settings.trainer)
        if not leads():
            fit()
            return run
        before = read_state(run)
        record_name(run, name)
        if before.state == "completed":
            return tidied(run, settings)
        write_settings(run, settings)
        if before.state == "not_started" and (others := predecessors(run.parent, identity)):
            say(
                f"run {run.name} begins anew: {', '.join(others)} has the same settings and cohort as far as its code"
                " knows them, but learns otherwise: only that code goes on with it"
            )
        words = arithmetic_in_words(settings)
        tell_other_arithmetic(run, words)
        write_json(
            run / "environment.json",
            {
                **asdict(environment()),
                "threads": torch.get_num_threads(),
                "arithmetic": words,
                "identity": vars(identity),
            },
        )
        attempts, started, earlier_s = before.attempts + 1, before.started or now(), seconds_before(run)
        write_state(run, "running", run_id=run.name, attempts=attempts, started=started)
        begun = time.perf_counter()
        try:
            fit()
            ended = finish()
            seconds = earlier_s + time.perf_counter() - begun
            write_state(run, "running", training_s=seconds)
            mirror()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | Requeue)
            write_state(run, "stopped" if stopped else "failed", error=f"{type(error).__name__}: {error}"[:2000])
            raise
        write_state(run, "completed", error=None, ended=now(), **vars(ended))
    return tidied(run, settings)


def tidied(run: Path, settings: Settings) -> Path:
    """The directory of a completed run, without `last.ckpt` where `trainer.prune` asks for that."""
    if settings.trainer.prune:
        prune(run)
    return run
