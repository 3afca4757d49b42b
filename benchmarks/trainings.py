"""Trainings on a phantom cohort that are judged on its external centre, one process per core, one thread each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import yaml
from numpy.typing import ArrayLike

from benchmarks.page import OUT, ROOT
from mammo_aln.machine.pool import results_of
from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """Conditions that all trainings of a benchmark share; finished runs of the same folder are not trained again.

    Args:
        out: folder of the cohort, the crops and the runs.
        patients: phantom patients in all.
        external: patients of the external centre.
        phantom_seed: seed of the phantom.
        size_px: side of a crop.
        epochs: epochs of each training.
        backbone: name of a file in configs/backbones.
        processes: trainings at a time; by default one per core.
    """

    out: Path = OUT / "ladder"
    patients: int = 1000
    external: int = 400
    phantom_seed: int = 0
    size_px: int = 96
    epochs: int = 24
    backbone: str = "resnet50_small"
    processes: int | None = None

    @property
    def cohort(self) -> Path:
        """The phantom."""
        return self.out / "cohort"

    @property
    def store(self) -> Path:
        """The crops of all trainings."""
        return self.out / "store"

    def settings(self, inputs: tuple[str, ...], seed: int, strategy: str = "fixed_5cm") -> Settings:
        """Settings of one training, from scratch on CPU."""
        backbone = yaml.safe_load((ROOT / "configs/backbones" / f"{self.backbone}.yaml").read_text(encoding="utf-8"))
        return Settings(
            crop=CropConfig(strategy=strategy, size_px=self.size_px, auxiliary=("axilla",)),
            model=replace(ModelConfig(**backbone["model"]), inputs=inputs),
            data=DataConfig(batch_size=16),
            trainer=TrainerConfig(max_epochs=self.epochs, accelerator="cpu"),
            log=LogConfig(wandb="disabled"),
            seed=seed,
        )

    def words(self) -> str:
        """The conditions, for a section's head."""
        return (
            f"{self.patients} phantom patients (seed {self.phantom_seed}), {self.external} of them external, "
            f"{self.size_px} px, {self.epochs} epochs, from scratch, AUC on the external centre"
        )


PLAN = Plan()


def in_processes(
    work: Callable[[Job], Result], jobs: Sequence[Job], processes: int | None, describe: Callable[[Job, Result], str]
) -> Iterator[tuple[Job, Result]]:
    """Yield each job with its result as it ends, saying so."""
    begun = time.perf_counter()
    for count, (number, result) in enumerate(results_of(work, jobs, processes, few=0), start=1):
        seconds = time.perf_counter() - begun
        print(f"[{seconds:5.0f} s] {count}/{len(jobs)} {describe(jobs[number], result)}", flush=True)
        yield jobs[number], result


def write_cohort(folder: Path, *, patients: int, external: int, seed: int = 0, internal_test: bool = False) -> Path:
    """Write the phantom of three centres, if it is not there yet."""
    from mammo_aln.phantom.mammography import write_phantom

    if not folder.exists():
        write_phantom(
            folder, patients=patients, centers=3, seed=seed, external_patients=external, internal_test=internal_test
        )
    return folder


def train_and_score(folder: Path, out: Path, settings: Settings, store: Path) -> pd.DataFrame:
    """Train on the folder's cohort and score its external centre."""
    from mammo_aln.inference.predict import predict_cohort
    from mammo_aln.training.train import train_run

    run = train_run(folder, out / "runs", settings, store=store)
    scores = predict_cohort(run, folder, out / "external" / f"{run.name}.csv", split="external_test", store=store)
    return pd.read_csv(scores, dtype={"patient_id": str})


def auc_of(scores: pd.DataFrame) -> float:
    """AUC of scored patients."""
    from mammo_aln.evaluation.statistics.discrimination import auc

    return auc(scores["logit"], scores["aln_status"])


def auc_by_probability(scores: ArrayLike, probability: ArrayLike) -> float:
    """AUC of scores among patients whose probabilities of the outcome are known, without the luck of drawn labels.

    The expected number of ordered pairs, a positive with the higher score, over that of all pairs; ties count half.

    Args:
        scores: (patients,).
        probability: each patient's true probability of the outcome (patients,).
    """
    values, probabilities = np.asarray(scores, float), np.asarray(probability, float)
    level = np.unique(values, return_inverse=True)[1]
    positive, negative = np.bincount(level, probabilities), np.bincount(level, 1.0 - probabilities)
    below = np.cumsum(negative) - negative
    # a patient is no pair with themselves
    alone = float((probabilities * (1.0 - probabilities)).sum())
    ordered = float((positive * (below + negative / 2.0)).sum()) - alone / 2.0
    return ordered / (float(positive.sum() * negative.sum()) - alone)


def mean_auc(runs: Sequence[pd.DataFrame]) -> float:
    """Mean AUC over seeds."""
    return float(np.mean([auc_of(scores) for scores in runs]))


def drawn_means(runs: Mapping[str, Sequence[pd.DataFrame]]) -> dict[str, np.ndarray]:
    """Draw each arm's mean AUC over seeds by bootstrap, over the same resampled patients for every arm."""
    from mammo_aln.evaluation.statistics.resampling import bootstrap_auc_joint

    tables = [scores.sort_values("patient_id") for arm in runs.values() for scores in arm]
    labels = tables[0]["aln_status"].to_numpy()
    drawn = bootstrap_auc_joint(np.stack([scores["logit"].to_numpy() for scores in tables]), labels, resamples=2000)
    owner = np.repeat(np.arange(len(runs)), [len(arm) for arm in runs.values()])
    return {name: drawn[owner == number].mean(axis=0) for number, name in enumerate(runs)}


def interval(value: float, draws: np.ndarray, sign: str = "") -> str:
    """A value with its 95 % interval; `sign` is + for differences."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"
