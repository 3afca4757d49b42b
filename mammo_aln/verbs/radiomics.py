"""Features of volumes and crops, and the signatures made of them. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mammo_aln.settings import CropConfig, FitConfig, PixelConfig, RadiomicsConfig
from mammo_aln.settings.limits import PROCESSES, SEED_OF_ESTIMATES


def radiomics_extract(
    cohort: Path,
    out: Path,
    store: Path | None = None,
    workers: Annotated[int | None, PROCESSES] = None,
    radiomics: RadiomicsConfig = RadiomicsConfig(),
    pixels: PixelConfig = PixelConfig(),
    crop: CropConfig = CropConfig(),
) -> Path:
    """Radiomic and deep features of the volumes in volumes.csv, or of the mammograms' lesions where there is none.

    Args:
        cohort: cohort folder.
        out: table to be written, e.g. features.csv; .provenance.csv and .json of its stem beside it.
        store: crop store of the mammograms; by default .crops in the cohort folder.
        workers: processes; by default one per core.
        radiomics: what is computed, and how.
        pixels: how DICOM values of mammograms become display values.
        crop: which crop of the mammograms is measured.
    """
    from mammo_aln.radiomics.extraction.extract import extract_features

    return extract_features(cohort, out, radiomics, pixels=pixels, crop=crop, store=store, workers=workers)


def radiomics_fit(
    cohort: Path,
    out: Path,
    features: Path | None = None,
    repeats: list[Path] | None = None,
    fit: FitConfig = FitConfig(),
    seed: Annotated[int, SEED_OF_ESTIMATES] = 0,
    ledger: Path | None = None,
    workers: Annotated[int | None, PROCESSES] = None,
) -> Path:
    """Learn and judge the clinical, radiomics, deep and DLR signatures: predictions per signature, OUT/evaluation.

    With a column split, train is learnt from and the other splits are predicted; without one every patient is scored
    out of fold by repeated nested cross-validation.

    Args:
        cohort: cohort folder.
        out: folder to be made.
        features: table with patient_id and columns radiomics_... and deep_...; without it the clinical model alone.
        repeats: the same features measured again (second segmentation, shifted boxes), for the ICC filter.
        fit: selection, classifiers and cross-validation.
        seed: draws folds, resamples and classifiers.
        ledger: file that keeps the openings of labelled test splits; by default openings.jsonl in the cohort folder.
        workers: processes; by default one per core.
    """
    from mammo_aln.radiomics.signatures.fit import fit_signatures

    return fit_signatures(
        cohort, out, features=features, repeats=repeats or (), settings=fit, seed=seed, ledger=ledger, workers=workers
    )
