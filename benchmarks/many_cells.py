"""A sweep of thousands of cells: how long it is planned and looked at, and how true its estimate of the disk is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.page import OUT, ROOT, Section, table
from benchmarks.rounds import Times, clocked
from benchmarks.sweep import BACKBONES, CROPS, sweep, write
from benchmarks.trainings import write_cohort
from mammo_aln.sweeps.plan_file import read_plan

SETTLED_S = 2.5
"""Files are not kept before this age."""

PLANNED = """
import json, resource, sys, time
from pathlib import Path
begun, worked = time.perf_counter(), time.process_time()
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.planning.combinations import readable_settings, refuse_combinations
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner, plan_sweep, require_sound_cohort
file, cohort, out, store = map(Path, sys.argv[1:])
definition = read_definition(file)
asked = list(points(definition))
planner = Planner(cohort, store)
require_sound_cohort(cohort, readable_settings(asked), store)
refuse_combinations(asked, planner)
freeze(plan_sweep(definition, asked, cohort, out, store=store, slots=2, check=False, planner=planner))
print(json.dumps({
    "wall_s": time.perf_counter() - begun,
    "processor_s": time.process_time() - worked,
    "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
}))
"""


def many_cells(
    patients: int = 120, seeds: int = 100, epochs: int = 20, rounds: int = 3, out: Path = OUT / "sweep-2000"
) -> Section:
    """2,000 cells, 4 crops x 5 small backbones x 100 seeds: planning, disk estimate, status and board.

    One cell of each configuration is trained, for one epoch; the other runs are copies of it, with scores and epochs
    of their own.

    Args:
        patients: phantom patients.
        seeds: trainings of each of the twenty configurations.
        epochs: epochs that the copies tell of.
        rounds: rounds of each measure.
        out: folder of its own, which must not exist.
    """
    if out.exists():
        sys.exit(f"{out} is there already: these measures need a folder of their own (--out)")
    out.mkdir(parents=True)
    cohort, store = write_cohort(out / "cohort", patients=patients, external=patients // 4), out / "store"
    base: dict[str, Any] = {
        "crop": {"size_px": 64},
        "model": {"inputs": ["primary"]},
        "data": {"batch_size": 16, "num_workers": 0},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "log": {"wandb": "disabled"},
        "grid": {
            "crop.strategy": list(CROPS),
            "config": [f"configs/backbones/{name}_small.yaml" for name in BACKBONES],
        },
    }
    file = write(out / "many.yaml", {**base, "seeds": seeds})
    one = write(out / "one.yaml", {**base, "seeds": 1})
    folder = out / "sweep"
    run = sweep("run", one, "--cohort", cohort, "--out", folder, "--store", store)
    subprocess.run(run, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    disk_b = sum(path.stat().st_size for path in folder.glob("runs/*/checkpoints/*"))
    plans = [planned(file, cohort, out / f"plan-{number}", store) for number in range(rounds)]
    told_gb = float(re.search(r"about ([\d.]+) GB when all", plans[0]["told"])[1])  # type: ignore[index]
    planned(file, cohort, folder, store)
    completed(folder, epochs)
    time.sleep(SETTLED_S)
    first = clocked(partial(status, folder))
    before = os.times()
    looks = Times(tuple(clocked(partial(status, folder)) for _ in range(rounds)))
    after = os.times()
    worked_s = (after.children_user + after.children_system - before.children_user - before.children_system) / rounds
    cells = len(read_plan(folder).cells)
    real_gb = disk_b / len(list(folder.glob("runs/*/checkpoints/best.ckpt"))) * cells / 1e9
    times = {name: Times(tuple(plan[name] for plan in plans)) for name in ("wall_s", "processor_s", "memory_gb")}
    rows = [
        ["planned (checks, networks, ids, plan.json), crops known", f"{times['wall_s'].words()} s"],
        ["the same, processor", f"{times['processor_s'].words()} s"],
        ["memory of the planning process", f"{times['memory_gb'].words(digits=2)} GB"],
        ["checkpoints: told when planned; of one trained cell each, times their number",
         f"{told_gb:.3g} GB; {real_gb:.3g} GB ({told_gb / real_gb - 1:+.0%})"],
        ["`sweep status` with the board, figures not kept yet", f"{first:.1f} s"],
        ["`sweep status` with the board, figures kept", f"{looks.words(digits=2)} s"],
        ["the same, processor, mean", f"{worked_s:.2f} s"],
        ["board.html", f"{(folder / 'board.html').stat().st_size / 1e6:.2f} MB"],
    ]  # fmt: skip
    about = f"{cells} cells: 4 crops x 5 small backbones x {seeds} seeds, {patients} phantom patients, {epochs} epochs"
    return Section("Sweeps: thousands of cells", f"{about}; median (range) of {rounds}", table(["measure", ""], rows))


def planned(file: Path, cohort: Path, out: Path, store: Path) -> dict[str, Any]:
    """Plan a sweep in a process of its own: its seconds, its memory, and what it said."""
    words = [sys.executable, "-c", PLANNED, str(file), str(cohort), str(out), str(store)]
    done = subprocess.run(words, check=True, cwd=ROOT, capture_output=True, text=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "told": done.stderr}


def completed(folder: Path, epochs: int) -> None:
    """Fill in the runs of all cells from the one of their configuration that was trained, with scores of their own."""
    plan, rng = read_plan(folder), np.random.default_rng(0)
    trained = {cell.configuration: plan.runs / cell.run_id for cell in plan.cells if (plan.runs / cell.run_id).is_dir()}
    for cell in plan.cells:
        run, original = plan.runs / cell.run_id, trained[cell.configuration]
        if run == original:
            continue
        run.mkdir()
        for name in ("state.json", "config.yaml"):
            shutil.copyfile(original / name, run / name)
        scores = pd.read_csv(original / "predictions.csv", dtype=str)
        scores.assign(run_id=cell.run_id, score=rng.random(len(scores))).to_csv(run / "predictions.csv", index=False)
        metrics = pd.read_csv(original / "metrics.csv").iloc[[0] * epochs]
        metrics.assign(epoch=range(epochs), val_auc=rng.random(epochs)).to_csv(run / "metrics.csv", index=False)


def status(folder: Path) -> None:
    """Look at a sweep as a user does."""
    subprocess.run(sweep("status", "--out", folder), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
