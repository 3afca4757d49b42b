"""Leases and locks, between real processes: one holder, whatever kills it, on disks with locks and without."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mammo_aln.errors import ExitCode, InputError
from mammo_aln.machine import locks
from mammo_aln.machine.lease import Holder, Lease, is_leased, take_lease
from mammo_aln.machine.locks import await_lock, is_locked, lease_folder, take_lock
from mammo_aln.machine.mounts import Mount, mount_of, read_mounts

HOLD = """
import sys, time
from pathlib import Path
from mammo_aln.machine.locks import take_lock
lock = take_lock(Path(sys.argv[1]))
print("held" if lock else "refused", flush=True)
time.sleep(300)
"""
APPEND = """
import sys
from pathlib import Path
from mammo_aln.machine.locks import await_lock
path, count = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(count):
    with await_lock(path) as lock:
        lock.stream.seek(0)
        number = len(lock.stream.read().splitlines())
        lock.stream.write(f"{number}\\n")
        lock.stream.flush()
"""


@pytest.fixture(params=["posix", "lease"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(locks.VARIABLE, request.param)
    return request.param


def holding(path: Path, kind: str | None = None) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, **({locks.VARIABLE: kind} if kind else {})}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def old(folder: Path, seconds: float) -> None:
    """Set a lease's last beat back, as if its holder had been halted that long."""
    file = max(folder.iterdir(), key=lambda file: int(file.name))
    then = file.stat().st_mtime - seconds
    os.utime(file, (then, then))


