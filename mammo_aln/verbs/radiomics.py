"""Features of volumes and crops, and the signatures made of them. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


def radiomics_predict(
    signature: Path,
    out: Path,
    features: Path | None = None,
    cohort: Path | None = None,
    split: Literal["train", "val", "internal_test", "external_test"] | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    allow_missing: bool = False,
    workers: Annotated[int | None, PROCESSES] = None,
) -> Path:
    """Score patients by a saved signature: predictions for `evaluate` and `compare`, strange patients named.

    Args:
        signature: signature.json of a fit (FIT/NAME/signature.json); alone it scores everywhere.
        out: CSV file to be written, its JSON beside it.
        features: table of `radiomics extract`, with its JSON beside it; by default the features are extracted from the
            cohort by the signature's own settings.
        cohort: cohort folder; without a column split it reads as external_test. Without a cohort the patients of the
            table are scored, without outcomes.
        split: score this split only.
        store: crop store of mammograms; by default .crops in the cohort folder.
        ledger: file that records openings of labelled test splits; by default openings.jsonl in the cohort folder.
        allow_missing: score a split of which more than 20 % lack a feature that the signature reads, beyond the share
            that training lacked.
        workers: processes of the extraction; by default one per core.
    """
    from mammo_aln.radiomics.scoring.predict import predict_signature

    return predict_signature(
        signature,
        out,
        features=features,
        cohort_folder=cohort,
        split=split,
        store=store,
        ledger=ledger,
        allow_missing=allow_missing,
        workers=workers,
    )
