"""How long `mammo-aln --help` takes, beside a bare interpreter's start (the floor): median of 21 runs each.

python -m benchmarks start
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.notes import machine, replace_section

RUNS = 21


def median_s(*words: str) -> float:
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def main() -> None:
    program = str(Path(sys.executable).with_name("mammo-aln"))
    rows = {
        "bare interpreter": (sys.executable, "-c", "pass"),
        "`mammo-aln --help`": (program, "--help"),
        "`mammo-aln train --help`": (program, "train", "--help"),
    }
    times = {name: median_s(*words) for name, words in rows.items()}
    floor = times["bare interpreter"]
    lines = [f"`python -m benchmarks start`: median of {RUNS} runs. {machine()}.", ""]
    lines += ["| command | seconds | ratio to the floor |", "|---|---|---|"]
    lines += [f"| {name} | {seconds:.3f} | {seconds / floor:.1f} |" for name, seconds in times.items()]
    text = "\n".join(lines)
    print(text)
    replace_section(Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md", "Start of the command line", text)


if __name__ == "__main__":
    main()
