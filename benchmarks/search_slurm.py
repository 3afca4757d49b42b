"""Searches by the verb on a real SLURM: whether trials learn from earlier ones, and what pruners spare and lose."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.page import OUT, ROOT, Section, table
from benchmarks.sweep import sweep, write
from benchmarks.trainings import write_cohort
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.planning.definition import Definition, read_definition
from mammo_aln.sweeps.searching.study import draw, optuna, sampler_of
from mammo_aln.sweeps.standing.table import Row, read_rows

RANGES = {
    "optim.lr": {"low": 1.0e-6, "high": 1.0e-1, "log": True},
    "optim.weight_decay": {"low": 1.0e-4, "high": 1.0, "log": True},
    "data.augment_strength": {"low": 0.0, "high": 2.0},
}
WITHOUT = "none"


@dataclass(frozen=True)
class Searched:
    """A search that has ended.

    Attributes:
        rows: its cells.
        later: trials that were asked for when others had been told.
        by_history: trials whose values are not those that their own seed draws without any history.
        values: each trial's values.
        most: trials that were open at once.
        minutes: of the command.
    """

    rows: Sequence[Row]
    later: int
    by_history: int
    values: Sequence[tuple[float, ...]]
    most: int
    minutes: float

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return sum(row.epochs for row in self.rows)

    @property
    def best(self) -> Row:
        """Cell of the greatest validation AUC of those that were trained to the end."""
        return max((row for row in self.rows if row.standing.state == "completed"), key=lambda row: row.val.value)


def search_slurm(
    trials: int = 40,
    at_once: int = 8,
    epochs: int = 24,
    patients: int = 240,
    pruners: tuple[str, ...] = ("median", "successive_halving"),
    nice: int = 0,
    out: Path = OUT / "search-slurm",
) -> Section:
    """A search of 40 trials on SLURM, 8 at once, without and with pruners: dependence, doubles, epochs, the best.

    SLURM is that of this machine, by scripts/slurm_local.sh (root) where none answers.

    Args:
        trials: of a search.
        at_once: trials that are trained at once.
        epochs: of a training.
        patients: phantom patients.
        pruners: with their defaults.
        nice: niceness of the jobs, beside other work.
        out: folder of its own, which must not exist.
    """
    if out.exists():
        sys.exit(f"{out} is there already: these measures need a folder of their own (--out)")
    out.mkdir(parents=True)
    cohort = write_cohort(out / "cohort", patients=patients, external=patients // 6)
    base: dict[str, Any] = {
        "base": "configs/backbones/resnet50_small.yaml",
        "crop": {"strategy": "fixed_5cm", "size_px": 64},
        "model": {"inputs": ["primary"]},
        "data": {"batch_size": 16, "num_workers": 0},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu"},
        "log": {"wandb": "disabled"},
        "search": {"trials": trials, "at_once": at_once, "space": RANGES},
    }
    searches = {}
    with slurm_of(at_once):
        for name in [WITHOUT, *pruners]:
            file = write(out / f"{name}.yaml", base if name == WITHOUT else {**base, "pruner": name})
            searches[name] = searched(file, cohort, out, nice)
    plain = searches[WITHOUT]
    rows = []
    for name, search in searches.items():
        best = search.best.val
        within = best.value >= plain.best.val.low
        pruned = sum(row.standing.state == "pruned" for row in search.rows)
        rows.append(
            [
                name,
                f"{search.later}; {search.by_history}",
                f"{len(set(search.values))} of {len(search.values)}",
                search.most,
                pruned,
                f"{search.epochs} ({search.epochs / (trials * epochs):.0%})",
                f"{best.value:.3f} ({best.low:.3f} to {best.high:.3f})"
                + (f", {'within' if within else 'BELOW'} the interval of the first" if name != WITHOUT else ""),
                f"{search.minutes:.0f}",
            ]
        )
    head = [
        "pruner",
        "trials asked for when others had been told; with values that their seed alone does not give",
        "distinct trials",
        "most at once",
        "pruned",
        "epochs trained",
        "validation AUC of the best (95 %)",
        "minutes",
    ]
    about = (
        f"`sweep run --executor slurm` with search, {trials} trials, {at_once} at once, {epochs} epochs,"
        f" resnet50_small, {patients} phantom patients, 64 px, ranges of {', '.join(RANGES)}; SLURM with {at_once} CPUs"
        " on this machine"
    )
    return Section("Search on SLURM", about, table(head, rows))


def searched(file: Path, cohort: Path, out: Path, nice: int) -> Searched:
    """Run a search's command to its end, and read what it left."""
    folder = out / file.stem
    python = f"nice -n {nice} {sys.executable}"
    command = sweep(
        "run", file, "--cohort", cohort, "--out", folder, "--store", out / "store", "--executor", "slurm",
        "--cluster.poll_s=1", "--cluster.cpus_per_task=1", "--cluster.time_min=120", f"--cluster.python={python}",
    )  # fmt: skip
    begun = time.perf_counter()
    with (out / f"{file.stem}.log").open("w", encoding="utf-8") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log, env=environment)
    minutes = (time.perf_counter() - begun) / 60
    definition = read_definition(file)
    study = optuna().load_study(study_name=None, storage=f"sqlite:///{folder / 'search.db'}")
    trials = study.trials
    ends = [trial.datetime_complete.timestamp() for trial in trials]
    starts = [trial.datetime_start.timestamp() for trial in trials]
    names = sorted(trials[0].params)
    return Searched(
        read_rows(read_plan(folder)),
        sum(any(end <= start for end in ends) for start in starts),
        sum(not math.isclose(
            trial.params["optim.lr"], alone(definition, trial.number)["optim.lr"]) for trial in trials),
        [tuple(trial.params[name] for name in names) for trial in trials],
        max(sum(one <= start < end for one, end in zip(starts, ends, strict=True)) for start in starts),
        minutes,
    )  # fmt: skip


def alone(definition: Definition, number: int) -> dict[str, Any]:
    """Draw a trial as its own seed does where no other has been told."""
    assert definition.search is not None
    study = optuna().create_study(direction="maximize")
    trial = study.ask()
    study.sampler = sampler_of(definition.search, number)
    draw(trial, definition, definition.search)
    return dict(trial.params)


@contextmanager
def slurm_of(cpus: int) -> Iterator[None]:
    """Have a SLURM of so many CPUs on this machine, unless one answers already."""
    script = ["bash", str(ROOT / "scripts" / "slurm_local.sh")]
    if subprocess.run(["bash", "-c", "sinfo -h"], capture_output=True, check=False).returncode == 0:
        yield
        return
    subprocess.run(script, check=True, env={**os.environ, "SLURM_LOCAL_CPUS": str(cpus)})
    try:
        yield
    finally:
        subprocess.run([*script, "stop"], check=True)
