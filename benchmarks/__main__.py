"""The one runner: `python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME [options]` runs one.

A benchmark is a function that returns a `Section`; its parameters are the options (`NAME --help`). The section takes
its place in docs/benchmarks.md, headed by the command, the machine and the minutes, unless `--dry true` is given.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

BENCHMARKS = {
    "start": "start.command_line",
    "start-known": "known_crops.start",
    "imaging-build": "imaging.build",
    "imaging-cage": "cage.cage",
    "imaging-memory": "imaging.memory",
    "imaging-index": "imaging.index",
    "imaging-read": "imaging.read",
    "imaging-growth": "imaging.growth",
    "training-step": "training.step",
    "training-loader": "training.loader",
    "around-step": "around_step.around_step",
    "augmentation": "augmentation.augmentation",
    "training-swin": "training.swin",
    "training-gpu": "training.gpu",
    "ladder": "ladder.ladder",
    "backbones": "backbones.from_scratch",
    "missing": "backbones.missing",
    "pretraining": "pretraining.pretraining",
    "sweep-grid": "sweep.grid",
    "sweep-2000": "many_cells.many_cells",
    "sweep-ladder": "sweep.ladder",
    "choice": "choice.choice",
    "pruning": "pruning.pruning",
    "search-slurm": "search_slurm.search_slurm",
    "evaluation": "evaluation.evaluation",
    "radiomics": "radiomics.speed",
    "ibsi": "radiomics.conformity",
    "filters": "filters.filters",
    "lasso": "lasso.lasso",
    "leak": "leak.leak",
    "likeness": "likeness.likeness",
    "dlr": "dlr.dlr",
    "ispy": "ispy.ispy",
    "fuzz": "hostile.fuzz.fuzz",
    "torture": "hostile.torture.torture",
}
"""Name: the module and the function behind it."""


def main(words: Sequence[str]) -> int:
    """Run the benchmark that the first word names with the options that follow."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m benchmarks NAME [options]\n")
        for name in BENCHMARKS:
            print(f"  {name:16} {purpose(name)}")
        return 0
    name, *options = words
    if name not in BENCHMARKS:
        print(f"no benchmark is named {name}; `python -m benchmarks` lists them", file=sys.stderr)
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are imported
    from jsonargparse import ArgumentParser

    from benchmarks.page import machine, replace_section

    module, _, function = BENCHMARKS[name].rpartition(".")
    bench = getattr(import_module(f"benchmarks.{module}"), function)
    parser = ArgumentParser(prog=f"python -m benchmarks {name}", description=purpose(name))
    parser.add_argument("--dry", type=bool, default=False, help="print the section, do not write it to the page")
    parser.add_function_arguments(bench)
    settings = parser.instantiate(parser.parse_args(options)).as_dict()
    dry = settings.pop("dry")
    begun = time.perf_counter()
    section = bench(**settings)
    minutes = (time.perf_counter() - begun) / 60
    of_here = r" --(dry|folder|beginning|record|(plan\.)?out)[= ]\S+"
    command = re.sub(of_here, "", " ".join(["python -m benchmarks", *words]))
    text = f"`{command}`: {section.about}. {machine()}; {minutes:.0f} min.\n\n" + "\n".join(section.lines)
    print(f"## {section.title}\n\n{text}")
    if not dry:
        replace_section(section.page, section.title, text)
    return 0


def purpose(name: str) -> str:
    """Read the first line of a benchmark's docstring, its module left unimported."""
    module, _, function = BENCHMARKS[name].rpartition(".")
    tree = ast.parse((Path(__file__).parent / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    node = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return (ast.get_docstring(node) or "").split("\n")[0]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
