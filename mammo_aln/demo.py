"""The verb `demo`: the whole road once on a phantom cohort, with the same functions that the other verbs call."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mammo_aln.progress import say
from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig
from mammo_aln.settings.shipped import find_config, read_yaml


def run_demo(out: Path, *, patients: int, seed: int, max_epochs: int) -> Path:
    """Make a phantom cohort, train on its internal centres, test on the external one; returns the report's path."""
    import torch

    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.crops.crop import crop_cohort
    from mammo_aln.evaluation.evaluate import evaluate_files
    from mammo_aln.inference.predict import predict_cohort
    from mammo_aln.phantom.mammography import write_phantom
    from mammo_aln.training.baseline import cohort_table
    from mammo_aln.training.train import train_run

    folder = _fresh(out)
    begun = time.perf_counter()

    def step(text: str) -> None:
        say(f"[{time.perf_counter() - begun:5.0f} s] {text}")

    step(f"writing a phantom cohort of {patients} patients in three centres")
    cohort = write_phantom(folder / "cohort", patients=patients, centers=3, seed=seed, internal_test=False)
    settings = demo_settings(gpu=torch.cuda.is_available(), seed=seed, max_epochs=max_epochs)
    step("cropping: breast-plane millimetres, four boxes on each proof sheet")
    crop_cohort(cohort, settings.pixels, settings.crop, proof=folder / "proof", proof_patients=12)
    step(f"training {settings.model.backbone} on {settings.crop.strategy}, inputs {', '.join(settings.model.inputs)}")
    run = train_run(cohort, folder / "runs", settings)
    step("opening the external centre with frozen weights, threshold and calibration")
    predictions = predict_cohort(run, cohort, folder / "external_test.csv", split="external_test")
    step("judging")
    report = evaluate_files(
        [predictions],
        folder / "evaluation",
        run=run,
        cohorts=[cohort_table(read_cohort(cohort), settings)],
        resamples=2000,
        seed=seed,
    )
    figures = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))["splits"]
    step(f"external centre: {auc_in_words(figures['external_test'])}")
    return report


def auc_in_words(figures: dict[str, Any]) -> str:
    """AUC with the interval that the report prints, or why there is none (all patients may have one outcome)."""
    likely = (figures[name] for name in ("auc_exact", "auc_logit") if figures.get(name, {}).get("value") is not None)
    auc = next(likely, figures["auc"])
    if auc["value"] is None:
        return f"AUC unknown ({auc['reason']})"
    if auc["ci_low"] is None:
        return f"AUC {auc['value']:.3f} (no interval: {auc['reason']})"
    return f"AUC {auc['value']:.3f} (95 % CI {auc['ci_low']:.3f} to {auc['ci_high']:.3f}, {auc['method']})"


def demo_settings(*, gpu: bool, seed: int, max_epochs: int) -> Settings:
    """Settings of the demo: small network and crops for a CPU, the backbone as released where there is a GPU."""
    small = read_yaml(find_config("backbones/swinv2_small.yaml"))
    settings = Settings(
        crop=CropConfig(strategy="fixed_5cm", size_px=128, auxiliary=("axilla",)),
        model=ModelConfig(**small["model"]),
        data=DataConfig(batch_size=16),
        trainer=TrainerConfig(max_epochs=max_epochs),
        log=LogConfig(wandb="offline"),
        seed=seed,
    )
    if gpu:
        settings = replace(
            settings,
            crop=replace(settings.crop, size_px=256),
            model=replace(settings.model, backbone_args={}),
        )
    return settings


def _fresh(out: Path) -> Path:
    """`out`, or the first of `out-2`, `out-3`, ... that does not exist: every demo computes everything anew."""
    number = 1
    while (folder := out if number == 1 else out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    folder.mkdir(parents=True)
    return folder
