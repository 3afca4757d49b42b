"""Do all five backbones learn from scratch, and does a model bear what is missing at test? Phantom, external centre.

    python -m benchmarks backbones --out out/ladder      # the cohort and crops of bench_ladder.py, where they are
    python -m benchmarks backbones --part missing

Part `backbones`: the five small variants x the default recipe, `inputs=[primary]`; external AUC with DeLong's interval.
Part `missing`: a model of all inputs is tested without any MLO view, and without any auxiliary crop, against models
that were trained without them. One process per core, one thread each; finished runs are not trained again.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.ladder import Cell, auc_of, drawn_means, make_cohort, one_run
from benchmarks.notes import machine, replace_section

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = ("swinv2_small", "convnextv2_small", "efficientnetv2_small", "resnet50_small", "densenet121_small")
GOAL_AUC = 0.65
MARGIN = 0.03
WHOLE = ("primary", "clinical", "auxiliary")
WITHOUT_AUXILIARY = ("primary", "clinical")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=ROOT / "out" / "ladder")
    words.add_argument("--part", choices=list(PARTS), nargs="*", default=list(PARTS))
    words.add_argument("--patients", type=int, default=1000)
    words.add_argument("--external", type=int, default=400)
    words.add_argument("--phantom-seed", type=int, default=0)
    words.add_argument("--seeds", type=int, default=3, help="seeds of the part `missing`")
    words.add_argument("--size-px", type=int, default=96)
    words.add_argument("--epochs", type=int, default=24)
    words.add_argument("--backbone", default="resnet50_small", help="backbone of the part `missing`")
    words.add_argument("--backbones", nargs="*", default=list(BACKBONES))
    words.add_argument("--processes", type=int, default=os.cpu_count())
    words.add_argument("--dry", action="store_true", help="print the tables, do not write docs/benchmarks.md")
    given = words.parse_args()
    cohort = make_cohort(given)
    for part in given.part:
        begun = time.perf_counter()
        with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
            title, lines = PARTS[part](given, cohort, pool)
        about = (
            f"`python -m benchmarks backbones --part {part}`: {given.patients} phantom patients (seed "
            f"{given.phantom_seed}), {given.external} of them external, {given.size_px} px, {given.epochs} epochs, "
            f"from scratch, AUC on the external centre. {machine()}; {(time.perf_counter() - begun) / 60:.0f} min "
            "without the cohort."
        )
        text = "\n".join([about, "", *lines])
        print(f"## {title}\n\n{text}\n", flush=True)
        if not given.dry:
            replace_section(ROOT / "docs" / "benchmarks.md", title, text)


def learning_rows(given: argparse.Namespace, cohort: Path, pool: ProcessPoolExecutor) -> tuple[str, list[str]]:
    """One run per backbone."""
    from mammo_aln.evaluation.statistics.discrimination import auc_variance, wald_interval

    cell = Cell("primary", ("primary",))
    pending = {
        name: pool.submit(one_run, cell, 0, cohort, argparse.Namespace(**{**vars(given), "backbone": name}))
        for name in given.backbones
    }
    lines = [
        f"| backbone (configs/backbones) | external AUC, primary alone | goal above {GOAL_AUC} | minutes |",
        "|---|---|---|---|",
    ]
    for name, job in pending.items():
        table, seconds = job.result()
        value = auc_of(table)
        low, high = wald_interval(value, auc_variance(table["logit"], table["aln_status"]))
        met = "met" if value > GOAL_AUC else "missed"
        lines.append(f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) | {met} | {seconds / 60:.1f} |")
    return "Five backbones from scratch", lines


def without_mlo(cohort: Path, out: Path) -> Path:
    """The same cohort, its MLO views gone from the tables."""
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


def one_model(inputs: tuple[str, ...], folder: Path, tested: dict[str, tuple[Path, tuple[str, ...]]], seed: int,
              given: argparse.Namespace) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Train on `folder`; score the external centre once per test, which names a cohort and the inputs that are left."""
    import torch
    import yaml

    from mammo_aln.cohort.clinical import ClinicalEncoder
    from mammo_aln.model.classifier import AxillaryClassifier
    from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig
    from mammo_aln.training.data.datamodule import MammoDataModule
    from mammo_aln.training.scoring import predict_logits
    from mammo_aln.training.train import train_run

    torch.set_num_threads(1)
    backbone = yaml.safe_load((ROOT / "configs" / "backbones" / f"{given.backbone}.yaml").read_text(encoding="utf-8"))
    settings = Settings(
        crop=CropConfig(size_px=given.size_px, auxiliary=("axilla",)),
        model=replace(ModelConfig(**backbone["model"]), inputs=inputs),
        data=DataConfig(batch_size=16),
        trainer=TrainerConfig(max_epochs=given.epochs, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
        seed=seed,
    )
    run = train_run(folder, given.out / "runs", settings, store=given.out / "store")
    best = run / "checkpoints" / "best.ckpt"
    module = AxillaryClassifier.load(best)
    encoder = torch.load(best, map_location="cpu", weights_only=True)["mammo_aln"]["clinical_encoder"]
    scored = {}
    for name, (cohort, left) in tested.items():
        data = MammoDataModule(
            cohort,
            settings.crop,
            inputs=left,
            data=settings.data,
            store=given.out / "store",
            splits=("external_test",),
            regions=module.hparams["regions"],
            encoder=ClinicalEncoder.from_state(encoder),
        )
        data.prepare_data()
        scored[name] = predict_logits(module, data, settings.trainer)
    return scored


def missing_rows(given: argparse.Namespace, cohort: Path, pool: ProcessPoolExecutor) -> tuple[str, list[str]]:
    """Three models and a seed each: with everything, without auxiliary crops, without MLO views."""
    bare = without_mlo(cohort, given.out)
    models: dict[str, tuple[tuple[str, ...], Path, dict[str, tuple[Path, tuple[str, ...]]]]] = {
        "whole": (
            WHOLE,
            cohort,
            {"everything": (cohort, WHOLE), "no auxiliary": (cohort, WITHOUT_AUXILIARY), "no MLO": (bare, WHOLE)},
        ),
        "no auxiliary": (WITHOUT_AUXILIARY, cohort, {"no auxiliary": (cohort, WITHOUT_AUXILIARY)}),
        # The axilla lies on MLO views alone: without them there is no auxiliary crop to learn from either.
        "no MLO": (WITHOUT_AUXILIARY, bare, {"no MLO": (bare, WITHOUT_AUXILIARY)}),
    }
    jobs = {
        (name, seed): pool.submit(one_model, inputs, folder, tested, seed, given)
        for seed in range(given.seeds)
        for name, (inputs, folder, tested) in models.items()
    }
    found: dict[str, list[pd.DataFrame]] = {}
    for (name, _), job in jobs.items():
        for test, table in job.result().items():
            found.setdefault(f"{name}, tested with {test}", []).append(table)
    draws = drawn_means(found)
    means = {name: float(np.mean([auc_of(table) for table in tables])) for name, tables in found.items()}
    lines = [
        f"{given.backbone}, {given.seeds} seeds; mean over seeds, 95 % interval by bootstrap over patients.",
        "",
        "| missing at test | model of all inputs | model trained without it | difference | goal |",
        "|---|---|---|---|---|",
    ]
    whole = "whole, tested with everything"
    lines.append(f"| nothing | {shown(means[whole], draws[whole])} | | | |")
    for lack, words in (("no MLO", "every MLO view"), ("no auxiliary", "every auxiliary crop")):
        bearing, without = f"whole, tested with {lack}", f"{lack}, tested with {lack}"
        gap = means[bearing] - means[without]
        low, high = np.quantile(draws[bearing] - draws[without], [0.025, 0.975])
        lines.append(
            f"| {words} | {shown(means[bearing], draws[bearing])} | {shown(means[without], draws[without])} | "
            f"{gap:+.3f} ({low:+.3f} to {high:+.3f}) | at least -{MARGIN}: {'met' if gap >= -MARGIN else 'missed'} |"
        )
    return "What is missing at test", lines


def shown(mean: float, draws: np.ndarray) -> str:
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


PARTS = {"backbones": learning_rows, "missing": missing_rows}

if __name__ == "__main__":
    main()
