"""The ladder of inputs, the four crops and shuffled labels on the phantom."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.cohort import build_store
from benchmarks.page import Section, table
from benchmarks.trainings import (
    PLAN,
    Plan,
    auc_by_probability,
    auc_of,
    drawn_means,
    in_processes,
    interval,
    mean_auc,
    train_and_score,
    write_cohort,
)

LADDER = (("primary",), ("primary", "clinical"), ("primary", "clinical", "auxiliary"))
CROPS = ("fixed_5cm", "lesion_margin", "lesion_box", "whole_breast")
SHUFFLED = "shuffled labels"


@dataclass(frozen=True)
class Cell:
    """One training of the benchmark."""

    name: str
    inputs: tuple[str, ...]
    strategy: str = "fixed_5cm"
    shuffled: bool = False


CELLS = (
    *(Cell(" + ".join(inputs), inputs) for inputs in LADDER),
    *(Cell(f"primary, {strategy}", ("primary",), strategy) for strategy in CROPS[1:]),
    Cell(SHUFFLED, LADDER[-1], shuffled=True),
)
PAIRS = [(CELLS[1], CELLS[0]), (CELLS[2], CELLS[1]), *((CELLS[0], other) for other in CELLS[3:6])]


def ladder(plan: Plan = PLAN, seeds: int = 3, only: tuple[str, ...] = ()) -> Section:
    """Inputs added one by one, four crops, shuffled labels: external AUC beside the Bayes AUC.

    Args:
        plan: conditions of the trainings.
        seeds: trainings of each cell.
        only: cells to train, by name; all by default.
    """
    begun = time.perf_counter()
    prepare(plan)
    prepared_s = time.perf_counter() - begun
    cells = [cell for cell in CELLS if not only or cell.name in only]
    runs: dict[str, list[pd.DataFrame]] = {cell.name: [] for cell in cells}
    jobs = [(cell, seed) for seed in range(seeds) for cell in cells]
    for (cell, _), scores in in_processes(partial(train_cell, plan=plan), jobs, plan.processes, described):
        runs[cell.name].append(scores)
    draws = drawn_means({name: arm for name, arm in runs.items() if name != SHUFFLED})
    if SHUFFLED in runs:
        draws |= drawn_means({SHUFFLED: runs[SHUFFLED]})
    truth = pd.read_csv(plan.cohort / "truth.csv", dtype={"patient_id": str}).query("split == 'external_test'")
    return Section(
        "The ladder on the phantom",
        f"{plan.words()}, {plan.backbone}, mean over {seeds} seeds, 95 % interval by bootstrap over patients; cohort "
        f"and crops {prepared_s:.0f} s",
        [
            *table(
                [
                    "inputs, crop",
                    "external AUC",
                    "each seed",
                    "Bayes AUC (drawn labels)",
                    "share of (Bayes - 0.5)",
                    "AUC by true probabilities, of Bayes'",
                    "share of it",
                ],
                [row(cell, runs[cell.name], draws[cell.name], truth) for cell in cells],
            ),
            "",
            *table(
                ["paired difference", "AUC (95 % interval)"],
                [
                    (
                        f"{first.name} minus {second.name}",
                        interval(
                            mean_auc(runs[first.name]) - mean_auc(runs[second.name]),
                            draws[first.name] - draws[second.name],
                            "+",
                        ),
                    )
                    for first, second in PAIRS
                    if first in cells and second in cells
                ],
            ),
        ],
    )


def prepare(plan: Plan) -> None:
    """Write the phantom, a copy of its tables with labels permuted within each split, and one crop store for all."""
    write_cohort(plan.cohort, patients=plan.patients, external=plan.external, seed=plan.phantom_seed)
    shuffled = plan.out / "shuffled"
    if not shuffled.exists():
        shuffled.mkdir(parents=True)
        for name in ("images.csv", "regions.csv"):
            shutil.copy(plan.cohort / name, shuffled / name)
        declared = (plan.cohort / "cohort.yaml").read_text(encoding="utf-8")
        (shuffled / "cohort.yaml").write_text(f"{declared}dicom_root: ../cohort\n", encoding="utf-8")
        patients = pd.read_csv(plan.cohort / "patients.csv", dtype=str)
        rng = np.random.default_rng(1)
        for _, rows in patients.groupby("split"):
            patients.loc[rows.index, "aln_status"] = rng.permutation(rows["aln_status"].to_numpy())
        patients.to_csv(shuffled / "patients.csv", index=False)
    build_store(plan.cohort, plan.store, strategy="all", size_px=plan.size_px)


def train_cell(job: tuple[Cell, int], plan: Plan) -> pd.DataFrame:
    """Train one cell and score the external centre."""
    cell, seed = job
    folder: Path = plan.out / "shuffled" if cell.shuffled else plan.cohort
    return train_and_score(folder, plan.out, plan.settings(cell.inputs, seed, cell.strategy), plan.store)


def described(job: tuple[Cell, int], scores: pd.DataFrame) -> str:
    cell, seed = job
    return f"{cell.name}, seed {seed}: external AUC {auc_of(scores):.3f}"


def row(cell: Cell, runs: list[pd.DataFrame], draws: np.ndarray, truth: pd.DataFrame) -> list[str]:
    from mammo_aln.evaluation.statistics.discrimination import auc

    value = mean_auc(runs)
    shown = [interval(value, draws), ", ".join(f"{auc_of(scores):.3f}" for scores in runs)]
    if cell.shuffled:
        return [cell.name, *shown, "0.5", "", "", ""]
    subset = "+".join(name for name in ("primary", "auxiliary", "clinical") if name in cell.inputs)
    bayes = float(truth[f"bayes_auc_{subset}"].iloc[0])
    drawn = auc(truth[f"probability_{subset}"], truth["aln_status"])
    name = cell.name if "," in cell.name else f"{cell.name} ({cell.strategy})"
    true = truth.set_index("patient_id")["probability"]
    known = np.mean([auc_by_probability(scores["logit"], true.loc[scores["patient_id"]]) for scores in runs])
    best = auc_by_probability(truth[f"probability_{subset}"], truth["probability"])
    return [
        name,
        *shown,
        f"{bayes:.3f} ({drawn:.3f})",
        f"{(value - 0.5) / (bayes - 0.5):.0%}",
        f"{known:.3f} of {best:.3f}",
        f"{(known - 0.5) / (best - 0.5):.0%}",
    ]
