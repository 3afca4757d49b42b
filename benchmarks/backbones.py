"""Five backbones from scratch, and models that meet at test what they never lacked in training."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.ladder import prepare
from benchmarks.page import Section, table
from benchmarks.trainings import PLAN, Plan, auc_of, drawn_means, in_processes, interval, mean_auc, train_and_score

BACKBONES = ("swinv2_small", "convnextv2_small", "efficientnetv2_small", "resnet50_small", "densenet121_small")
GOAL_AUC = 0.65
MARGIN = 0.03
WHOLE = ("primary", "clinical", "auxiliary")
WITHOUT_AUXILIARY = ("primary", "clinical")


def from_scratch(plan: Plan = PLAN, backbones: tuple[str, ...] = BACKBONES) -> Section:
    """Five small backbones from scratch, primary crop alone: external AUC.

    Args:
        plan: conditions of the trainings; its `backbone` is not read.
        backbones: names of files in configs/backbones.
    """
    from mammo_aln.evaluation.statistics.discrimination import auc_variance, wald_interval

    prepare(plan)
    rows = {}
    for name, scores in in_processes(
        partial(train_backbone, plan=plan),
        backbones,
        plan.processes,
        lambda name, scores: f"{name} {auc_of(scores):.3f}",
    ):
        value = auc_of(scores)
        low, high = wald_interval(value, auc_variance(scores["logit"], scores["aln_status"]))
        rows[name] = [name, f"{value:.3f} ({low:.3f} to {high:.3f})", "met" if value > GOAL_AUC else "missed"]
    header = ["backbone (configs/backbones)", "external AUC, primary alone", f"goal above {GOAL_AUC}"]
    return Section("Five backbones from scratch", plan.words(), table(header, [rows[name] for name in backbones]))


def train_backbone(name: str, plan: Plan) -> pd.DataFrame:
    plan = replace(plan, backbone=name)
    return train_and_score(plan.cohort, plan.out, plan.settings(("primary",), 0), plan.store)


@dataclass(frozen=True)
class Model:
    """One training, and the tests that it takes: name, cohort and the inputs that are left."""

    name: str
    inputs: tuple[str, ...]
    cohort: Path
    tests: tuple[tuple[str, Path, tuple[str, ...]], ...]


def missing(plan: Plan = PLAN, seeds: int = 3) -> Section:
    """A model of all inputs tested without MLO views or auxiliary crops, against models trained without them.

    Args:
        plan: conditions of the trainings.
        seeds: trainings of each model.
    """
    prepare(plan)
    bare = without_mlo(plan.cohort, plan.out)
    no_auxiliary = ("no auxiliary", plan.cohort, WITHOUT_AUXILIARY)
    models = (
        Model(
            "whole",
            WHOLE,
            plan.cohort,
            (("everything", plan.cohort, WHOLE), no_auxiliary, ("no MLO", bare, WHOLE)),
        ),
        Model("no auxiliary", WITHOUT_AUXILIARY, plan.cohort, (no_auxiliary,)),
        # The axilla lies on MLO views alone: without them there is no auxiliary crop to learn from either.
        Model("no MLO", WITHOUT_AUXILIARY, bare, (("no MLO", bare, WITHOUT_AUXILIARY),)),
    )
    jobs = [(model, seed) for seed in range(seeds) for model in models]
    runs: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for (model, _), tests in in_processes(
        partial(train_model, plan=plan), jobs, plan.processes, lambda job, _: f"{job[0].name}, seed {job[1]}"
    ):
        for test, scores in tests.items():
            runs.setdefault((model.name, test), []).append(scores)
    draws = drawn_means(runs)
    means = {name: mean_auc(arm) for name, arm in runs.items()}
    whole = ("whole", "everything")
    rows = [["nothing", interval(means[whole], draws[whole]), "", "", ""]]
    for lack, words in (("no MLO", "every MLO view"), ("no auxiliary", "every auxiliary crop")):
        bearing, without = ("whole", lack), (lack, lack)
        gap = means[bearing] - means[without]
        rows.append(
            [
                words,
                interval(means[bearing], draws[bearing]),
                interval(means[without], draws[without]),
                interval(gap, draws[bearing] - draws[without], "+"),
                f"at least -{MARGIN}: {'met' if gap >= -MARGIN else 'missed'}",
            ]
        )
    header = ["missing at test", "model of all inputs", "model trained without it", "difference", "goal"]
    about = f"{plan.words()}, {plan.backbone}, mean over {seeds} seeds, 95 % interval by bootstrap over patients"
    return Section("What is missing at test", about, table(header, rows))


def without_mlo(cohort: Path, out: Path) -> Path:
    """Write the same cohort, its MLO views gone from the tables."""
    folder = out / "without_mlo"
    if not folder.exists():
        folder.mkdir(parents=True)
        declared = (cohort / "cohort.yaml").read_text(encoding="utf-8")
        images = pd.read_csv(cohort / "images.csv", dtype=str).query("view != 'MLO'")
        regions = pd.read_csv(cohort / "regions.csv", dtype=str)
        images.to_csv(folder / "images.csv", index=False)
        regions[regions["image_id"].isin(images["image_id"])].to_csv(folder / "regions.csv", index=False)
        shutil.copy(cohort / "patients.csv", folder)
        (folder / "cohort.yaml").write_text(f"{declared}dicom_root: {cohort.resolve()}\n", encoding="utf-8")
    return folder


def train_model(job: tuple[Model, int], plan: Plan) -> dict[str, pd.DataFrame]:
    """Train on the model's cohort; score the external centre once per test."""
    import torch

    from mammo_aln.cohort.clinical import ClinicalEncoder
    from mammo_aln.model.classifier import AxillaryClassifier
    from mammo_aln.training.data.datamodule import MammoDataModule
    from mammo_aln.training.scoring import predict_logits
    from mammo_aln.training.train import train_run

    model, seed = job
    settings = plan.settings(model.inputs, seed)
    run = train_run(model.cohort, plan.out / "runs", settings, store=plan.store)
    best = run / "checkpoints" / "best.ckpt"
    module = AxillaryClassifier.load(best)
    encoder = torch.load(best, map_location="cpu", weights_only=True)["mammo_aln"]["clinical_encoder"]
    scores = {}
    for name, cohort, inputs in model.tests:
        data = MammoDataModule(
            cohort,
            settings.crop,
            inputs=inputs,
            data=settings.data,
            store=plan.store,
            splits=("external_test",),
            regions=module.hparams["regions"],
            encoder=ClinicalEncoder.from_state(encoder),
            opened=True,  # a phantom drawn for this measurement has no seal to keep
        )
        data.prepare_data()
        scores[name] = predict_logits(module, data, settings.trainer)
    return scores
