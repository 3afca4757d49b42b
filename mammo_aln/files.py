"""Files appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import resource
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo_aln.errors import InputError, shortened
from mammo_aln.progress import byte_text, say_once

if TYPE_CHECKING:
    import pandas as pd

LARGEST_JSON_BYTES = 1 << 28
LARGEST_TABLE_BYTES = 1 << 30
LONGEST_NAME_BYTES, LONGEST_PATH_BYTES = 255, 4000
FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.,]*(?:[eE][+-]?\d+)?$|[Ii]nf(?:inity)?$)")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, a user's share of it, or a file is as large as it may be; only writing fails so."""


@contextmanager
def written_whole(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block ends well, remove it if not.

    Args:
        path: the file.
        durable: wait until file and folder are on the disk, so that a power cut leaves the old or the new content
            (milliseconds a file); without it a power cut may leave an empty one.

    Raises:
        InputError: the folder cannot be made or written, or its disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    unfinished = unfinished_beside(path)
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less what the umask withholds
    except OSError as error:
        raise unwritten(path, error) from error
    try:
        yield unfinished
        if durable:
            _sync(unfinished)
        unfinished.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        if error.errno in FULL:
            raise unwritten(path, error) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def folder_whole(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out`; rename it onto `out` if the block ends well, remove it if not.

    Raises:
        InputError: `out` is more than an empty folder, now or by then, or its disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder: name another")
    make_folder(out.parent)
    unfinished = unfinished_beside(out)
    make_folder(unfinished)
    try:
        yield unfinished
        unfinished.replace(out)
    except OSError as error:
        if error.errno in FULL:
            raise unwritten(out, error) from error
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise InputError(f"{out}: another command wrote it meanwhile, and it stands as that left it") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def regular_bytes(path: Path, most_bytes: int) -> bytes:
    """Read a regular file of bounded size: to open a device, pipe or socket may wait for ever.

    Raises:
        InputError: no such file, no regular file, unreadable or too large.
    """
    try:
        state = path.stat()
        if kind := irregular(state):
            raise InputError(f"{path}: expected a file, not {kind}")
        if state.st_size > most_bytes:
            raise InputError(f"{path}: {state.st_size} bytes, expected at most {most_bytes}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise InputError(f"{shortened(str(path))}: cannot be read ({getattr(error, 'strerror', error)})") from error


REMEDY = "damaged or cut off; bring it back from a copy, or make it anew"


def read_json(path: Path) -> Any:
    """Read JSON that this product wrote.

    Raises:
        InputError: no regular file, cut off, or too deep.
    """
    try:
        return json.loads(regular_bytes(path, LARGEST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); {REMEDY}") from error


def read_object(path: Path, *names: str) -> dict[str, Any]:
    """Read a JSON object that this product wrote; refusals as in `read_json`, and where it lacks one of these names."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}; {REMEDY}")
    if lacking := [name for name in names if name not in content]:
        raise InputError(f"{path}: holds no {' and no '.join(lacking)}; {REMEDY}")
    return content


def read_own_table(path: Path, *numbers: str, **options: Any) -> pd.DataFrame:
    """Read a CSV table that this product wrote, by `pandas.read_csv` with these options.

    Args:
        path: the file.
        numbers: columns that must stand and hold numbers; with `*` all columns that stand do.
        options: of `pandas.read_csv`.

    Raises:
        InputError: no regular file, cut off, or with other columns or cells.
    """
    import pandas as pd

    try:
        table = pd.read_csv(io.BytesIO(regular_bytes(path, LARGEST_TABLE_BYTES)), **options)
        for name in {*numbers, *(table.columns if "*" in numbers else ())} - {"*"}:
            table[name] = pd.to_numeric(table[name])
        return table
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        cause = shortened(f"{type(error).__name__}: {error}", plain=True)
        raise InputError(f"{path}: not the table that was written there ({cause}); {REMEDY}") from error


def nameable(path: str) -> bool:
    """Tell whether a disk can have a file of this path: of a longer one it raises errors of its own."""
    whole = os.fsencode(path)
    return len(whole) <= LONGEST_NAME_BYTES or (
        len(whole) <= LONGEST_PATH_BYTES and all(len(name) <= LONGEST_NAME_BYTES for name in whole.split(b"/"))
    )


def irregular(state: os.stat_result) -> str:
    """Name what stands at a path where it is no file of a disk, which must not be opened; empty where it is one."""
    kinds = {
        stat.S_IFREG: "a file of the kernel's own" if state.st_dev in _devices_of_the_kernel() else "",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(state.st_mode), "something else")


def stands(path: Path) -> bool:
    """Test that a path is taken: a link to nowhere, as into a disk that is not mounted, is no missing file."""
    return os.path.lexists(path)


@cache
def _devices_of_the_kernel() -> frozenset[int]:
    """Devices of `/proc` and `/sys`, whose files, regular by their mode, may have no end or nothing to read yet."""
    return frozenset(folder.stat().st_dev for folder in map(Path, ("/proc", "/sys")) if folder.is_dir())


def shown(path: Path) -> str:
    """Write a path for people: from the working folder on where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def unfinished_beside(path: Path) -> Path:
    """Name a file or folder beside a path that nothing else is called, for content that is to be renamed onto it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def unwritten(path: Path, error: OSError) -> InputError:
    """Say that a file cannot be written, and what to do where its disk, or the file, is full."""
    fix = ""
    if error.errno in FULL:
        room = _larger_file() if error.errno == errno.EFBIG else "make room there"
        fix = f"; {room}, then the same command goes on"
    return InputError(f"{path}: cannot be written ({error.strerror}){fix}")


def _larger_file() -> str:
    """Say what lets a file grow beyond the largest that is allowed."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit == resource.RLIM_INFINITY:
        return "that disk takes no larger file: choose another one"
    return f"a file may have {byte_text(limit)} here: raise that limit (ulimit -f)"


def make_folder(path: str | Path) -> Path:
    """Make a folder and those above it; `InputError` where a file stands in the way or it is not allowed."""
    path = Path(path)
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: this folder cannot be created ({error.strerror})") from error
    for folder in missing:
        sync_folder(folder.parent)
    return path


def require_room_for(path: Path) -> None:
    """Try that a file can be written; nothing is left of the trial.

    Raises:
        InputError: its folder cannot be made or written.
    """
    make_folder(path.parent)
    trial = unfinished_beside(path)
    try:
        trial.write_bytes(b"trial")
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        trial.unlink(missing_ok=True)


def require_folder(flag: str, path: Path) -> None:
    """`InputError` where a file stands at a folder that is to be made, or at one above it."""
    there = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), path)
    if there.exists() and not there.is_dir():
        raise InputError(f"{flag} {path}: expected a folder, but {'it' if there == path else there} is a file")


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk: a file that was renamed is there after a power cut."""
    try:
        _sync(folder)
    except OSError as error:
        # Some network and FUSE disks do not know this call for folders; they keep names in order themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Write UTF-8 text, whole or not at all; `durable` as in `written_whole`."""
    with written_whole(path, durable=durable) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_csv(path: str | Path, table: pd.DataFrame, *, durable: bool = True) -> None:
    """Write a table without its index, floats with all their digits; `durable` as in `written_whole`."""
    for name, cell in _formulas(table):
        say_once(
            f"{Path(path).name}: {name} {shortened(cell)} begins like a formula, which a spreadsheet would compute; it"
            " is written as it stands: open the file there with this column as text"
        )
    with written_whole(path, durable=durable) as unfinished:
        table.to_csv(unfinished, index=False, lineterminator="\n")


def _formulas(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Name each column with a text that a spreadsheet takes for a formula, and the first such text."""
    for name in table.columns:
        if table[name].dtype.kind not in "biufMm":
            cells = (cell for cell in table[name].array if isinstance(cell, str) and FORMULA.match(cell))
            if (cell := next(cells, None)) is not None:
                yield str(name), cell


def json_ready(value: Any) -> Any:
    """Plain JSON values: non-finite floats become `Inf`, `-Inf`, `NaN` as strings, numpy values become Python's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
    if isinstance(value, Path):
        return str(value)
    return value


def write_json(path: str | Path, value: Any, *, durable: bool = True) -> None:
    """Write JSON that any parser reads (see `json_ready`), whole or not at all; `durable` as in `written_whole`."""
    text = json.dumps(json_ready(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text, durable=durable)
