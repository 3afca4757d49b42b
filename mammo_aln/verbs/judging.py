"""Predictions judged, and compared. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mammo_aln.settings.limits import FROM_0, FROM_2


def evaluate(
    files: list[Path],
    out: Path,
    run: Path | None = None,
    cohort: Path | None = None,
    resamples: Annotated[int, FROM_2] = 2000,
    seed: Annotated[int, FROM_0] = 0,
) -> Path:
    """Judge predictions: metrics.json, roc.csv, calibration.csv, decision_curve.csv and report.html in OUT.

    Args:
        files: predictions, joined by split.
        out: folder for the evaluation.
        run: run directory: adds its training and validation predictions, threshold and recipe.
        cohort: cohort folder: adds subgroups, baseline table and centre shift (clinical features, and headers of the
            images that the run reads; without a run, of those that the default crops are cut from).
        resamples: bootstrap resamples.
        seed: draws the resamples.
    """
    from mammo_aln.cohort.acquisition import acquisition_of
    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.crops.sources import source_images
    from mammo_aln.evaluation.evaluate import evaluate_files
    from mammo_aln.runs.record import read_settings
    from mammo_aln.settings import Settings

    judged = read_cohort(cohort, need=("patients",)) if cohort else None
    settings = read_settings(run) if run and (run / "config.yaml").is_file() else Settings()
    sources = source_images(judged, settings.crop, settings.model.inputs) if judged else []
    return evaluate_files(
        files,
        out,
        run=run,
        cohort_patients=judged.patients if judged else None,
        acquisition=acquisition_of(judged, sources) if judged else None,
        resamples=resamples,
        seed=seed,
    )


def compare(files: list[Path], out: Path, resamples: Annotated[int, FROM_2] = 2000) -> Path:
    """Compare models on the same patients: comparisons.json in OUT.

    Args:
        files: predictions; the first is the reference.
        out: folder for the comparison.
        resamples: bootstrap resamples.
    """
    from mammo_aln.errors import InputError
    from mammo_aln.evaluation.compare import compare_files

    if len(files) < 2:
        raise InputError("compare needs a reference and at least one other predictions file")
    return compare_files(files[0], files[1:], out, resamples=resamples)
