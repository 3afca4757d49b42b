"""Leases: a process holds a name on a disk that keeps no locks, as long as its heart beats.

A lease is the highest numbered file of a folder. Who wants it creates the next number exclusively, which the file
server grants to one process alone; the files below it are removed. The holder touches its file every `BEAT_S` seconds.
One that was not touched for `EXPIRY_S` belongs to a process that is gone, and the next number may be created. Nothing
compares the clocks of two machines: a file's age is taken against one touched just now beside it, by the same server.

A process that was halted for longer than `EXPIRY_S` (a suspended machine, a dead network) may have lost its lease to
another one. It learns that at its next beat, and ends at once with exit code 75: its last checkpoint is whole, and the
new holder goes on from there.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mammo_aln.errors import ExitCode, InputError
from mammo_aln.files import make_folder
from mammo_aln.progress import say

BEAT_S = 15.0
EXPIRY_S = 120.0
"""Eight beats: a file server that restarts, or a process held up by a long import, costs nobody a lease."""
RELEASED = "released"
GONE = (errno.ENOENT, errno.ESTALE)


@dataclass(frozen=True)
class Holder:
    """Process that holds a lease.

    Attributes:
        token: drawn anew for each lease.
        host: name of its machine.
        process: its id, in the namespace of its machine or container.
        boot: boot of that machine and namespace of its processes: ids can be compared where both are the same.
        started: start of the process in clock ticks since that boot, since ids are used again.
    """

    token: str
    host: str
    process: int
    boot: str
    started: str

    @classmethod
    def here(cls) -> Holder:
        """Describe this process, with a new token."""
        process = os.getpid()
        return cls(secrets.token_hex(8), socket.gethostname(), process, _boot(), _started(process))

    @property
    def has_ended(self) -> bool:
        """Tell whether the process is known to be gone; of another machine's or container's nothing is known."""
        return bool(self.boot) and self.boot == _boot() and _started(self.process) != self.started


class Lease:
    """A lease that this process holds; a thread keeps it fresh until `close`.

    Args:
        folder: the lease's folder.
        number: number of its file.
        holder: this process.
        beat_s: seconds between two touches.
        lose: called by the thread when another process has taken the lease; by default it ends this process.
    """

    def __init__(
        self, folder: Path, number: int, holder: Holder, beat_s: float = BEAT_S, lose: Callable[[], None] | None = None
    ) -> None:
        self.folder, self.number, self.holder, self.beat_s = folder, number, holder, beat_s
        self._lose = lose or self._end_process
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {folder}", daemon=True)
        self._thread.start()

    @property
    def file(self) -> Path:
        """File of the lease."""
        return self.folder / str(self.number)

    def close(self) -> None:
        """Let go of the lease at once."""
        if self._closed.is_set() or os.getpid() != self.holder.process:
            return  # closed already, or a forked child: the lease is its parent's
        self._closed.set()
        self._thread.join()
        with suppress(FileNotFoundError):  # lost to another process, which removed it
            descriptor = os.open(self.file, os.O_WRONLY | os.O_TRUNC)
            try:
                os.write(descriptor, RELEASED.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _beat(self) -> None:
        while not self._closed.wait(self.beat_s):
            try:
                os.utime(self.file)
                lost = _highest(self.folder) != self.number
            except FileNotFoundError:
                lost = True
            except OSError as error:
                say(f"{self.file}: the lease cannot be kept fresh ({error.strerror}); tried again in {self.beat_s:g} s")
                continue
            if lost:
                self._lose()
                return

    def _end_process(self) -> None:
        try:
            say(
                f"{self.folder}: this process was halted for more than {EXPIRY_S:g} s and another one took its lease; "
                "it ends here, and the same command goes on from what is finished"
            )
        finally:  # nobody may read its words any more
            os._exit(ExitCode.AGAIN)


def take_lease(
    folder: Path, *, expiry_s: float = EXPIRY_S, beat_s: float = BEAT_S, lose: Callable[[], None] | None = None
) -> Lease | None:
    """Take a lease, or answer None where another process holds it.

    Args:
        folder: its folder; made where it is missing.
        expiry_s: seconds without a beat after which the holder is taken for gone.
        beat_s: seconds between two beats of this process.
        lose: see `Lease`.

    Raises:
        InputError: the folder cannot be made or written.
    """
    make_folder(folder)
    highest = _highest(folder)
    if highest and not _is_free(folder, highest, expiry_s):
        return None
    holder = Holder.here()
    number = highest + 1
    try:
        descriptor = os.open(folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None
    except OSError as error:
        raise InputError(f"{folder}: a lease cannot be taken there ({error.strerror})") from error
    try:
        os.write(descriptor, json.dumps(asdict(holder)).encode())
        os.fsync(descriptor)
        os.utime(descriptor)
    finally:
        os.close(descriptor)
    # A process that was halted between its look and its creation may meet numbers that are higher meanwhile.
    if _highest(folder) != number:
        (folder / str(number)).unlink(missing_ok=True)
        return None
    for former in _numbers(folder):
        if former < number:
            (folder / str(former)).unlink(missing_ok=True)
    return Lease(folder, number, holder, beat_s, lose)


def is_leased(folder: Path, *, expiry_s: float = EXPIRY_S) -> bool:
    """Ask whether a process holds a lease now, this very one included; nothing is taken."""
    highest = _highest(folder) if folder.is_dir() else 0
    return bool(highest) and not _is_free(folder, highest, expiry_s)


def _is_free(folder: Path, number: int, expiry_s: float) -> bool:
    """Tell whether the highest file was released, or its holder is gone."""
    file = folder / str(number)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        if error.errno not in GONE:
            raise
        return False  # another process is about to take it
    if text == RELEASED:
        return True
    holder = _read(file)
    return (holder is not None and holder.has_ended) or _age_s(file) > expiry_s


def _age_s(file: Path) -> float:
    """Seconds since a file was touched, by the clock of the server that keeps it.

    Opened, not only looked up: a network disk then asks the server for the file's time in place of a remembered one.
    """
    probe = file.parent / f".{secrets.token_hex(8)}"
    try:
        with probe.open("wb") as stream:
            os.utime(stream.fileno())
            now = os.fstat(stream.fileno()).st_mtime
    except OSError:
        now = time.time()  # the folder may be read, not written: whoever only looks takes this machine's clock
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    try:
        with file.open("rb") as stream:
            return now - os.fstat(stream.fileno()).st_mtime
    except OSError as error:
        if error.errno not in GONE:
            raise
        return 0.0


def _read(file: Path) -> Holder | None:
    try:
        return Holder(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, TypeError):
        return None  # released, removed, or being written


def _numbers(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir() if file.name.isdecimal()]


def _highest(folder: Path) -> int:
    return max(_numbers(folder), default=0)


def _boot() -> str:
    """Identity of this boot and of the process namespace; empty where Linux does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """Start of a process in ticks since the boot; empty where there is none."""
    try:
        words = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]
