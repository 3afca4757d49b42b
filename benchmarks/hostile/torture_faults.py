"""Faults that are injected into a running command, one a row of the table."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.hostile.torture_child import LIBC

DAY_S = 86400.0
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
CGROUP = Path("/sys/fs/cgroup/memory")
ODD_NAMES = (
    "a b", "it's \"quoted\"", "new\nline", "乳腺 ünï", "-dash", "x" * 200, ".hidden", "a;b&c$(d)", "50% #1", "[x]*?",
    "{brace}", "~", "a=b,c", "tab\there", "end ", "..two", "e\u0301", "C:\\dir",
)  # fmt: skip


@dataclass
class Case:
    """One fault of one command, while it is tried.

    Attributes:
        folder: in which the command runs.
        draw: draws all that is random.
        seconds: that the undisturbed command takes.
        writes: places where it opens, renames or removes files.
        written_bytes: more of the disk that it takes.
        inputs: files that it reads.
        aside: folder for what vanishes.
        what: the fault in words, for the record.
        environment: variables for both commands.
        undo: calls that end the fault, before the command runs again.
    """

    folder: Path
    draw: Random
    seconds: float
    writes: int
    written_bytes: int
    inputs: Sequence[Path]
    aside: Path
    what: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    undo: list[Callable[[], None]] = field(default_factory=list)
    in_child: list[Callable[[], None]] = field(default_factory=list)
    at_write: Callable[[int], None] | None = None
    after_s: tuple[float, int, bool] | None = None
    twice_s: float | None = None
    odd_name: str = ""

    def on_write(self, act: Callable[[], None]) -> None:
        """Have something happen just before a drawn write."""
        at = self.draw.randrange(max(1, self.writes))
        self.what += f" at write {at} of {self.writes}"
        self.at_write = lambda number: act() if number == at else None


def killed(number: int, *, group: bool = False) -> Callable[[Case], None]:
    """Make a fault that ends the command at a random instant or just before a random write."""

    def inject(case: Case) -> None:
        case.what = signal.Signals(number).name + (" to all its processes" if group else "")
        if case.writes and case.draw.random() < 0.6:
            case.on_write(lambda: os.killpg(0, number) if group else os.kill(os.getpid(), number))
        else:
            case.after_s = (case.draw.uniform(0, case.seconds), number, group)
            case.what += f" after {case.after_s[0]:.3f} s"

    return inject


def disk_full(case: Case) -> None:
    """Leave less room than the command needs."""
    room = int(case.draw.random() ** 2 * max(0, case.written_bytes))  # a command may leave less than it found
    disk = os.statvfs(case.folder)
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    case.what = f"{room} bytes of room for {case.written_bytes}"
    _remount(case, f"size={used + room + 4096}")


def read_only(case: Case) -> None:
    """Let nothing be written."""
    case.what = "mounted read-only"
    _remount(case, "ro")


def _remount(case: Case, option: str) -> None:
    mount(case.folder, option)
    case.undo.append(lambda: mount(case.folder, "rw,size=2g"))


def mount(folder: Path, options: str) -> None:
    """Mount memory at a folder, or change what is mounted there."""
    if os.path.ismount(folder):
        options = f"remount,{options}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)


def vanished(case: Case) -> None:
    """Take an input away."""
    source = case.draw.choice(case.inputs)
    case.what = f"{source.relative_to(case.folder)} vanished"
    shutil.copy2(source, case.aside / source.name)
    case.on_write(source.unlink)
    case.undo.append(lambda: _restore(case.aside / source.name, source))


def shrunk(case: Case) -> None:
    """Cut an input to a half."""
    source = case.draw.choice(case.inputs)
    case.what = f"{source.relative_to(case.folder)} cut to a half"
    shutil.copy2(source, case.aside / source.name)
    case.on_write(lambda: os.truncate(source, source.stat().st_size // 2))
    case.undo.append(lambda: _restore(case.aside / source.name, source))


def _restore(kept: Path, source: Path) -> None:
    source.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(kept, source)
    kept.unlink()


def changed(case: Case) -> None:
    """Put another input of its kind in an input's stead, or its own lines in another order."""
    source = case.draw.choice(case.inputs)
    others = [path for path in case.inputs if path.suffix == source.suffix and path != source and path.suffix != ".csv"]
    case.what = f"{source.relative_to(case.folder)} changed"
    shutil.copy2(source, case.aside / source.name)
    content = source.read_bytes()
    if others:
        content = case.draw.choice(others).read_bytes()
    elif source.suffix in (".csv", ".yaml"):
        head, *lines = content.splitlines(keepends=True)
        content = head + b"".join(lines[: len(lines) // 2])
    case.on_write(lambda: _replace(source, content))
    case.undo.append(lambda: _restore(case.aside / source.name, source))


def _replace(source: Path, content: bytes) -> None:
    source.unlink()
    source.write_bytes(content)


def at_once(case: Case) -> None:
    """Begin the same command a second time while it runs."""
    case.twice_s = case.draw.uniform(0, case.seconds)
    case.what = f"begun again after {case.twice_s:.3f} s"


def clock_back(case: Case) -> None:
    """Set Python's clock back at a write, kill the command later on, and go on before its files were written."""
    back_s = case.draw.choice((3600.0, DAY_S, 400 * DAY_S))
    at, end = sorted(case.draw.randrange(max(1, case.writes)) for _ in range(2))
    case.what = f"clock {back_s:.0f} s back at write {at}, killed at {end} of {case.writes}"

    def act(number: int) -> None:
        if number == at:
            real, real_ns = time.time, time.time_ns
            time.time = lambda: real() - back_s  # type: ignore[assignment]
            time.time_ns = lambda: real_ns() - int(back_s * 1e9)  # type: ignore[assignment]
        if number == end:
            os.kill(os.getpid(), signal.SIGKILL)

    def future() -> None:
        for path in case.folder.rglob("*"):
            if not path.is_symlink():
                state = path.stat()
                os.utime(path, (state.st_atime + back_s, state.st_mtime + back_s))

    case.at_write = act
    case.undo.append(future)


def stale_lease(case: Case) -> None:
    """Kill the command where leases stand for locks, and have its leases be an hour old and another machine's."""
    case.environment["MAMMO_ALN_LOCKS"] = "lease"
    killed(signal.SIGKILL)(case)
    case.what += ", leases then of another machine, an hour old"

    def of_another() -> None:
        for path in case.folder.rglob(".*.lease/*"):
            if path.name.isdecimal():
                with suppress(ValueError):
                    holder = json.loads(path.read_text())
                    path.write_text(json.dumps({**holder, "host": "elsewhere", "boot": "another", "process": 1}))
                os.utime(path, (time.time() - 3600,) * 2)

    case.undo.append(of_another)


def few_files(case: Case) -> None:
    """Allow 64 open files."""
    case.what = "64 open files"
    case.in_child.append(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))


def small_shm(case: Case) -> None:
    """Leave 64 KB of /dev/shm."""
    case.what = "/dev/shm of 64 KB"

    def shrink() -> None:
        if LIBC.unshare(CLONE_NEWNS) or LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            raise OSError("a mount namespace of its own is refused")
        if LIBC.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=64k"):
            raise OSError("/dev/shm cannot be mounted")

    case.in_child.append(shrink)


def little_memory(case: Case) -> None:
    """Allow 2 GB of memory, by a control group."""
    case.what = "2 GB of memory"
    group = CGROUP / f"torture_{os.getpid()}"
    group.mkdir(exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(str(2 << 30))
    case.in_child.append(lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None)
    case.undo.append(group.rmdir)


def plain_locale(case: Case) -> None:
    """Set the locale that knows ASCII alone."""
    case.what = "LC_ALL=C"
    case.environment.update(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


def odd_name(case: Case) -> None:
    """Name the folder oddly."""
    case.odd_name = case.draw.choice(ODD_NAMES)
    case.what = f"folder {case.odd_name[:30]!r}"


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: in the table of results.
        inject: prepares a case.
        share: of all faults, against the others.
        root: True where it needs a user who may mount.
        cold: True where only a new interpreter has it.
    """

    name: str
    inject: Callable[[Case], None]
    share: float
    root: bool = False
    cold: bool = False


FAULTS = (
    Fault("kill -9", killed(signal.SIGKILL), 10),
    Fault("kill -9 of all its processes", killed(signal.SIGKILL, group=True), 4),
    Fault("SIGTERM", killed(signal.SIGTERM), 5),
    Fault("Ctrl-C", killed(signal.SIGINT, group=True), 2),
    Fault("disk full", disk_full, 5, root=True),
    Fault("read-only", read_only, 1, root=True),
    Fault("an input vanishes", vanished, 3),
    Fault("an input is cut", shrunk, 3),
    Fault("an input changes", changed, 3),
    Fault("two at once", at_once, 3),
    Fault("clock set back", clock_back, 2),
    Fault("stale locks of another machine", stale_lease, 2),
    Fault("64 open files", few_files, 1),
    Fault("small /dev/shm", small_shm, 1, root=True),
    Fault("2 GB of memory", little_memory, 1, root=True),
    Fault("odd folder name", odd_name, 2),
    Fault("locale C", plain_locale, 0.3, cold=True),
)
