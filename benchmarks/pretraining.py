"""Does pre-training help a small cohort? A 1,500-patient phantom with other labels, then 150 training patients.

The pre-training cohort has two centres, no outcome that is read, and what a reader reported of each lesion (BI-RADS and
margin, with errors and gaps). The small cohort has 150 training patients; its external centre has a vendor that neither
cohort's training patients have. Each of three seeds pre-trains, then trains once from those weights and once from
scratch with all else equal. The external AUC's mean over seeds, and the paired difference with a bootstrap interval
over patients, go to docs/benchmarks.md. One process per core, one thread each; finished runs of one --out are not
trained again.

    python -m benchmarks pretraining --out out/pretraining
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.notes import machine, replace_section

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("birads", "margin")
ARMS = ("from scratch", "pre-trained")
SPLITS = {"train": 0.8, "val": 0.2}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=ROOT / "out" / "pretraining")
    words.add_argument("--pretrain-patients", type=int, default=1500)
    words.add_argument("--train-patients", type=int, default=150)
    words.add_argument("--external", type=int, default=600)
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--size-px", type=int, default=96)
    words.add_argument("--pretrain-epochs", type=int, default=20)
    words.add_argument("--epochs", type=int, default=40)
    words.add_argument("--mode", default="supervised", choices=("supervised", "contrastive", "both"))
    words.add_argument("--backbone", default="resnet50_small", help="name of a file in configs/backbones")
    words.add_argument("--processes", type=int, default=os.cpu_count())
    words.add_argument("--dry", action="store_true", help="print the table, do not write docs/benchmarks.md")
    given = words.parse_args()
    begun = time.perf_counter()
    make_cohorts(given)
    made_s = time.perf_counter() - begun
    scores: dict[str, dict[int, pd.DataFrame]] = {arm: {} for arm in ARMS}
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        pending = {
            pool.submit(one_seed, arm, seed, given): (arm, seed) for seed in range(given.seeds) for arm in ARMS[::-1]
        }
        for done in as_completed(pending):
            arm, seed = pending[done]
            scores[arm][seed], seconds = done.result()
            shown = f"{arm}, seed {seed}: external AUC {auc_of(scores[arm][seed]):.3f} ({seconds:.0f} s)"
            print(f"[{time.perf_counter() - begun:5.0f} s] {shown}", flush=True)
    text = report(scores, given, made_s, time.perf_counter() - begun)
    print(text)
    if not given.dry:
        replace_section(ROOT / "docs" / "benchmarks.md", "Pre-training on the phantom", text)


def make_cohorts(given: argparse.Namespace) -> None:
    """The two phantoms and their crops; the pre-training cohort keeps no split column and no outcome."""
    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.crops.build import build_crops
    from mammo_aln.phantom.mammography import write_phantom
    from mammo_aln.settings import PixelConfig

    large, small = given.out / "large", given.out / "small"
    if not large.exists():
        half = given.pretrain_patients // 2
        write_phantom(large, patients=given.pretrain_patients, centers=2, seed=100, external_patients=half)
    patients = pd.read_csv(large / "patients.csv", dtype=str)
    patients.drop(columns=["split", "aln_status"], errors="ignore").to_csv(large / "patients.csv", index=False)
    if not small.exists():
        internal = round(given.train_patients / SPLITS["train"])
        write_phantom(
            small,
            patients=internal + given.external,
            centers=3,
            seed=0,
            external_patients=given.external,
            internal_test=False,
        )
    for folder in (large, small):
        build_crops(read_cohort(folder, outcome=False), PixelConfig(), crop_of(given), store=given.out / "store")


def crop_of(given: argparse.Namespace) -> Any:
    from mammo_aln.settings import CropConfig

    return CropConfig(strategy="fixed_5cm", size_px=given.size_px, auxiliary=())


def one_seed(arm: str, seed: int, given: argparse.Namespace) -> tuple[pd.DataFrame, float]:
    """Pre-train if the arm says so, train, and score the external centre."""
    import torch
    import yaml

    from mammo_aln.inference.predict import predict_cohort
    from mammo_aln.settings import DataConfig, LogConfig, ModelConfig, PretrainConfig, PretrainSettings, TrainerConfig
    from mammo_aln.training.pretraining.pretrain import pretrain_run
    from mammo_aln.training.train import train_run

    torch.set_num_threads(1)
    backbone = yaml.safe_load((ROOT / "configs" / "backbones" / f"{given.backbone}.yaml").read_text(encoding="utf-8"))
    settings = PretrainSettings(
        crop=crop_of(given),
        model=replace(ModelConfig(**backbone["model"]), inputs=("primary",)),
        data=DataConfig(batch_size=16),
        trainer=TrainerConfig(max_epochs=given.pretrain_epochs, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
        seed=seed,
        pretrain=PretrainConfig(mode=given.mode, labels=() if given.mode == "contrastive" else LABELS),
    )
    store, runs = given.out / "store", given.out / "runs"
    begun = time.perf_counter()
    model = settings.model
    if arm == "pre-trained":
        model = replace(model, pretrained=str(pretrain_run(given.out / "large", runs, settings, store=store)))
    trainer = replace(settings.trainer, max_epochs=given.epochs)
    run = train_run(given.out / "small", runs, plain(settings, model=model, trainer=trainer), store=store)
    path = given.out / "external" / f"{run.name}.csv"
    predict_cohort(run, given.out / "small", path, split="external_test", store=store)
    return pd.read_csv(path, dtype={"patient_id": str}), time.perf_counter() - begun


def plain(settings: Any, **changed: Any) -> Any:
    """The settings of a training with those that a pre-training shares with it."""
    from dataclasses import fields

    from mammo_aln.settings import Settings

    return replace(Settings(**{field.name: getattr(settings, field.name) for field in fields(Settings)}), **changed)


def auc_of(table: pd.DataFrame) -> float:
    from mammo_aln.evaluation.statistics.discrimination import auc

    return auc(table["logit"], table["aln_status"])


def drawn_means(scores: dict[str, dict[int, pd.DataFrame]]) -> dict[str, np.ndarray]:
    """Bootstrap draws, over the same resampled patients for both arms, of the AUC's mean over seeds."""
    from mammo_aln.evaluation.statistics.resampling import bootstrap_auc_joint

    tables = [table.sort_values("patient_id") for runs in scores.values() for table in runs.values()]
    labels = tables[0]["aln_status"].to_numpy()
    drawn = bootstrap_auc_joint(np.stack([table["logit"].to_numpy() for table in tables]), labels, resamples=2000)
    seeds = len(drawn) // len(scores)
    return {arm: drawn[place * seeds : (place + 1) * seeds].mean(axis=0) for place, arm in enumerate(scores)}


