"""Simulated sweeps with Optuna's pruners: epochs trained, and what the best of them is worth.

A configuration's validation AUC at epoch e is 0.5 + (reach - 0.5) (1 - exp(-e / pace)), plus an error of the patients,
which stays, and one of the epoch. Reach is uniform from 0.55 to 0.80, pace lognormal: about 6 epochs with a spread of
0.5, or, so that curves cross, about 10 with a spread of 1, with reach for what is reached at the last epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import Section, table
from mammo_aln.progress import track
from mammo_aln.sweeps.planning.pruner import Pruner
from mammo_aln.sweeps.searching.rungs import Rungs

EPOCHS = 40
AT_ONCE = 8
PATIENTS_SD = 0.03
EPOCH_SD = 0.01
PRUNERS = (
    Pruner("median"),
    Pruner("percentile", {"percentile": 33}),
    Pruner("successive_halving"),
    Pruner("successive_halving", {"reduction_factor": 4}),
    Pruner("hyperband"),
)
PACES = {"alike": (6.0, 0.5), "crossing": (10.0, 1.0)}
"""Epochs and spread of the paces of curves."""


@dataclass(frozen=True)
class Outcome:
    """A sweep with a pruner.

    Attributes:
        epochs: share of all epochs that it trained.
        loss: true reach of the best without a pruner, less that of the best with it.
        within: the best's AUC is within the 95 % interval of the best without a pruner.
    """

    epochs: float
    loss: float
    within: bool


def curves(count: int, kind: str, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw true reaches, (count,), and best validation AUCs so far, (count, epochs)."""
    middle, spread = PACES[kind]
    reach = rng.uniform(0.55, 0.80, size=(count, 1))
    pace = middle * np.exp(rng.normal(0.0, spread, size=(count, 1)))
    rise = 1.0 - np.exp(-np.arange(1, EPOCHS + 1) / pace)
    if kind == "crossing":
        rise = rise / rise[:, -1:]
    noise = rng.normal(0.0, PATIENTS_SD, size=(count, 1)) + rng.normal(0.0, EPOCH_SD, size=(count, EPOCHS))
    return reach[:, 0], np.maximum.accumulate(0.5 + (reach - 0.5) * rise + noise, axis=1)


def pruned(pruner: Pruner, reach: NDArray[np.float64], aucs: NDArray[np.float64]) -> Outcome:
    """Train the configurations, `AT_ONCE` at a time, an epoch of each in turn."""
    rungs = Rungs(pruner, EPOCHS)
    done = np.zeros(len(reach), int)
    waiting, running = list(range(len(reach)))[::-1], []
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            running.append(waiting.pop())
        for number in list(running):
            done[number] += 1
            auc = float(aucs[number, done[number] - 1])
            falls = rungs.judge(0, str(number), int(done[number]), auc)
            if done[number] == EPOCHS or falls:
                rungs.end(0, str(number), auc if done[number] == EPOCHS else None)
                running.remove(number)
    best = int(aucs[:, -1].argmax())
    chosen = int(np.where(done == EPOCHS, aucs[:, -1], -np.inf).argmax())
    within = aucs[best, -1] - aucs[chosen, -1] <= 1.96 * PATIENTS_SD
    return Outcome(float(done.sum() / (len(reach) * EPOCHS)), float(reach[best] - reach[chosen]), bool(within))


def pruning(sweeps: int = 200, configurations: int = 40) -> Section:
    """Simulated sweeps with Optuna's pruners: share of epochs trained, and what the best of them is worth.

    Args:
        sweeps: simulated for each pruner.
        configurations: of a sweep.
    """
    rng = np.random.default_rng(0)
    drawn = {kind: [curves(configurations, kind, rng) for _ in range(sweeps)] for kind in PACES}
    rows = []
    cases = [(kind, pruner) for kind in PACES for pruner in PRUNERS]
    for kind, pruner in track(cases, total=len(cases), what="pruners", unit="pruner"):
        outcomes = [pruned(pruner, *sweep) for sweep in drawn[kind]]
        options = ", ".join(f"{name} {value}" for name, value in pruner.options.items())
        rows.append(
            [
                kind,
                pruner.name + f" ({options})" * bool(options),
                f"{np.mean([one.epochs for one in outcomes]):.0%}",
                f"{np.mean([one.within for one in outcomes]):.1%}",
                f"{np.mean([one.loss for one in outcomes]):+.4f}",
            ]
        )
    head = [
        "curves",
        "pruner",
        "epochs trained",
        "best within the interval of the best without one",
        "true AUC lost, mean",
    ]
    return Section(
        "Pruning of simulated sweeps",
        f"{sweeps} simulated sweeps of {configurations} configurations, {AT_ONCE} at once, {EPOCHS} epochs; AUC with "
        f"an SD of {PATIENTS_SD} by patients and {EPOCH_SD} by epoch",
        [*table(head, rows), "", "The interval is that of patients, 95 %."],
    )
