"""The runner: `python -m benchmarks.gpu_check [--only 2 3] [--out FOLDER] [--tiny] [--again] [--page]`.

Each check prints one line: PASS, FAIL, or RAN where there is no GPU to judge its criterion. FOLDER/gpu_check.json holds
all figures and is written after each check: the same command goes on with those that have not passed. Exit code 1 where
one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.cli import set_allocator


@dataclass(frozen=True)
class Check:
    """One check: its function, as `module.name`, and its criterion in words."""

    function: str
    criterion: str


CHECKS = {
    1: Check("runs.machine", "`doctor` fails nothing"),
    2: Check("network.attention_kernels", "no math attention, no float32 product; all forward and backward efficient"),
    3: Check("network.accuracy", "our bf16 error at most timm's, against float64; no NaN"),
    4: Check("network.waits", "no wait of the host in a step of training and pre-training"),
    5: Check("runs.trainings", "exit code 0, finite, the id that a CPU gives"),
    6: Check("runs.epoch_parts", "data wait under 2 %, the rest under 20 % of the steps"),
    7: Check("network.speed", "SwinV2 in bf16 at least 1.2 times timm, compiled 1.7; an H100 half its model"),
    8: Check("network.changing_sizes", "p95 over p50 and reserved over used memory under 1.3"),
    9: Check("runs.interruption", "resumed rows equal to 1e-3; deterministic runs equal in bits"),
    10: Check("runs.arithmetic", "16-mixed finite with every fusion; scaler in the checkpoint"),
    11: Check("runs.predictions", "GPU and CPU within 1 % of the logits' SD; the explanation drawn"),
    12: Check("runs.sweeps", "all cells done in 1, 3 and 6 slots; too large a batch told and halved"),
    13: Check("runs.launchers", "torchrun and pretrain end with exit code 0"),
}


def main(words: Sequence[str]) -> int:
    """Run the checks that have not passed, or those that are named."""
    parser = argparse.ArgumentParser(
        prog="gpu_check.sh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", type=int, nargs="+", choices=list(CHECKS), metavar="N", help="these checks, again")
    parser.add_argument("--out", type=Path, default=Path("out/gpu_check"), help="folder of everything that is made")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU: runs every line, judges little")
    parser.add_argument("--page", action="store_true", help="run nothing: write the results to docs/benchmarks.md")
    parser.add_argument("--again", action="store_true", help="all checks, those that passed too")
    given = parser.parse_args(words)
    os.environ["WANDB_MODE"] = "disabled"
    set_allocator()  # checks within this process allocate as the commands do
    from importlib import import_module

    from benchmarks.gpu_check.runs import card
    from benchmarks.gpu_check.setup import Outcome, Setup
    from benchmarks.page import machine
    from mammo_aln.files import write_json

    setup = Setup(given.out.absolute(), given.tiny)
    file = setup.out / "gpu_check.json"
    about = {"machine": machine(), "card": card(), "tiny": given.tiny}
    former = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if {key: former.get(key) for key in about} != about:
        former = {}  # another machine, or other sizes: nothing of it stands for this one
    results = former.get("checks", {})
    if given.page:
        write_section(results if setup.on_gpu and not given.tiny else {}, about)
        return 0
    failed = []
    for number in given.only or CHECKS:
        check = CHECKS[number]
        known = results.get(str(number), {}).get("verdict")
        if known in ("PASS", "RAN") and not given.only and not given.again:
            print(f"{known}  {number:2}  {results[str(number)]['words']} (before)", flush=True)
            continue
        begun = time.perf_counter()
        module, name = check.function.split(".")
        run: Callable[[Setup], Outcome] = getattr(import_module(f"benchmarks.gpu_check.{module}"), name)
        try:
            outcome = run(setup)
        except Exception as error:  # noqa: BLE001  # one check that breaks must not hide the others; it fails
            traceback.print_exc()
            outcome = Outcome(False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        seconds = time.perf_counter() - begun
        verdict = {True: "PASS", False: "FAIL", None: "RAN "}[outcome.passed]
        print(f"{verdict}  {number:2}  {outcome.words} ({seconds:.0f} s)", flush=True)
        if outcome.passed is False:
            print(f"          expected: {check.criterion}", flush=True)
            failed.append(number)
        results[str(number)] = {
            "check": check.function.partition(".")[2],
            "criterion": check.criterion,
            "verdict": verdict.strip(),
            "seconds": seconds,
            "words": outcome.words,
            "figures": outcome.figures,
        }
        write_json(file, {**about, "checks": results})
    print(file)
    return 1 if failed else 0


def write_section(results: dict[str, dict[str, object]], about: dict[str, object]) -> None:
    """Write the table of docs/benchmarks.md: the line of each check, or that it was not run."""
    from benchmarks.page import PAGE, replace_section, table

    rows = []
    for number, check in CHECKS.items():
        result = results.get(str(number))
        words = f"{result['verdict']}: {result['words']}" if result else "not run, no GPU"
        rows.append([number, f"`{check.function.partition('.')[2]}`", check.criterion, words])
    head = f"`bash scripts/gpu_check.sh`. {about['card'] or 'No GPU'}; {about['machine']}."
    lines = table(("#", "check", "passes where", "result"), rows)
    replace_section(PAGE, "Thirteen checks of a GPU machine", "\n".join([head, "", *lines]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
