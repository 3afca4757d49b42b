"""A scheduler's SIGTERM, SIGUSR1 or SIGUSR2 ends a training at its next step: saved, its exit code says: again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import pytorch_lightning as pl

from mammo_aln.errors import Requeue
from mammo_aln.machine.signals import LEAVE, handled

STEPS_BETWEEN_TALKS = 8
"""Ranks agree on stopping at every so many steps: asking the others costs a little at each."""


class StopRequest:
    """A signal's request that this process leave; a process has one (`STOP`), as it has one handler per signal.

    Outside a training's steps the handler raises `Requeue` at once. Within them it only takes a note, so that a step
    is never cut in two; the callback that writes checkpoints asks for it.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._noting = False
        self._owner = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals in this block; a thread other than the main one leaves them alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        owner, self._owner, self.signal_name = self._owner, os.getpid(), ""
        try:
            with handled(LEAVE, self._on_signal):
                yield
        finally:
            self._owner = owner

    @contextmanager
    def at_steps(self) -> Iterator[None]:
        """In this block signals are noted only; one that nobody has answered is answered at its end."""
        self._noting = True
        try:
            yield
        finally:
            self._noting = False
        if self.signal_name:
            self.leave()

    def handle(self) -> None:
        """Take the signals over (again): Lightning puts a handler of its own in front when its trainer starts."""
        if self._owner == os.getpid() and threading.current_thread() is threading.main_thread():
            for number in LEAVE:
                signal.signal(number, self._on_signal)

    def agreed(self, trainer: pl.Trainer, batch_idx: int | None = None) -> bool:
        """Decide to stop now: with several ranks as soon as one of them was asked, at the same step on all."""
        if trainer.world_size == 1:
            return bool(self.signal_name)
        if batch_idx is not None and (batch_idx + 1) % STEPS_BETWEEN_TALKS:
            return False
        asked: bool = trainer.strategy.reduce_boolean_decision(bool(self.signal_name), all=False)
        return asked

    def leave(self) -> None:
        """Raise `Requeue`, naming the signal."""
        raise Requeue(f"stopped by {self.signal_name or 'a signal to another rank'}")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            # A forked worker inherits this handler and has nothing to save.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.signal_name = signal.Signals(number).name
        if not self._noting:
            self.leave()


STOP = StopRequest()


class StopAtStep(pl.Callback):
    """Takes the signals back from Lightning when training begins."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Handle the signals from here on."""
        STOP.handle()


@dataclass(frozen=True)
class Position:
    """The position of a checkpoint: the epoch and step that come next, unless the training is done."""

    epoch: int
    step: int
    done: bool

    @classmethod
    def after_step(cls, trainer: pl.Trainer, batch_idx: int) -> Position:
        """Behind a step within an epoch."""
        return cls(trainer.current_epoch, batch_idx + 1, done=False)

    @classmethod
    def after_epoch(cls, trainer: pl.Trainer) -> Position:
        """Behind an epoch and its validation; early stopping or the last epoch ends the training."""
        following = trainer.current_epoch + 1
        return cls(following, 0, done=bool(trainer.should_stop or following == trainer.max_epochs))
