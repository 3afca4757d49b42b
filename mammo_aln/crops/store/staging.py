"""Segments of a store copied to a node's own disk, every crop's checksum compared before one is read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

from mammo_aln.crops.store.index import StoreIndex, segment_sizes
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import InputError
from mammo_aln.files import make_folder, written_whole
from mammo_aln.progress import Progress, byte_text, say

BLOCK_BYTES = 1 << 24
MB = 10**6


def stage_folder(text: str) -> Path:
    """The folder that `data.stage` names, with environment variables (`$SLURM_TMPDIR`) filled in.

    Raises:
        InputError: a variable is not set, or the path is not absolute.
    """
    folder = os.path.expandvars(text)
    if "$" in folder:
        raise InputError(
            f"data.stage={text}: this machine does not set the variable; expected a folder on its own disk"
        )
    if not Path(folder).is_absolute():
        raise InputError(f"data.stage={text}: expected an absolute path, such as /tmp/crops or $SLURM_TMPDIR")
    return Path(folder)


def staged(store: CropStore, keys: Iterable[str], folder: Path) -> CropStore:
    """Copy the segments that hold some crops; processes of a node share one copy, made by the first of them.

    A segment that was copied is not copied again as long as both its files have the sizes that were copied and
    compared, with all its crops, whichever training reads them; one that has grown since, or that holds a crop which
    differs, is.

    Args:
        store: where the crops are.
        keys: of the crops that will be read.
        folder: on the node's own disk; copies of several stores may lie there.

    Returns:
        A reader of these crops, and of nothing else, from the copy.

    Raises:
        InputError: the folder has no room or is another person's, or a crop differs from what the store's journal says.
    """
    index = store.index_of(keys)
    copy = folder / hashlib.sha256(str(store.path.resolve()).encode()).hexdigest()[:16]
    make_folder(copy / "segments")
    try:
        with (copy / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the node's own disk: its own kernel knows the lock
            _complete(store.path, copy, index)
    except OSError as error:  # another person's folder, or a disk that filled meanwhile
        raise InputError(
            f"data.stage: {copy} cannot be read and written ({error.strerror}); name another folder, or leave "
            "data.stage empty to read the store where it is"
        ) from error
    return CropStore(copy, index)


def _complete(store: Path, copy: Path, index: StoreIndex) -> None:
    """Copy the segments that hold an index's records and are not there whole; compare all crops of what was copied."""
    sizes = dict(zip(index.segments, index.sizes, strict=True))
    used = sorted({index.segments[row[0]] for row in index.rows.tolist()})
    waiting = [name for name in used if not _is_whole(copy, name, sizes[name])]
    if not waiting:
        return
    _require_room(copy, sum(sum(sizes[name]) for name in waiting))
    _copy(store, copy, {name: sizes[name] for name in waiting})
    copied = CropStore(copy)
    damaged = {name: [key for key in copied.crops_in(name) if not copied.is_intact(key)] for name in waiting}
    for name in waiting:
        if not damaged[name]:
            _mark(copy, name).write_text(f"{sizes[name]}", encoding="utf-8")
    if unfit := set(index.keys).intersection(chain.from_iterable(damaged.values())):
        raise InputError(
            f"data.stage: {len(unfit)} of {len(index.keys)} crops differ from the store's journal after copying to "
            f"{copy}; `mammo-aln crop COHORT --audit 1` tells whether the store or the copy is damaged"
        )


def _mark(copy: Path, segment: str) -> Path:
    """File that stands once a segment's crops were compared, and says which sizes were."""
    return copy / "segments" / f"{segment}.compared"


def _is_whole(copy: Path, segment: str, sizes: tuple[int, int]) -> bool:
    with suppress(OSError):
        return segment_sizes(copy, [segment]) == [sizes] and _mark(copy, segment).read_text() == f"{sizes}"
    return False


def _require_room(copy: Path, needed: int) -> None:
    free = shutil.disk_usage(copy).free
    if needed > free:
        raise InputError(
            f"data.stage: the crops need {byte_text(needed)}, {byte_text(free)} are free in {copy}; name another "
            "folder, or leave data.stage empty to read the store where it is"
        )


def _copy(store: Path, copy: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """Copy as many bytes of each segment as are known: it may grow meanwhile."""
    total = sum(map(sum, sizes.values()))
    say(f"{byte_text(total)} of crops are copied to {copy}")
    progress = Progress(total=-(-total // MB), what="staging", unit="MB")
    copied = 0
    for name, both in sizes.items():
        _mark(copy, name).unlink(missing_ok=True)
        for ending, size in zip((".jsonl", ".u16"), both, strict=True):
            source = store / "segments" / f"{name}{ending}"
            target = copy / "segments" / source.name
            with source.open("rb") as read, written_whole(target) as unfinished, unfinished.open("wb") as written:
                left = size
                while left and (block := read.read(min(left, BLOCK_BYTES))):
                    written.write(block)
                    left -= len(block)
                    copied += len(block)
                    progress.advance(-(-copied // MB) - progress.done)
    progress.end()
