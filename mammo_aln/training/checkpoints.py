"""A run's two checkpoints: `last.ckpt` to go on from, `best.ckpt` to predict with, written beside the training.

A save takes a snapshot of the state at its step, in main memory; a thread writes it while the next steps run. The best
epoch's weights are kept in memory until the next save and written with it, in this order, each file whole and on the
disk before the next begins:

1. `next_best.ckpt`, the weights of epoch k;
2. `last.ckpt`, whose state says that k is the best epoch;
3. `next_best.ckpt` becomes `best.ckpt`.

Whatever instant a kill comes at, `settle` finds the best epoch's weights that belong to `last.ckpt`.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from torch import Tensor

from mammo_aln.errors import InputError
from mammo_aln.files import sync_folder, unwritten, write_csv, written_whole
from mammo_aln.model.origin import stored_checkpoint
from mammo_aln.progress import say
from mammo_aln.settings import TrainerConfig

LAST, BEST, NEXT_BEST = "last.ckpt", "best.ckpt", "next_best.ckpt"
GROWTH_BYTES = 1_000_000
TRAINED_S = "trained_s"
"""Key of the seconds that led to a checkpoint, those of earlier attempts included; steps that a kill undid are not."""
ONLY_TO_GO_ON = ("optimizer_states", "lr_schedulers")
"""Content of a checkpoint that nobody needs once the training is done: AdamW's moments are half of it."""


def snapshot(state: Any) -> Any:
    """Copy a state of nested dicts, lists and tensors into main memory, as it is at this step.

    Copies from a GPU are queued on its current stream, before whatever changes the weights next; they are there once
    that stream has come so far (`torch.cuda.Event`). Tensors that share their values go on sharing them.
    """
    return _snapshot(state, {})


def _snapshot(state: Any, copies: dict[Any, Tensor]) -> Any:
    if isinstance(state, Tensor):
        values = state.detach()
        identity = (values.device, values.data_ptr(), values.dtype, values.shape, values.stride())
        if identity not in copies:
            host = torch.empty_like(values, device="cpu", pin_memory=values.is_cuda)
            copies[identity] = host.copy_(values, non_blocking=values.is_cuda)
        return copies[identity]
    if isinstance(state, Mapping):
        copied: dict[Any, Any] = OrderedDict() if isinstance(state, OrderedDict) else {}
        copied.update((name, _snapshot(value, copies)) for name, value in state.items())
        if isinstance(state, OrderedDict):
            vars(copied).update(copy.deepcopy(vars(state)))  # versions of modules, in a state_dict
        return copied
    if type(state) in (list, tuple):
        return type(state)(_snapshot(value, copies) for value in state)
    return copy.deepcopy(state)


