"""A training that is asked to leave saves its step; one that does not leave is killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from mammo_aln.machine import signals

WAITS = "print(1, flush=True); time.sleep(60)"
OBEYS = f"import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); {WAITS}"
STAYS = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


@pytest.mark.parametrize(("program", "code"), [(OBEYS, 75), (STAYS, -signal.SIGKILL)])
def test_a_process_leaves_by_itself_or_is_killed(program, code, monkeypatch):
    monkeypatch.setattr(signals, "SAVE_S", 20.0 if program is OBEYS else 0.3)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its handler stands
        signals.leave_in_time(process)
        assert process.returncode == code
