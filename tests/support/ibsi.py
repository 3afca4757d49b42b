"""IBSI-1's digital phantom: the table of reference values, and what the package computes."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np

from mammo_aln.radiomics.extraction import intensity, shape
from mammo_aln.radiomics.extraction.features import region_features
from mammo_aln.settings import RadiomicsConfig

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
TABLE = SHARED / "data/ibsi/ibsi_1_reference_values_digital_phantom.csv"
AGGREGATIONS = ("2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb")
SPACING_MM = (2.0, 2.0, 2.0)
PER_AGGREGATION = ("cm", "rlm", "szm", "dzm", "ngt", "ngl")


def consensus_rows() -> list[dict[str, str]]:
    """Rows of very strong, strong and moderate consensus; none in a bare clone."""
    if not TABLE.is_file():
        return []
    with TABLE.open(encoding="utf-8-sig", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["consensus"] in ("3-5", "6-9", "≥ 10")]


@cache
def computed() -> dict[str, float]:
    """Every feature of the digital phantom by IBSI's tag and aggregation."""
    import SimpleITK as sitk

    image, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(TABLE.parent / f"ibsi1_digital_phantom_{name}.nii.gz")))
        for name in ("image", "mask")
    )
    array, inside = image.astype(float), mask > 0
    levels = image[inside].astype(np.int64)
    values: dict[str, float] = {}
    for aggregation in AGGREGATIONS:
        features = region_features(
            array,
            inside,
            inside,
            levels,
            ("stat", "ih", "ivh", *PER_AGGREGATION),
            RadiomicsConfig(aggregation=aggregation, ivh_bins=0),
        )
        for tag, value in features.items():
            family = tag.split("_")[0]
            whole = aggregation.removesuffix("_avg").removesuffix("_comb")
            suffix = {"cm": aggregation, "rlm": aggregation}.get(family, whole)
            values[f"{tag}_{suffix}" if family in PER_AGGREGATION else tag] = value
    morph = shape.morphology(array[inside], inside, inside, SPACING_MM) | shape.autocorrelation(
        array, inside, SPACING_MM
    )
    values |= {f"morph_{tag}": value for tag, value in morph.items()}
    return values | {f"loc_{tag}": value for tag, value in intensity.local_peaks(array, inside, SPACING_MM).items()}


def three_digits(value: float) -> float:
    """Round as IBSI's table does."""
    return float(f"{value:.3g}")
