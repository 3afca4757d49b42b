"""The trackers that `log.tracker` names, and the mirrors of one run in them, none of which can end its training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import Protocol

from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.settings import Settings, TrackerName
from mammo_aln.training.trackers.loggers import csv_run, mlflow_run, tensorboard_run
from mammo_aln.training.trackers.mirrored import Mirrored
from mammo_aln.training.trackers.outcome import Outcome
from mammo_aln.training.trackers.wandb_run import WandbRun, offline_reason, under_agent


class OpenRun(Protocol):
    """A run that is open in a tracker."""

    def log_rows(self, rows: Sequence[Mapping[str, float]], *, last: bool) -> None:
        """Send the epochs that the tracker lacks; `last` where no other one follows."""

    def complete(self, outcome: Outcome) -> None:
        """Send all that it lacks of a run that is done."""

    def close(self, exit_code: int = 0) -> None:
        """End it."""


TRACKERS: dict[TrackerName, tuple[str, Callable[[Mirrored], OpenRun]]] = {
    # name: the module that it needs, and what opens a run live
    "wandb": ("wandb", lambda mirrored: WandbRun(mirrored, "online")),
    "tensorboard": ("tensorboard", tensorboard_run),
    "mlflow": ("mlflow", mlflow_run),
    "csv": ("", csv_run),
}


WANDB_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""Words that W&B takes in WANDB_MODE."""


def active_trackers(settings: Settings) -> tuple[TrackerName, ...]:
    """Name the trackers that mirror a run of these settings, each once; W&B's own switch WANDB_MODE=disabled counts."""
    names = dict.fromkeys(settings.log.tracker)
    off = settings.log.wandb == "disabled" or os.environ.get("WANDB_MODE") == "disabled"
    return tuple(name for name in names if not (name == "wandb" and off))


def require_trackers(settings: Settings) -> None:
    """`InputError` where a tracker that `log.tracker` names is not installed, or WANDB_MODE is no word of W&B's."""
    mode = os.environ.get("WANDB_MODE") or "online"
    if "wandb" in active_trackers(settings) and mode not in WANDB_MODES:
        raise InputError(
            f"WANDB_MODE={mode}: W&B knows {', '.join(WANDB_MODES)} (environment variable); unset it, or"
            " --log.wandb=disabled"
        )
    for name in active_trackers(settings):
        module = TRACKERS[name][0]
        if module and find_spec(module) is None:
            extra = "wandb" if name == "wandb" else f"'mammo-aln[{name}]'"
            raise InputError(
                f"log.tracker names {name}, which is not installed: pip install {extra}, or leave {name} out"
                + (" (log.wandb=disabled)" if name == "wandb" else "")
            )


class Mirrors:
    """The mirrors of one run, which its training keeps up to date and closes.

    A mirror that fails is said in one line and left; W&B is then written into the run directory once the run is done,
    as it is where `log.wandb=offline` asks for that.

    Args:
        mirrored: the run.
    """

    def __init__(self, mirrored: Mirrored) -> None:
        self.mirrored = mirrored
        names = active_trackers(mirrored.settings)
        self.offline = "wandb" in names and mirrored.settings.log.wandb == "offline"
        if "wandb" in names and not self.offline and (reason := offline_reason()) is not None:
            self._leave_wandb(reason)
        self.live = [name for name in names if not (name == "wandb" and self.offline)]
        self.open: dict[TrackerName, OpenRun] = {}

    def log_rows(self, rows: Sequence[Mapping[str, float]], *, last: bool) -> None:
        """Bring the live ones up to the training's epochs.

        Args:
            rows: all epochs so far, as metrics.csv has them.
            last: no other epoch follows.
        """
        for name in list(self.live):
            self._try(name, lambda run: run.log_rows(rows, last=last))

    def complete(self) -> None:
        """Bring all up to the files of a run that is done, and end them."""
        if not self.live and not self.offline:
            return
        try:
            outcome = Outcome.of_run(self.mirrored.run)
        except Exception as error:  # noqa: BLE001  # as below: the run is done, and whole in its own files
            say(f"note: the end of the run cannot be mirrored ({_words(error)}); the run is whole without it")
            return
        for name in list(self.live):
            self._try(name, lambda run: _finished(run, outcome))
            self.open.pop(name, None)
        if self.offline:
            try:
                _finished(WandbRun(self.mirrored, "offline"), outcome)
            except Exception as error:  # noqa: BLE001  # whatever fails in a mirror, the run itself is done
                say(f"note: W&B cannot be written ({_words(error)}); the run is whole without it")
        self.live, self.offline = [], False

    def __enter__(self) -> Mirrors:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End what is still open: a run that stopped or failed, and may go on."""
        for name in list(self.open):
            self._try(name, lambda run: run.close(exit_code=0 if kind is None else 1))
        self.open.clear()

    def _try(self, name: TrackerName, act: Callable[[OpenRun], None]) -> None:
        try:
            if name not in self.open:
                self.open[name] = TRACKERS[name][1](self.mirrored)
            act(self.open[name])
        except Exception as error:  # noqa: BLE001  # a mirror must not end a training, whatever it stumbles over
            self.live = [other for other in self.live if other != name]
            self.open.pop(name, None)
            if name == "wandb":
                WandbRun.give_up()
                self._leave_wandb(_words(error))
            else:
                say(f"note: {name} cannot be written ({_words(error)}); the training goes on without it")

    def _leave_wandb(self, reason: str) -> None:
        self.offline = True
        say(f"note: log.wandb=online: {reason}; the run is kept offline, `mammo-aln sync` uploads it later")


def mirror_again(mirrored: Mirrored) -> None:
    """Mirror a run that was done already where `wandb agent` asked for it: its trial would else hold no number."""
    if under_agent() and "wandb" in active_trackers(mirrored.settings):
        with Mirrors(mirrored) as mirrors:
            mirrors.complete()


def _finished(run: OpenRun, outcome: Outcome) -> None:
    run.complete(outcome)
    run.close()


def _words(error: Exception) -> str:
    """Word an error in one line."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{type(error).__name__}: {lines[0]}"
