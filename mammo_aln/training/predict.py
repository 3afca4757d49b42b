"""Scoring a cohort with a frozen run: weights, threshold, calibration, clinical encoding and pixel recipe unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort, with_split
from mammo_aln.config import Settings, TrainerConfig
from mammo_aln.errors import InputError
from mammo_aln.files import write_csv
from mammo_aln.imaging.derive import PIXEL_PATH_VERSION
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.runs import read_settings, read_state
from mammo_aln.seal import labelled_rows, record_opening, require_unchanged, require_writable
from mammo_aln.training.scoring import predict_logits, prediction_table, write_predictions
from mammo_aln.training.train import data_module, read_for
from mammo_aln.training.units import cohort_flow


def predict_cohort(
    run: Path,
    cohort_folder: Path,
    out: Path,
    *,
    split: str | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    plan: str | None = None,
) -> Path:
    """Score a cohort's rows (of one split, if named) into `out`; what a reader must know stands beside it as JSON.

    Args:
        run: directory of a completed run.
        cohort_folder: cohort to score.
        out: CSV file to be written.
        split: score this split only.
        store: crop store; by default `.crops` in the cohort folder.
        ledger: file that records openings of labelled test splits, instead of `openings.jsonl` in both folders.
        plan: id of the declared plan that these openings belong to; by default it is looked up.

    Raises:
        InputError: `run` is no completed run or changed since, nothing is left to score, the run's pixels were made by
            other code, or an opening cannot be recorded.
    """
    if out.is_dir() or out.suffix == ".json":
        raise InputError(f"--out {out}: expected the name of a CSV file; its JSON gets the same name with .json")
    state = read_state(run)["state"]
    if state != "completed":
        raise InputError(f"{run}: its state is {state!r}; predictions need a completed run")
    settings = read_settings(run)
    digests = require_unchanged(run)
    frozen = json.loads((run / "predictions.json").read_text(encoding="utf-8"))
    best = run / "checkpoints" / "best.ckpt"
    in_checkpoint = torch.load(best, map_location="cpu", weights_only=True)["mammo_aln"]
    _refuse_other_pixels(run, in_checkpoint["recipe"])
    cohort = with_split(read_for(settings, cohort_folder))
    settings = _folds_of(run, settings, cohort)
    splits = _splits(cohort, split)
    if labelled_rows(cohort.patients[cohort.patients["split"].isin(splits)]):
        require_writable(cohort, ledger, run)
    module = AxillaryClassifier.load(best)
    encoder = in_checkpoint["clinical_encoder"]
    data = data_module(
        cohort,
        settings,
        store,
        splits=splits,
        regions=module.hparams["regions"],
        encoder=ClinicalEncoder.from_state(encoder) if encoder else None,
    )
    data.prepare_data()
    if not any(len(data.patients(one)) for one in splits):
        raise InputError(f"{cohort.name}: no eligible patient of {', '.join(splits)} has an input that the run reads")
    scored = predict_logits(module, data, _on_this_machine(settings.trainer))
    opened = {
        name: record_opening(cohort, frozen["run_id"], name, n, plan=plan, run=run, ledger=ledger)
        for name, n in labelled_rows(scored).items()
    }
    about: dict[str, Any] = {
        "run_id": frozen["run_id"],
        "frozen": digests,
        "splits": opened,
        "cohort": cohort.name,
        "threshold": frozen["threshold"],
        "calibration": frozen["calibration"],
        "recipe": data.recipe,
        "fallbacks": data.fallbacks,
        "cohort_flow": cohort_flow(cohort.patients, splits, scored),
        "settings": frozen["settings"],
        "absent_regions": sorted(set(module.hparams["regions"]) - {"primary", *data.crop.auxiliary}),
    }
    if data.reads_images and len(data.crop_set.exclusions):
        write_csv(out.with_suffix(".exclusions.csv"), data.crop_set.exclusions)
    write_predictions(out, prediction_table(scored, frozen["run_id"], frozen["calibration"]), about)
    return out


def _folds_of(run: Path, settings: Settings, cohort: Cohort) -> Settings:
    """A run's folds stand for `train` and `val` in its own cohort; another cohort keeps the split that it states."""
    if not settings.data.folds:
        return settings
    identity = json.loads((run / "environment.json").read_text(encoding="utf-8"))["identity"]
    if identity["cohort"] == cohort_content(cohort):
        return settings
    return replace(settings, data=replace(settings.data, folds=0, fold=0))


def _on_this_machine(trainer: TrainerConfig) -> TrainerConfig:
    """A run trained on a GPU is scored where there is none as well."""
    if torch.cuda.is_available():
        return trainer
    precision: Any = "32-true" if trainer.precision == "16-mixed" else trainer.precision
    return replace(trainer, accelerator="cpu", precision=precision)


def _refuse_other_pixels(run: Path, recipe: dict[str, Any]) -> None:
    made_by = recipe.get("pixel_path_version", PIXEL_PATH_VERSION)
    if made_by != PIXEL_PATH_VERSION:
        raise InputError(
            f"{run}: its pixels were made by pixel path {made_by}, this version's is {PIXEL_PATH_VERSION}; "
            "score with the package version in the run's environment.json, or train again"
        )


def _splits(cohort: Cohort, split: str | None) -> list[str]:
    there = sorted(cohort.patients["split"].dropna().unique())
    if split is not None and split not in there:
        raise InputError(f"--split {split}: patients.csv holds {', '.join(there) or 'no split'}")
    return there if split is None else [split]
