"""What the headers say of each patient's images, against what the phantom's plan wrote into them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from mammo_aln.cohort.acquisition import COLUMNS, acquisition_of
from mammo_aln.cohort.tables import image_path, read_cohort


def breast_mm(header: pydicom.Dataset) -> float:
    """The plane of the breast from the tags alone: a calibrated PixelSpacing, else the detector's, demagnified."""
    detector = float(header.ImagerPixelSpacing[0])
    if "PixelSpacing" in header and ("PixelSpacingCalibrationType" in header or header.PixelSpacing[0] != detector):
        return float(header.PixelSpacing[0])
    if "EstimatedRadiographicMagnificationFactor" in header:
        return detector / float(header.EstimatedRadiographicMagnificationFactor)
    return detector * float(header.DistanceSourceToPatient) / float(header.DistanceSourceToDetector)


def test_each_patient_has_the_values_that_pydicom_reads(phantom: Path) -> None:
    cohort = read_cohort(phantom)
    acquisition = acquisition_of(cohort).set_index("patient_id")
    assert list(acquisition.columns) == list(COLUMNS)
    assert set(acquisition.index) == set(cohort.patients["patient_id"])
    voi = set()
    for patient, rows in cohort.images.groupby("patient_id"):
        headers = [pydicom.dcmread(image_path(cohort, image), stop_before_pixels=True) for _, image in rows.iterrows()]
        row = acquisition.loc[patient]
        assert row["vendor"] == f"{headers[0].Manufacturer} {headers[0].ManufacturerModelName}"
        assert row["polarity"] in {header.PhotometricInterpretation for header in headers}
        assert row["bits stored"] == str(headers[0].BitsStored)
        has_lut, has_window = ("VOILUTSequence" in headers[0], "WindowWidth" in headers[0])
        function = str(headers[0].get("VOILUTFunction", "LINEAR")).lower()
        expected = "lookup table" if has_lut else f"window, {function}" if has_window else "none"
        assert row["VOI"] == expected
        voi.add(expected)
        breast = pd.Series([breast_mm(header) for header in headers])
        assert row["pixel spacing, mm"] == pytest.approx(breast.median(), abs=5e-5)
    assert len(voi) > 1


def test_a_cohort_whose_images_lie_elsewhere_is_judged_without_them(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("patients.csv", "images.csv", "regions.csv", "cohort.yaml"):
        shutil.copy(phantom / name, tmp_path)
    acquisition = acquisition_of(read_cohort(tmp_path))
    assert acquisition.empty
    assert "image headers cannot be read" in capsys.readouterr().err