def test_one_process_holds_a_file_until_kill_9(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.lock"
    assert not is_locked(path)
    first, answer = holding(path)
    assert answer == "held"
    second, answer = holding(path)
    assert answer == "refused"
    assert is_locked(path)
    assert take_lock(path) is None
    for process in (first, second):
        process.kill()
        process.wait()
    # Of this very machine it is known at once that the holder is gone: nobody waits for an expiry.
    assert not is_locked(path)
    lock = take_lock(path)
    assert lock is not None
    assert (lock.lease is not None) == (kind == "lease")
    assert take_lock(path) is None
    lock.close()
    assert not is_locked(path)


@pytest.mark.parametrize(("first_kind", "second_kind"), [("posix", "lease"), ("lease", "posix")])
def test_commands_that_judge_a_disk_differently_see_each_other(
    tmp_path: Path, first_kind: str, second_kind: str
) -> None:
    path = tmp_path / "x.lock"
    first, answer = holding(path, first_kind)
    assert answer == "held"
    second, answer = holding(path, second_kind)
    assert answer == "refused"
    for process in (first, second):
        process.kill()
        process.wait()


def test_a_lease_binds_where_the_posix_lock_of_the_holder_is_not_seen(tmp_path: Path) -> None:
    """The other machine's lock is invisible here: nothing but its lease's files are."""
    path = tmp_path / "x.lock"
    lease = take_lease(lease_folder(path))
    assert lease is not None
    path.touch()
    assert take_lock(path) is None
    assert is_locked(path)
    lease.close()
    assert not is_locked(path)


def test_four_processes_append_120_lines_none_of_which_is_lost(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ledger.jsonl"
    words = [sys.executable, "-c", APPEND, str(path), "30"]
    processes = [subprocess.Popen(words) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert path.read_text().split() == [str(number) for number in range(120)]


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    """The lease `tmp_path / "lease"` of another machine, whose heart beats every 1,000 s."""
    monkeypatch.setattr("mammo_aln.machine.lease._boot", lambda: "another machine")
    lease = take_lease(tmp_path / "lease", beat_s=1000)
    monkeypatch.undo()
    assert lease is not None
    yield lease
    lease.close()


def test_a_lease_of_another_machine_ends_when_its_heart_has_stopped(foreign: Lease, tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    assert is_leased(folder)
    assert take_lease(folder) is None
    old(folder, 119)
    assert take_lease(folder) is None
    old(folder, 2)
    assert not is_leased(folder)
    lease = take_lease(folder)
    assert lease is not None
    assert [file.name for file in folder.iterdir()] == ["2"]
    lease.close()
    foreign.close()  # it lost its file: what it leaves behind hurts nobody
    assert [file.name for file in folder.iterdir()] == ["2"]


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_a_machine_whose_clock_is_wrong_takes_no_lease_that_beats(
    ahead_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages are the file server's: a clock that runs an hour ahead would take every lease of the others."""
    folder, now = tmp_path / "lease", time.time()
    monkeypatch.setattr("mammo_aln.machine.lease.time.time", lambda: now + ahead_s)
    assert take_lease(folder) is None
    assert is_leased(folder)
    old(folder, 121)
    assert not is_leased(folder)


def test_a_process_halted_before_its_creation_takes_no_number_that_was_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saw number 1 released; while it was halted, others held 2, and one holds 3 now."""
    folder = tmp_path / "lease"
    first = take_lease(folder, beat_s=1000)
    assert first is not None
    first.close()
    here, others = Holder.here, []

    def halted() -> Holder:
        monkeypatch.setattr(Holder, "here", here)
        for _ in range(2):
            if others:
                others[-1].close()
            others.append(take_lease(folder, beat_s=1000))
        return here()

    monkeypatch.setattr(Holder, "here", halted)
    assert take_lease(folder, beat_s=1000) is None
    assert [file.name for file in folder.iterdir()] == ["3"]
    assert is_leased(folder)
    others[-1].close()


def test_heartbeats_keep_a_lease_and_a_lost_one_is_noticed(tmp_path: Path) -> None:
    lost = threading.Event()
    folder = tmp_path / "lease"
    lease = take_lease(folder, beat_s=0.05, lose=lost.set)
    assert lease is not None
    old(folder, 500)
    time.sleep(0.3)
    assert is_leased(folder)
    assert not lost.is_set()
    (folder / "2").write_text("another process, after this one was halted for long")
    assert lost.wait(5)


def test_a_process_that_lost_its_lease_ends_with_the_code_that_starts_it_again(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from mammo_aln.machine.lease import take_lease\n"
    code += "take_lease(Path(sys.argv[1]), beat_s=0.05); print(flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lease")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    (tmp_path / "lease" / "2").write_text("{}")
    assert process.wait(20) == ExitCode.AGAIN
    assert "another one took its lease" in process.stderr.read()


def test_of_many_who_see_a_dead_lease_one_gets_it(tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    for _ in range(20):
        former = take_lease(folder, beat_s=1000)
        assert former is not None
        old(folder, 200)
        with ThreadPoolExecutor(8) as threads:
            leases = [lease for lease in threads.map(lambda _: take_lease(folder, beat_s=1000), range(8)) if lease]
        assert len(leases) == 1
        leases[0].close()


def test_an_unfinished_file_is_a_lease_until_it_is_old(tmp_path: Path) -> None:
    """Its creator was halted, or killed, between creation and first words."""
    (tmp_path / "7").touch()
    assert is_leased(tmp_path)
    old(tmp_path, 200)
    assert not is_leased(tmp_path)


def test_a_process_id_used_again_is_another_process() -> None:
    here = Holder.here()
    assert not here.has_ended
    later = Holder(here.token, here.host, here.process, here.boot, str(int(here.started) + 1))
    assert later.has_ended
    assert not Holder(here.token, here.host, here.process, "another boot", "1").has_ended


def test_a_wait_ends_when_the_holder_lets_go(tmp_path: Path, kind: str) -> None:
    lock = await_lock(tmp_path / "x")
    threading.Timer(0.3, lock.close).start()
    begun = time.monotonic()
    with await_lock(tmp_path / "x"):
        assert 0.2 < time.monotonic() - begun < 5


def test_a_variable_that_says_neither_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(locks.VARIABLE, "flock")
    with pytest.raises(InputError, match="MAMMO_ALN_LOCKS=flock: expected posix or lease"):
        take_lock(tmp_path / "x")


MOUNTINFO = (
    r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 21 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2,hard,local_lock=none
41 21 0:41 / /old rw,relatime - nfs server:/old rw,vers=3,nolock,local_lock=all
42 21 0:42 / /scratch rw - lustre 10.0.0.1@o2ib:/lfs rw,flock,lazystatfs
43 21 0:43 / /work\040space rw - lustre 10.0.0.1@o2ib:/lfs rw,localflock
44 21 0:44 / /bucket rw - fuse.gcsfuse bucket rw,user_id=0
45 21 0:45 / /projects rw - gpfs projects rw
46 45 0:46 / /projects/x rw - beegfs beegfs_nodev rw
47 21 0:47 / /für\011ÄrzteNBSP1 rw - fuse.sshfs host: rw
48 21 0:48 / /LATIN rw - fuse.sshfs host: rw
""".lstrip()
    .replace("LATIN", "\udcfc")
    .replace("NBSP", "\xa0")
)


@pytest.mark.parametrize(
    ("folder", "type", "has_locks"),
    [
        ("/var", "ext4", True),
        ("/home/a/runs", "nfs4", True),
        ("/old/runs", "nfs", False),
        ("/scratch", "lustre", True),
        ("/work space/runs", "lustre", False),
        ("/bucket/runs", "fuse.gcsfuse", False),
        ("/projects/runs", "gpfs", True),
        ("/projects/x/runs", "beegfs", False),
        ("/für\tÄrzte\xa01/runs", "fuse.sshfs", False),
        ("/\udcfc/runs", "fuse.sshfs", False),  # a name that is no UTF-8
    ],
)
def test_locks_are_trusted_where_the_mount_is_known_to_keep_them(
    folder: str, type: str, has_locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO, encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr("mammo_aln.machine.mounts.MOUNTS", tmp_path / "mountinfo")
    mount = mount_of(Path(folder))
    assert isinstance(mount, Mount)
    assert (mount.type, mount.has_locks) == (type, has_locks)


def test_the_system_s_own_table_is_read() -> None:
    assert Path("/") in read_mounts(Path("/proc/self/mountinfo").read_text())


def test_of_threads_that_ask_at_once_one_holds(tmp_path: Path) -> None:
    """The system's lock knows processes alone."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(50):
            together, held = threading.Barrier(4), []

            def take(path: Path = tmp_path / f"{number}.lock", together=together, held=held) -> None:
                together.wait()
                held.append(take_lock(path))

            threads = [threading.Thread(target=take) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            (lock,) = [lock for lock in held if lock is not None]
            lock.close()
            again = take_lock(tmp_path / f"{number}.lock")
            assert again is not None
            again.close()
    finally:
        sys.setswitchinterval(interval)
