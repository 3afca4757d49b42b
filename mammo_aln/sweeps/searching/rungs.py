"""Optuna's pruner as a judge: a training's AUC at an epoch against those of others at the same epoch."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from mammo_aln.sweeps.planning.pruner import Pruner
from mammo_aln.sweeps.searching.study import optuna

CLASSES = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}
HALVING = ("successive_halving", "hyperband")
TIE = 1e-9
"""Equal AUCs, which few patients often give, halving tells apart by lot, by less than this: Optuna's lets all go on."""


class Rungs:
    """Studies that live in memory, one for each lane: trainings of a lane are compared with one another alone.

    Args:
        pruner: which of Optuna's.
        max_epochs: of every training.
    """

    def __init__(self, pruner: Pruner, max_epochs: int) -> None:
        self.pruner, self.max_epochs = pruner, max_epochs
        self._studies: dict[int, Any] = {}
        self._trials: dict[tuple[int, str], Any] = {}

    def judge(self, lane: int, name: str, epoch: int, auc: float) -> bool:
        """Report a training's AUC at an epoch, from 1; true where the pruner would stop it there."""
        if math.isnan(auc):
            return False
        trial = self._trial(lane, name)
        trial.report(auc + (_lot(name) if self.pruner.name in HALVING else 0.0), epoch)
        return bool(trial.should_prune())

    def end(self, lane: int, name: str, auc: float | None) -> None:
        """Note a training's end: completed with an AUC, or pruned, without one."""
        trial = self._trial(lane, name)
        if auc is None:
            self._studies[lane].tell(trial, state=optuna().trial.TrialState.PRUNED)
        else:
            self._studies[lane].tell(trial, auc)

    def _trial(self, lane: int, name: str) -> Any:
        if lane not in self._studies:
            pruner = getattr(optuna().pruners, CLASSES[self.pruner.name])(**self.pruner.arguments(self.max_epochs))
            self._studies[lane] = optuna().create_study(direction="maximize", pruner=pruner, study_name=f"lane {lane}")
        if (lane, name) not in self._trials:
            self._trials[lane, name] = self._studies[lane].ask()
        return self._trials[lane, name]


def _lot(name: str) -> float:
    """Draw a training's lot from its name: the same whoever judges it, and whenever."""
    return TIE * int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8
