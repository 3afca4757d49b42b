"""Patients and features that a saved signature scores: of a cohort, of a table of features, or extracted anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.tables import Cohort, read_cohort, with_split
from mammo_aln.crops.keys import PIXEL_PATH_VERSION
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.radiomics.extraction.cases import CALCULATION_VERSION
from mammo_aln.radiomics.extraction.extract import extract_features
from mammo_aln.radiomics.signatures.feature_table import KEYS, read_features
from mammo_aln.radiomics.signatures.portable.extraction import Extraction, refuse_other_extraction
from mammo_aln.radiomics.signatures.portable.signature import SavedSignature
from mammo_aln.settings import CropConfig, PixelConfig, RadiomicsConfig
from mammo_aln.settings.parse import settings_from
from mammo_aln.spreadsheet.text_table import read_text_table

UNSTATED = "not stated"
"""Centre of patients whom no cohort names."""


@dataclass(frozen=True)
class Given:
    """Whereabouts of what is scored.

    Args:
        cohort: cohort folder; None where a table of features stands alone.
        features: table of features; None to extract them from the cohort, or where none is read.
        extracted: table to be written where they are extracted.
        store: crop store of mammograms.
        workers: processes of the extraction.
    """

    cohort: Path | None
    features: Path | None
    extracted: Path
    store: Path | None = None
    workers: int | None = None


def cohort_of(given: Given, saved: SavedSignature) -> Cohort:
    """Read the cohort, or stand one in that holds the patients of a table of features, without outcomes.

    Raises:
        InputError: neither is given, or the signature reads clinical features and no cohort is.
    """
    if given.cohort is not None:
        return with_split(read_cohort(given.cohort, need=("patients",)))
    if given.features is None:
        raise InputError("expected --cohort COHORT, --features TABLE, or both")
    if saved.model.clinical:
        names = ", ".join(feature.name for feature in saved.model.clinical)
        raise InputError(f"the signature {saved.name} reads clinical features ({names}): give --cohort COHORT too")
    faults: list[BadCell] = []
    if not given.features.is_file():
        raise InputError(f"{given.features}: no such file; expected a table of features")
    table = read_text_table(given.features, faults, KEYS)
    raise_bad_cells(faults)
    if table is None or "patient_id" not in table:
        raise InputError(f"{given.features}: expected a table with a column patient_id")
    patients = pd.DataFrame({"patient_id": table["patient_id"], "side": table.get("side")}).dropna(subset="patient_id")
    patients["unit_id"] = patients["patient_id"] + ("/" + patients["side"]).where(patients["side"].notna(), "")
    patients = patients.drop_duplicates("unit_id").reset_index(drop=True)
    patients = patients.assign(center=UNSTATED, split="external_test", aln_status=float("nan"), eligible=True)
    none = pd.DataFrame({"image_id": [], "patient_id": []}, dtype=object)
    return Cohort(given.features.parent, given.features.stem, given.features.parent, {}, patients, none, none)


def features_of(given: Given, cohort: Cohort, saved: SavedSignature) -> tuple[pd.DataFrame, list[str]]:
    """Read or extract the features that a signature reads, by unit; no column where it reads none.

    Returns:
        The features, and what cannot be checked of them, in words.

    Raises:
        InputError: other settings extracted them, a column is missing, or the extraction cannot be done here.
    """
    columns = [column.name for column in saved.model.columns]
    patients = cohort.patients[cohort.patients["eligible"]].reset_index(drop=True)
    if not columns:
        return pd.DataFrame(index=patients["unit_id"]), []
    path = given.features if given.features is not None else _extracted(given, saved)
    unsure = refuse_other_extraction(Extraction.beside(path), saved.extraction, columns, path)
    table = read_features(path, patients)
    if lacking := [name for name in columns if name not in table]:
        shown = ", ".join(lacking[:8]) + (f" and {len(lacking) - 8} more" if len(lacking) > 8 else "")
        raise InputError(
            f"{path}: lacks {len(lacking)} of the {len(columns)} features that {saved.name} reads: {shown}"
        )
    return table[columns], [unsure] if unsure else []


def _extracted(given: Given, saved: SavedSignature) -> Path:
    """Extract features by the signature's own settings."""
    own = saved.extraction
    if own is None:
        raise InputError(
            f"the signature {saved.name} does not say how its features were extracted (their table was not of"
            " `radiomics extract`): give --features TABLE"
        )
    if own.networks and any(column.name.startswith("deep_") for column in saved.model.columns):
        raise InputError(
            f"the signature {saved.name} reads deep features of runs or weights that its file does not hold: extract"
            " them by these (radiomics.deep_runs, radiomics.deep_pretrained), and give --features TABLE"
        )
    versions = {"calculation": (own.calculation_version, CALCULATION_VERSION)}
    if own.pixel_path_version is not None:
        versions["pixel path"] = (own.pixel_path_version, PIXEL_PATH_VERSION)
    for what, (theirs, ours) in versions.items():
        if theirs != ours:
            raise InputError(
                f"the signature's features were computed by {what} {theirs} of mammo-aln {own.package_version}, this"
                f" program computes by {what} {ours}: extract with that version and give --features, or fit again"
            )
    where = "signature.json: settings of the extraction"
    sections: Mapping[str, Mapping[str, object]] = own.settings
    assert given.cohort is not None
    return extract_features(
        given.cohort,
        given.extracted,
        settings_from(RadiomicsConfig, sections.get("radiomics", {}), where),
        pixels=settings_from(PixelConfig, sections.get("pixels", {}), where),
        crop=settings_from(CropConfig, sections.get("crop", {}), where),
        store=given.store,
        workers=given.workers,
    )
