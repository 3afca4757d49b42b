"""A sweep's folder as trainings leave it, with drawn scores in place of trainings."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.runs.record import write_settings, write_state
from mammo_aln.settings import Settings
from mammo_aln.sweeps.plan import Cell, Plan

CROPS = ("whole_breast", "lesion_box", "lesion_margin", "fixed_5cm")
NETS = ("swinv2_small", "resnet50_small", "convnextv2_small")
EPOCHS = 12


def simulated_sweep(out: Path, seeds: int = 2, n: int = 120, unfinished: int = 0) -> Plan:
    """Draw CROPS x NETS; the last cells are stopped, failed and not started in turn."""
    rng = np.random.default_rng(0)
    grid = [*itertools.product(CROPS, NETS, range(seeds))]
    cells = []
    labels = (np.arange(n) % 5 < 2).astype(int)
    common = rng.standard_normal(n)
    for number, (crop, net, seed) in enumerate(grid):
        axes: dict[str, str | int | float | None] = {"crop.strategy": crop, "config": net}
        cell = Cell(f"{number:012x}", axes, axes, seed, None, Settings())
        cells.append(cell)
        better = 0.8 + 0.25 * CROPS.index(crop)
        run = out / "runs" / cell.run_id
        state = "completed" if number < len(grid) - unfinished else ("stopped", "failed", "")[number % 3]
        if not state:
            continue
        run.mkdir(parents=True)
        write_settings(run, cell.settings)
        done = EPOCHS if state == "completed" else 5
        curve = 0.5 + 0.25 * (1 - np.exp(-np.arange(done) / 3)) + 0.02 * rng.standard_normal(done)
        table = pd.DataFrame({"epoch": range(done), "val_auc": curve, "train_s": 3.0})
        table.to_csv(run / "metrics.csv", index=False)
        error = {"error": "CUDA out of memory"} if state == "failed" else {}
        write_state(run, state, training_s=41.0 if state == "completed" else None, **error)
        if state == "completed":
            scores = common + 0.5 * rng.standard_normal(n) + better * labels
            rows = pd.DataFrame({"run_id": cell.run_id, "patient_id": [f"p{row}" for row in range(n)], "split": "val"})
            rows.assign(aln_status=labels, score=scores).to_csv(run / "predictions.csv", index=False)
        (out / "logs").mkdir(exist_ok=True)
        (out / "logs" / f"{cell.run_id}.log").write_text("epoch 0\n")
    return Plan(out, out.parent / "cohort", None, "0123456789abcdef", tuple(cells), created="2026-11-28T04:00:00+00:00")
