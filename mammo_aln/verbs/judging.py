"""Judge predictions, and compare them. A verb's flags are its function's parameters."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from mammo_aln.settings.limits import RESAMPLES, SEED_OF_ESTIMATES


def evaluate(
    files: list[Path],
    out: Path,
    run: Path | None = None,
    cohort: list[Path] | None = None,
    resamples: Annotated[int, RESAMPLES] = 2000,
    seed: Annotated[int, SEED_OF_ESTIMATES] = 0,
) -> Path:
    """Judge predictions: metrics.json, roc.csv, calibration.csv, decision_curve.csv, figures and report.html in OUT.

    Args:
        files: predictions, joined by split.
        out: folder for the evaluation.
        run: run directory: adds its training and validation predictions, threshold, recipe and training baseline.
        cohort: cohort folders (give it several times): add subgroups, baseline table and centre shift (features that
            cohort.yaml declares as known at baseline, and headers of the images that the run reads; without a run, of
            those that the default crops are cut from).
        resamples: bootstrap resamples.
        seed: draws the resamples.
    """
    from mammo_aln.cohort.tables import read_cohort, refuse_differing_declarations
    from mammo_aln.errors import InputError
    from mammo_aln.evaluation.evaluate import evaluate_files
    from mammo_aln.inference.ensemble import refuse_no_run
    from mammo_aln.runs.names import run_path
    from mammo_aln.runs.record import read_settings
    from mammo_aln.settings import Settings
    from mammo_aln.training.baseline import cohort_table

    run = run_path(run) if run else None
    if run is not None and not (run / "predictions.csv").is_file():
        refuse_no_run(run)
        raise InputError(
            f"--run {run}: it has no predictions.csv yet;"
            f" `mammo-aln runs {shlex.quote(str(run.parent))}` tells its state"
        )
    settings = read_settings(run) if run and (run / "config.yaml").is_file() else Settings()
    given = [read_cohort(folder, need=("patients",)) for folder in _paths(cohort)]
    refuse_differing_declarations(given)
    cohorts = [cohort_table(tables, settings) for tables in given]
    return evaluate_files(_paths(files), Path(out), run=run, cohorts=cohorts, resamples=resamples, seed=seed)


def compare(files: list[Path], out: Path, resamples: Annotated[int, RESAMPLES] = 2000) -> Path:
    """Compare models on the same patients: comparisons.json, its table, figures and page in OUT.

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


def _paths(paths: Path | str | Sequence[Path | str] | None) -> list[Path]:
    # From Python a single path, and text in place of a path, are as good as a list.
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths or [])]
