"""Networks: pre-training, training, prediction, and why they say so. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from mammo_aln.settings import PretrainSettings, Settings
from mammo_aln.settings.limits import FROM_0


def pretrain_backbone(cohort: Path, out: Path, settings: PretrainSettings, store: Path | None = None) -> Path:
    """Pre-train a backbone into OUT/RUN_ID/pretrained.safetensors, for `train --model.pretrained`.

    Args:
        cohort: cohort folder; outcome, regions and split are optional, patients of a test split are never read.
            crop.strategy=whole_breast needs no box.
        out: folder of runs.
        settings: of the pre-training.
        store: crop store; by default .crops in the cohort folder.
    """
    from mammo_aln.training.pretraining.pretrain import pretrain_run

    return pretrain_run(cohort, out, settings, store=store)


def train(cohort: Path, out: Path, settings: Settings, store: Path | None = None) -> Path:
    """Train one model into OUT/RUN_ID; the same command goes on where it stopped and does nothing where it is done.

    Args:
        cohort: cohort folder whose patients.csv has a column split.
        out: folder of runs.
        settings: of the training.
        store: crop store; by default .crops in the cohort folder.
    """
    from mammo_aln.training.train import train_run

    return train_run(cohort, out, settings, store=store)


def list_runs(folder: Path, format: Literal["table", "csv"] = "table") -> str | int:
    """List the runs of a folder, or of a sweep's folder: settings, state, epochs and best validation AUC.

    Args:
        folder: folder of runs, as `train --out` names it.
        format: a table to read, or CSV.
    """
    from mammo_aln.progress import say
    from mammo_aln.runs.listing import listed_runs, runs_as_csv, runs_as_table

    runs = listed_runs(folder)
    if not runs:
        say(f"no runs in {folder}")
        return 0
    return runs_as_table(runs) if format == "table" else runs_as_csv(runs)


def lineage(paths: list[Path]) -> str:
    """Print the data sets and weights that runs, weights, predictions or a cohort descend from, with their licences.

    Args:
        paths: cohort folders, run directories, folders of runs, weights files or predictions; several are taken
            together, as an ensemble is.
    """
    from mammo_aln.inference.lineage import lineage_report

    return lineage_report(paths)


def predict(
    run: list[Path],
    cohort: Path,
    out: Path,
    split: Literal["train", "val", "internal_test", "external_test"] | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    allow_missing: bool = False,
) -> Path:
    """Score a cohort with a frozen run; the same name with .json tells threshold, calibration and recipe.

    Args:
        run: run directory of a completed training; several are averaged as one model (many seeds, or folds).
        cohort: cohort folder; without a column split it reads as external_test.
        out: CSV file to be written.
        split: score this split only.
        store: crop store; by default .crops in the cohort folder.
        ledger: file that records openings of labelled test splits; by default openings.jsonl in the cohort folder and
            in the run directory. For folders that cannot be written; the same file for all runs.
        allow_missing: score a split of which more than 20 % lack an input that the run was trained with (the lesion's
            crop, a clinical feature, ...), beyond the share that training lacked; it is counted in all that is written.
    """
    from mammo_aln.inference.predict import predict_cohort

    return predict_cohort(run, cohort, out, split=split, store=store, ledger=ledger, allow_missing=allow_missing)


def explain(
    run: Path,
    cohort: Path,
    out: Path,
    split: Literal["train", "val", "internal_test", "external_test"] | None = None,
    patients: list[str] | None = None,
    drawn: Annotated[int, FROM_0] = 12,
    seed: Annotated[int, FROM_0] = 0,
    store: Path | None = None,
) -> Path:
    """Why a run says what it says: heat maps, the share of each input, and how far the score follows a moved box.

    Args:
        run: run directory of a completed training.
        cohort: cohort folder; without a column split it reads as external_test.
        out: folder for explain.html, explain.json, the tables and attribution/*.png.
        split: explain this split only.
        patients: explain these patients only, all with heat maps.
        drawn: without --patients, so many patients get heat maps, spread evenly over the order of the scores.
        seed: draws the bootstrap.
        store: crop store; by default .crops in the cohort folder.
    """
    from mammo_aln.explain.run import explain_run

    return explain_run(run, cohort, out, split=split, patients=patients, drawn=drawn, seed=seed, store=store)