def report(scores: dict[str, dict[int, pd.DataFrame]], given: argparse.Namespace, made_s: float, total_s: float) -> str:
    draws = drawn_means(scores)
    truth = pd.read_csv(given.out / "small" / "truth.csv").query("split == 'external_test'")
    means = {arm: float(np.mean([auc_of(table) for table in runs.values()])) for arm, runs in scores.items()}
    learnt = "contrast alone" if given.mode == "contrastive" else f"{' and '.join(LABELS)} ({given.mode})"
    train = (pd.read_csv(given.out / "small" / "patients.csv")["split"] == "train").sum()
    lines = [
        f"`python -m benchmarks pretraining`: {given.pretrain_patients} phantom patients of two centres to pre-train"
        f" on ({learnt}, {given.pretrain_epochs} epochs), then {train} patients to train on ({given.epochs} epochs,"
        f" primary crop); {given.external} external patients of a vendor that no training saw; {given.seeds} seeds,"
        f" {given.backbone}, {given.size_px} px. AUC on the external centre, mean over seeds, 95 % interval by"
        f" bootstrap over patients. {machine()}; {total_s / 60:.0f} min in all, cohorts and crops {made_s:.0f} s.",
        "",
        "| begins | external AUC | each seed |",
        "|---|---|---|",
    ]
    for arm in ARMS:
        low, high = np.quantile(draws[arm], [0.025, 0.975])
        each = ", ".join(f"{auc_of(scores[arm][seed]):.3f}" for seed in sorted(scores[arm]))
        lines.append(f"| {arm} | {means[arm]:.3f} ({low:.3f} to {high:.3f}) | {each} |")
    low, high = np.quantile(draws[ARMS[1]] - draws[ARMS[0]], [0.025, 0.975])
    gap = means[ARMS[1]] - means[ARMS[0]]
    lines.append(f"| difference, paired | {gap:+.3f} ({low:+.3f} to {high:+.3f}) | |")
    bayes = truth["bayes_auc_primary"].iloc[0]
    lines += [
        "",
        f"Bayes AUC of the primary crop: {bayes:.3f}. The labels pre-trained on were a reader's, never the outcome.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
