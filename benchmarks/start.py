"""Start of the command line beside a bare interpreter's."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.page import Section, table
from benchmarks.rounds import clocked, in_turn


def command_line(rounds: int = 21) -> Section:
    """Seconds of `mammo-aln --help`, beside a bare interpreter's start (the floor).

    Args:
        rounds: starts of each command.
    """
    program = str(Path(sys.executable).with_name("mammo-aln"))
    commands = {
        "bare interpreter": (sys.executable, "-c", "pass"),
        "`mammo-aln --help`": (program, "--help"),
        "`mammo-aln train --help`": (program, "train", "--help"),
    }
    runs = [partial(subprocess.run, words, check=True, stdout=subprocess.DEVNULL) for words in commands.values()]
    times = in_turn(rounds, *(partial(clocked, run) for run in runs))
    rows = [
        [name, seconds.words(digits=3), f"{seconds.median / times[0].median:.1f}"]
        for name, seconds in zip(commands, times, strict=True)
    ]
    about = f"median (range) of {rounds} rounds"
    return Section("Start of the command line", about, table(["command", "seconds", "ratio to the floor"], rows))
