"""Pre-training on a large cohort's other labels before a small cohort's training."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd

from benchmarks.cohort import build_store
from benchmarks.page import OUT, Section, table
from benchmarks.trainings import (
    Plan,
    auc_of,
    drawn_means,
    in_processes,
    interval,
    mean_auc,
    train_and_score,
    write_cohort,
)

LABELS = ("birads", "margin")
ARMS = ("from scratch", "pre-trained")
TRAIN_SHARE = 0.8


@dataclass(frozen=True)
class PretrainPlan(Plan):
    """Conditions of both trainings; `patients` counts the small cohort's training patients.

    Args:
        pretrain_patients: patients of the large cohort, which has two centres.
        pretrain_epochs: epochs of pre-training.
        mode: objective of pre-training.
    """

    out: Path = OUT / "pretraining"
    patients: int = 150
    external: int = 600
    epochs: int = 40
    pretrain_patients: int = 1500
    pretrain_epochs: int = 20
    mode: Literal["supervised", "contrastive", "both"] = "supervised"

    @property
    def large(self) -> Path:
        """The cohort that is pre-trained on."""
        return self.out / "large"


PLAN = PretrainPlan()


def pretraining(plan: PretrainPlan = PLAN, seeds: int = 3) -> Section:
    """150 patients, with and without pre-training on 1,500 others whose outcome is never read.

    Args:
        plan: conditions of the trainings.
        seeds: trainings of each arm.
    """
    begun = time.perf_counter()
    prepare(plan)
    prepared_s = time.perf_counter() - begun
    runs: dict[str, dict[int, pd.DataFrame]] = {arm: {} for arm in ARMS}
    jobs = [(arm, seed) for seed in range(seeds) for arm in ARMS[::-1]]
    for (arm, seed), scores in in_processes(
        partial(train_arm, plan=plan), jobs, plan.processes, lambda job, scores: f"{job}: {auc_of(scores):.3f}"
    ):
        runs[arm][seed] = scores
    each = {arm: [scores[seed] for seed in range(seeds)] for arm, scores in runs.items()}
    draws = drawn_means(each)
    rows = [
        [arm, interval(mean_auc(each[arm]), draws[arm]), ", ".join(f"{auc_of(scores):.3f}" for scores in each[arm])]
        for arm in ARMS
    ]
    first, second = ARMS
    gap = interval(mean_auc(each[second]) - mean_auc(each[first]), draws[second] - draws[first], "+")
    bayes = pd.read_csv(plan.cohort / "truth.csv").query("split == 'external_test'")["bayes_auc_primary"].iloc[0]
    objective = "contrast alone" if plan.mode == "contrastive" else f"{' and '.join(LABELS)} ({plan.mode})"
    return Section(
        "Pre-training on the phantom",
        f"{plan.pretrain_patients} phantom patients of two centres to pre-train on ({objective}, "
        f"{plan.pretrain_epochs} epochs), then {plan.patients} patients to train on ({plan.epochs} epochs, primary "
        f"crop); {plan.external} external patients of a vendor that no training saw; {seeds} seeds, {plan.backbone}, "
        f"{plan.size_px} px; AUC on the external centre, mean over seeds, 95 % interval by bootstrap over patients; "
        f"cohorts and crops {prepared_s:.0f} s",
        [
            *table(["begins", "external AUC", "each seed"], [*rows, ["difference, paired", gap, ""]]),
            "",
            f"Bayes AUC of the primary crop: {bayes:.3f}. The labels pre-trained on were a reader's, never the "
            "outcome.",
        ],
    )


def prepare(plan: PretrainPlan) -> None:
    """Write both phantoms and their crops; the large one keeps no split column and no outcome."""
    from mammo_aln.phantom.mammography import write_phantom

    if not plan.large.exists():
        half = plan.pretrain_patients // 2
        write_phantom(plan.large, patients=plan.pretrain_patients, centers=2, seed=100, external_patients=half)
    patients = pd.read_csv(plan.large / "patients.csv", dtype=str)
    patients.drop(columns=["split", "aln_status"], errors="ignore").to_csv(plan.large / "patients.csv", index=False)
    internal = round(plan.patients / TRAIN_SHARE)
    write_cohort(plan.cohort, patients=internal + plan.external, external=plan.external)
    for folder in (plan.large, plan.cohort):
        build_store(folder, plan.store, strategy="fixed_5cm", size_px=plan.size_px, auxiliary=(), outcome=False)


def train_arm(job: tuple[str, int], plan: PretrainPlan) -> pd.DataFrame:
    """Pre-train if the arm says so, train, and score the external centre."""
    from mammo_aln.settings import PretrainConfig, PretrainSettings, Settings
    from mammo_aln.training.pretraining.pretrain import pretrain_run

    arm, seed = job
    plain = plan.settings(("primary",), seed)
    settings = replace(plain, crop=replace(plain.crop, auxiliary=()))
    if arm == "pre-trained":
        shared = {field.name: getattr(settings, field.name) for field in fields(Settings)}
        shared["trainer"] = replace(settings.trainer, max_epochs=plan.pretrain_epochs)
        objective = PretrainConfig(mode=plan.mode, labels=() if plan.mode == "contrastive" else LABELS)
        weights = pretrain_run(
            plan.large, plan.out / "runs", PretrainSettings(**shared, pretrain=objective), store=plan.store
        )
        settings = replace(settings, model=replace(settings.model, pretrained=str(weights)))
    return train_and_score(plan.cohort, plan.out, settings, plan.store)
