"""The `pruner` of a sweep's file: which cells are stopped before their last epoch, by one of Optuna's pruners.

pruner: median                          # or percentile, successive_halving, hyperband
pruner: {name: median, n_startup_trials: 8, n_warmup_steps: 10}      # Optuna's own options
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mammo_aln.errors import InputError, shortened

HISTORY = {"n_startup_trials": 0, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1}
HALVING = {"min_resource": 1, "reduction_factor": 2}
LEAST: Mapping[str, Mapping[str, int]] = {
    "median": HISTORY,
    "percentile": {**HISTORY, "percentile": 1},
    "successive_halving": {**HALVING, "min_early_stopping_rate": 0},
    "hyperband": HALVING,
}
"""Optuna's pruners, their options, and the least value of each."""
WARM_UP = 10
"""Unless an option says otherwise, none is compared with the median before one in so many of the epochs, in which the
learning rate rises (`optim.warmup_fraction`)."""
FIRST_RUNG = 8
"""Unless an option says otherwise, halving begins at one in so many of the epochs."""
HALF = 2
"""Halving keeps one in so many, at an eighth, a quarter and a half of the epochs. Optuna's own 4 stops three of four at
the first look, which costs more where some begin slowly."""
EPOCHS = "trainer.max_epochs"
MOST = 1_000_000


@dataclass(frozen=True)
class Pruner:
    """One of Optuna's pruners.

    Attributes:
        name: a key of `LEAST`.
        options: Optuna's own, as the file gives them.
    """

    name: str
    options: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, str | int]:
        """Give what plan.json keeps."""
        return {"name": self.name, **self.options}

    def arguments(self, max_epochs: int) -> dict[str, int]:
        """Arguments of Optuna's class, for trainings of so many epochs."""
        if "n_warmup_steps" in LEAST[self.name]:
            given = {"n_warmup_steps": max(1, max_epochs // WARM_UP)}
        else:
            given = {"min_resource": max(1, max_epochs // FIRST_RUNG)}
        if self.name == "percentile":
            given["percentile"] = 50
        if self.name == "successive_halving":
            given["reduction_factor"] = HALF
        if self.name == "hyperband":
            given["max_resource"] = max_epochs
        return {**given, **self.options}


def read_pruner(block: object) -> Pruner:
    """Read a `pruner` block.

    Raises:
        InputError: a name or an option that Optuna's pruner does not have, or a value below its least.
    """
    given = {"name": block} if isinstance(block, str) else block
    names = ", ".join(LEAST)
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise InputError(f"pruner: expected one of {names}, or {{name: ..., OPTION: ...}}, got {block!r}")
    name = str(given["name"])
    if name not in LEAST:
        raise InputError(f"pruner: {name}: expected one of {names}")
    options = {str(key): value for key, value in given.items() if key != "name"}
    for key, value in options.items():
        least = LEAST[name].get(key)
        if least is None:
            raise InputError(f"pruner: {key}: unknown option of {name}; allowed: {', '.join(LEAST[name])}")
        if type(value) is not int or not least <= value <= MOST or (key == "percentile" and value >= 100):
            most = ", below 100" if key == "percentile" else f", at most {MOST}" * (type(value) is int and value > MOST)
            raise InputError(f"pruner: {key}: expected a whole number, {least} or more{most}, got {shortened(value)}")
    return Pruner(name, options)