class RunCheckpoints(TorchCheckpointIO):
    """Lightning's plugin that writes a run's checkpoints in a thread; on leaving the block all is on the disk.

    Args:
        folder: the run's folder of checkpoints.
        save_every_s: seconds between the beginnings of two writings that nothing but time asks for.
        keeps_optimiser: the last one, of the finished training, holds the optimiser's state as well.
    """

    def __init__(self, folder: Path, save_every_s: float, *, keeps_optimiser: bool = False) -> None:
        super().__init__()
        self.folder, self.save_every_s, self.keeps_optimiser = folder, save_every_s, keeps_optimiser
        self._begun = time.monotonic()
        self._best: Mapping[str, Any] | None = None
        self._writer: threading.Thread | None = None
        self._fault: BaseException | None = None

    def __enter__(self) -> RunCheckpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        try:
            self.wait()
        except BaseException as fault:
            if error is None:
                raise
            error.add_note(f"{self.folder / LAST} was not written either: {fault}")

    @property
    def due(self) -> bool:
        """True where it is time for `last.ckpt`, and the one before is on the disk."""
        idle = self._writer is None or not self._writer.is_alive()
        self._raise_fault()
        return idle and time.monotonic() - self._begun >= self.save_every_s

    def keep_best(self, checkpoint: Mapping[str, Any]) -> None:
        """Take a snapshot of the best epoch's checkpoint; the next save writes it."""
        self._best = snapshot(checkpoint)

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Take a snapshot and begin to write it, once the writing before has ended.

        Raises:
            InputError: that one failed.
        """
        self.wait()
        self._begun = time.monotonic()
        last, best, self._best = snapshot(checkpoint), self._best, None
        copied = torch.cuda.Event() if torch.cuda.is_initialized() else None
        if copied is not None:
            copied.record()
        self._writer = threading.Thread(target=self._write, args=(Path(path), last, best, copied), name="checkpoints")
        self._writer.start()

    def wait(self) -> None:
        """Wait until whatever was saved is on the disk.

        Raises:
            InputError: it could not be written.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        self._raise_fault()

    def _write(self, path: Path, last: Any, best: Any, copied: torch.cuda.Event | None) -> None:
        try:
            if copied is not None:
                copied.synchronize()
            if best is not None:
                write_checkpoint(self.folder / NEXT_BEST, best)
            write_checkpoint(path, last)
            if best is not None:
                _promote(self.folder)
        except BaseException as fault:  # noqa: BLE001  # kept for the training's own thread, which raises it
            self._fault = fault

    def _raise_fault(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault


def refuse_kept_and_pruned(trainer: TrainerConfig) -> None:
    """`InputError` where the settings ask to keep the optimiser in a file that they ask to remove."""
    if trainer.prune and trainer.keep_optimiser:
        raise InputError(
            f"trainer.keep_optimiser = true: it is kept in {LAST}, which trainer.prune = true removes; expected one of"
            " the two"
        )


def without_optimiser(checkpoint: dict[str, object]) -> None:
    """Drop from a finished training's checkpoint what only its next step would read."""
    for name in ONLY_TO_GO_ON:
        checkpoint.pop(name, None)


def drop_damaged(run: Path, *, completed: bool) -> None:
    """Remove a `last.ckpt` that is damaged, and say so: the training begins anew, a completed run does without it.

    No step can go on from `best.ckpt`, which holds neither the optimiser's state nor the order of patients.
    """
    try:
        read_last(run)
    except InputError as error:
        ends = "a completed run does without it" if completed else "the training begins anew"
        say(f"{str(error).partition(';')[0]}; it is removed: {ends}")
        for name in (LAST,) if completed else (LAST, NEXT_BEST, BEST):
            (run / "checkpoints" / name).unlink(missing_ok=True)


def settle(run: Path) -> None:
    """Make a run's files those that its `last.ckpt` tells of: `best.ckpt`, and the rows of metrics.csv.

    Raises:
        InputError: the best epoch's weights are gone, or a checkpoint is damaged.
    """
    folder = run / "checkpoints"
    for unfinished in folder.glob(".*.part"):  # a kill cut their writing off
        unfinished.unlink()
    state = read_last(run)
    if state is None:
        (folder / NEXT_BEST).unlink(missing_ok=True)
        return
    recorded = state["callbacks"]["RunRecorder"]
    if recorded["rows"]:
        write_csv(run / "metrics.csv", pd.DataFrame(recorded["rows"]))
    best_epoch = int(recorded["best_epoch"])
    if (folder / NEXT_BEST).is_file():
        if _mapped(folder / NEXT_BEST)["epoch"] == best_epoch:
            _promote(folder)
        else:  # of an epoch that `last.ckpt` has not come to: it will be taken again
            (folder / NEXT_BEST).unlink()
    if best_epoch >= 0:
        best = folder / BEST
        epoch = _mapped(best)["epoch"] if best.is_file() else None
        if epoch != best_epoch:
            instead = "is not there" if epoch is None else f"is of epoch {epoch + 1}"
            raise InputError(
                f"{best} {instead}, but {LAST} was written when epoch {best_epoch + 1} was the best; remove the folder"
                f" {folder} to train anew"
            )


def refuse_other_ranks(run: Path, trainer: TrainerConfig) -> None:
    """`InputError` where a training that goes on would do so on another number of devices than it was saved on.

    A rank's share of an epoch's mean loss, and what each draws, are those of the ranks that began the epoch.
    """
    state = read_last(run)
    if state is None or "ranks" not in state or state["place"].get("done"):
        return
    devices, nodes = state["ranks"]["devices"], state["ranks"]["num_nodes"]
    if devices * nodes != trainer.ranks:
        raise InputError(
            f"run {run.name}: {LAST} was saved on trainer.devices = {devices} x trainer.num_nodes = {nodes}, and cannot"
            f" go on with {trainer.devices} x {trainer.num_nodes}: --trainer.devices={devices}"
            f" --trainer.num_nodes={nodes}, or remove {run / 'checkpoints'} to train anew"
        )


def read_last(run: Path) -> Mapping[str, Any] | None:
    """Content of a run's `last.ckpt`, its tensors mapped from the disk; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    last = run / "checkpoints" / LAST
    return _mapped(last) if last.is_file() else None


def seconds_before(run: Path) -> float:
    """Seconds that earlier attempts trained for what `last.ckpt` holds; 0 where there is none."""
    return float(((read_last(run) or {}).get("callbacks") or {}).get("RunRecorder", {}).get(TRAINED_S, 0.0))


def prune(run: Path) -> None:
    """Remove what only a training that goes on would read."""
    (run / "checkpoints" / LAST).unlink(missing_ok=True)


def write_checkpoint(path: Path, content: Any) -> None:
    """Write weights and what goes with them, whole or not at all.

    Raises:
        InputError: the file cannot be written, or its disk is full.
    """
    try:
        with written_whole(path) as unfinished:
            try:
                torch.save(content, unfinished)
            except RuntimeError:  # torch's writer keeps the system's reason to itself
                _grow(unfinished)
                raise
    except OSError as error:
        raise unwritten(path, error) from error
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written ({str(error).splitlines()[0]})") from error


def _grow(path: Path) -> None:
    """Append to a file what a disk that is full has no room for; `OSError` says why it cannot be."""
    with path.open("ab") as file:
        file.write(bytes(GROWTH_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _promote(folder: Path) -> None:
    try:
        (folder / NEXT_BEST).replace(folder / BEST)
        sync_folder(folder)
    except OSError as error:  # a full disk may have no room for the new name
        raise unwritten(folder / BEST, error) from error


def _mapped(path: Path) -> Mapping[str, Any]:
    return stored_checkpoint(path, f"remove the folder {path.parent} to train anew")
