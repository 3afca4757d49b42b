"""Acquisition of each patient's images, from their headers: vendor, spacing, VOI, polarity, depth, magnification."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from mammo_aln.cohort.tables import Cohort, image_path
from mammo_aln.dicom.fast_header import Excluded, FastHeader, read_headers
from mammo_aln.dicom.spacing import breast_spacing
from mammo_aln.progress import say
from mammo_aln.spreadsheet.characters import as_cell

COLUMNS = ("vendor", "pixel spacing, mm", "VOI", "polarity", "bits stored", "magnified view")
MAGNIFIED_FROM = 1.1
SPACING_DIGITS = 4
"""A tenth of a micrometre: the medians of equal spacings stay equal."""


def acquisition_of(cohort: Cohort, image_ids: Collection[str] | None = None) -> pd.DataFrame:
    """Describe the images of each patient by the commonest value, or the median of numbers.

    Args:
        cohort: its images' files need not be at hand: those that are not are left out and counted on standard error.
        image_ids: the images that were read; by default all of the cohort.

    Returns:
        One row per patient with a readable image: `patient_id` and `COLUMNS`. The spacing is that of the breast, in
        millimetres between rows, by the rule that the crops follow.
    """
    images = cohort.images if image_ids is None else cohort.images[cohort.images["image_id"].isin(image_ids)]
    headers = list(read_headers(image_path(cohort, row) for _, row in images.iterrows()))
    described = [
        {"patient_id": row["patient_id"], **_described(header, float(row["spacing_mm"]))}
        for (_, row), header in zip(images.iterrows(), headers, strict=True)
        if isinstance(header, FastHeader)
    ]
    unreadable = sum(isinstance(header, Excluded) for header in headers)
    if unreadable:
        say(f"{unreadable} of {len(images)} image headers cannot be read: the centre shift rests on the others")
    if not described:
        return pd.DataFrame(columns=["patient_id", *COLUMNS])
    by_patient = pd.DataFrame(described).groupby("patient_id", sort=True)
    table = pd.DataFrame({name: by_patient[name].agg(_typical) for name in COLUMNS}).reset_index()
    return table.round({"pixel spacing, mm": SPACING_DIGITS})


def _described(header: FastHeader, stated_mm: float) -> dict[str, object]:
    spacing, _ = breast_spacing(header, stated_mm)
    function = (header.text("VOILUTFunction") or "LINEAR").lower()
    window = f"window, {function}" if header.text("WindowWidth") else "none"
    return {
        "vendor": as_cell(f"{header.text('Manufacturer')} {header.text('ManufacturerModelName')}") or np.nan,
        "pixel spacing, mm": np.nan if spacing is None else spacing.row_mm,
        "VOI": "lookup table" if header.fields.get("VOILUTSequence") else window,
        "polarity": header.photometric or np.nan,
        "bits stored": str(header.bits_stored) if header.bits_stored else np.nan,
        "magnified view": "yes" if (header.magnification or 1.0) > MAGNIFIED_FROM else "no",
    }


def _typical(values: pd.Series) -> object:
    stated = values.dropna()
    if stated.empty:
        return np.nan
    return float(stated.median()) if pd.api.types.is_numeric_dtype(stated) else stated.mode().iloc[0]
