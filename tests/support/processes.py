"""Processes that tests start and send signals to."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence


def default_signals() -> None:
    """Give a child the default dispositions (its preexec_fn): tests started by nohup or `&` have some ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)


def started(words: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process that obeys signals, its output kept."""
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default_signals
    )
