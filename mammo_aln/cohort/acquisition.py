"""How a patient's images were made, from the files' headers: vendor, spacing, VOI, polarity, depth, magnification."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mammo_aln.cohort.tables import Cohort, image_path
from mammo_aln.dicom.fast_header import Excluded, Header, read_headers
from mammo_aln.progress import say

COLUMNS = ("vendor", "pixel spacing, mm", "VOI", "polarity", "bits stored", "magnified view")


def _first_number(text: str) -> float:
    try:
        return float(text.split("\\")[0])
    except ValueError:
        return np.nan


def _voi(header: Header) -> str:
    if header.voi_luts:
        return "lookup table"
    if not header.window_width:
        return "none"
    return f"window, {(header.voi_function or 'LINEAR').lower()}"


def _described(header: Header, stated_mm: float) -> dict[str, object]:
    """One image; spacing is the detector's over the magnification unless the cohort states the breast's."""
    magnification = _first_number(header.magnification)
    magnification = magnification if magnification > 0 else 1.0
    imager = _first_number(header.imager_spacing_mm)
    from_file = imager / magnification if imager > 0 else _first_number(header.spacing_mm)
    return {
        "vendor": " ".join(part for part in (header.manufacturer, header.model) if part) or np.nan,
        "pixel spacing, mm": stated_mm if stated_mm > 0 else from_file,
        "VOI": _voi(header),
        "polarity": header.photometric or np.nan,
        "bits stored": str(header.bits_stored) if header.bits_stored else np.nan,
        "magnified view": "yes" if magnification > 1.1 else "no",
    }


def acquisition_of(cohort: Cohort) -> pd.DataFrame:
    """One row per patient with a readable image: `patient_id` and `COLUMNS`, the commonest value (median for numbers).

    Files that are not at hand are left out and counted on stderr: predictions are judged where no image is, too.
    """
    images = cohort.images
    described = []
    missing = 0
    headers = read_headers(image_path(cohort, row) for _, row in images.iterrows())
    for (_, row), header in zip(images.iterrows(), headers, strict=True):
        if isinstance(header, Excluded):
            missing += 1
        else:
            described.append({"patient_id": row["patient_id"], **_described(header, float(row["spacing_mm"]))})
    if missing:
        say(f"{missing} of {len(images)} image headers cannot be read: the centre shift is told from the others")
    if not described:
        return pd.DataFrame(columns=["patient_id", *COLUMNS])
    grouped = pd.DataFrame(described).groupby("patient_id", sort=True)
    return pd.DataFrame({name: grouped[name].agg(_typical) for name in COLUMNS}).reset_index()


def _typical(values: pd.Series) -> object:
    known = values.dropna()
    if known.empty:
        return np.nan
    return float(known.median()) if pd.api.types.is_numeric_dtype(known) else known.mode().iloc[0]
