"""A folder's disk, tried: what the product relies on there, between two processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mammo_aln
from mammo_aln.machine.locks import take_lock, uses_leases
from mammo_aln.machine.mounts import mount_of

TAKE = """
import sys
from pathlib import Path
from mammo_aln.machine.locks import take_lock
sys.exit(take_lock(Path(sys.argv[1])) is None)
"""


@dataclass(frozen=True)
class DiskTrial:
    """Answers of a disk that was tried.

    Attributes:
        type: its type as the kernel names it, or `disk`.
        leases: leases are used on it, since its locks are not known to bind every machine.
        faults: what it does not do that the product relies on.
    """

    type: str
    leases: bool
    faults: tuple[str, ...]


def try_disk(folder: Path) -> DiskTrial:
    """Try locks against a second process, exclusive creation, appending and renaming in a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    mount = mount_of(folder)
    with tempfile.TemporaryDirectory(prefix=".doctor.", dir=folder) as name:
        trial = Path(name)
        checks = {
            "a second process takes what this one holds": _binds(trial / "lock"),
            "a file that exists can be created exclusively once more": _creates_once(trial / "exclusive"),
            "lines appended through two open files overwrite each other": _appends(trial / "ledger"),
            "a file renamed over another does not replace it": _replaces(trial / "former", trial / "latter"),
        }
    faults = tuple(fault for fault, passed in checks.items() if not passed)
    return DiskTrial(mount.type if mount else "disk", uses_leases(folder), faults)


def _binds(path: Path) -> bool:
    """Tell whether a second process is refused while this one holds a file, and served afterwards."""
    package = str(Path(mammo_aln.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    words = [sys.executable, "-c", TAKE, str(path)]
    codes = []
    lock = take_lock(path)
    if lock is None:
        return False
    for last in (False, True):
        if last:
            lock.close()
        codes.append(subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": paths}).returncode)
    return codes == [1, 0]


def _creates_once(path: Path) -> bool:
    path.touch()
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return True
    return False


def _appends(path: Path) -> bool:
    with path.open("a") as first, path.open("a") as second:
        for number in range(4):
            stream = (first, second)[number % 2]
            stream.write(f"{number}\n")
            stream.flush()
    return path.read_text().split() == ["0", "1", "2", "3"]


def _replaces(former: Path, latter: Path) -> bool:
    former.write_text("former")
    latter.write_text("latter")
    latter.replace(former)
    return former.read_text() == "latter" and not latter.exists()
