"""State of many image files on disk: what their keys are made from, without a look into any of them.

Two files of one state have one content, as far as a file system can tell: the same inode, size, and times of the last
change in content and in status. Where each look takes long (a mount over the network), many are under way at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mammo_aln.dicom.archive import INSIDE

MISSING = "missing"
INSIDE_ANY = ".zip!/"
"""Stands, in whatever case, in the path of each member of a ZIP file."""
TRIED = 64
SLOW_S = 1e-4
LOOKS_AT_ONCE = 32
_SEEN: list[dict[str, str]] = []
"""States of the block `looked_at_once` that is being carried out."""


def standing_digest(paths: Iterable[str], *, anew: bool = False) -> str:
    """SHA-256 (hex) of the states of files, each with its path, in their order; a missing file has a state too.

    Args:
        paths: of files, or of members of ZIP files (`exam.zip!/image.dcm`), which have the state of the ZIP file.
        anew: look at each file now, whatever `looked_at_once` remembers.
    """
    listed = list(paths)
    names = "\0".join(listed)  # no path holds this character, and no state
    files = listed if INSIDE_ANY not in names.lower() else [_on_disk(path) for path in listed]
    states = _states(files, {} if anew or not _SEEN else _SEEN[-1])
    whole = "\0".join([names, "", *map(states.__getitem__, files)])
    return hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Look at each file once in this block, however many ask for its state."""
    _SEEN.append(_SEEN[-1] if _SEEN else {})
    try:
        yield
    finally:
        _SEEN.pop()


def _states(files: Iterable[str], seen: dict[str, str]) -> dict[str, str]:
    """Complete the states that were seen; in the order given, in which files of one folder follow one another."""
    waiting = [file for file in dict.fromkeys(files) if file not in seen]
    begun = time.perf_counter()
    seen.update(zip(waiting[:TRIED], _states_of(waiting[:TRIED]), strict=True))
    slow = time.perf_counter() - begun > SLOW_S * TRIED
    if slow and len(waiting) > TRIED:
        blocks = [waiting[begin : begin + TRIED] for begin in range(TRIED, len(waiting), TRIED)]
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as looks:
            for block, states in zip(blocks, looks.map(_states_of, blocks), strict=True):
                seen.update(zip(block, states, strict=True))
    else:
        seen.update(zip(waiting[TRIED:], _states_of(waiting[TRIED:]), strict=True))
    return seen


def _states_of(files: Sequence[str]) -> list[str]:
    states = []
    look, is_regular = os.stat, stat.S_ISREG  # a Path costs as much again as the look
    for file in files:
        try:
            status = look(file)
        except OSError:
            states.append(MISSING)
            continue
        kind = "" if is_regular(status.st_mode) else "not a file "
        states.append(f"{kind}{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
    return states


def _on_disk(path: str) -> str:
    """Path of the file, or of the ZIP file that it stands in."""
    for mark in INSIDE.finditer(path):
        if Path(path[: mark.end()]).is_file():
            return path[: mark.end()]
    return path
