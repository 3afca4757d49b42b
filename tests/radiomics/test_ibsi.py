"""IBSI-1's digital phantom: every feature of very strong (10 or more groups), strong (6-9) and moderate consensus."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mammo_aln.radiomics.extraction import intensity, shape
from mammo_aln.radiomics.extraction.features import region_features

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
TABLE = SHARED / "data/ibsi/ibsi_1_reference_values_digital_phantom.csv"
AGGREGATIONS = ("2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb")
SPACING_MM = (2.0, 2.0, 2.0)
PER_AGGREGATION = ("cm", "rlm", "szm", "dzm", "ngt", "ngl")


def consensus_rows() -> list[dict[str, str]]:
    if not TABLE.is_file():
        return []
    with TABLE.open(encoding="utf-8-sig", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["consensus"] in ("3-5", "6-9", "≥ 10")]


@cache
def computed() -> dict[str, float]:
    import SimpleITK as sitk

    image, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(TABLE.parent / f"ibsi1_digital_phantom_{one}.nii.gz")))
        for one in ("image", "mask")
    )
    array, inside = image.astype(float), mask > 0
    levels = image[inside].astype(np.int64)
    found: dict[str, float] = {}
    for aggregation in AGGREGATIONS:
        features = region_features(
            array, inside, levels, ("stat", "ih", "ivh", *PER_AGGREGATION), aggregation=aggregation, definite=True
        )
        for tag, value in features.items():
            family = tag.split("_")[0]
            whole = aggregation.removesuffix("_avg").removesuffix("_comb")
            place = {"cm": aggregation, "rlm": aggregation}.get(family, whole)
            found[f"{tag}_{place}" if family in PER_AGGREGATION else tag] = value
    morph = shape.morphology(array[inside], inside, inside, SPACING_MM) | shape.autocorrelation(
        array, inside, SPACING_MM
    )
    found |= {f"morph_{tag}": value for tag, value in morph.items()}
    return found | {f"loc_{tag}": value for tag, value in intensity.local_peaks(array, inside, SPACING_MM).items()}


def three_digits(value: float) -> float:
    return float(f"{value:.3g}")


@pytest.mark.parametrize("row", consensus_rows(), ids=lambda row: row["tag"])
def test_ibsi_digital_phantom(row: dict[str, str]) -> None:
    value = three_digits(computed()[row["tag"]])
    reference = float(row["reference value"])
    assert abs(value - reference) <= float(row["tolerance"]) + 1e-9 * abs(reference)


def test_the_table_is_whole(shared: Path) -> None:
    assert len(consensus_rows()) == 482
