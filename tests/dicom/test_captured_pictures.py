"""Secondary Captures: scanned films are mammograms, pictures of results, masks and cut-outs beside them are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo_aln.dicom.fast_header import Excluded, read_header
from mammo_aln.dicom.mammogram import judge
from mammo_aln.dicom.read import read_image
from mammo_aln.errors import UnreadableDicom
from tests.support.dicom_writer import mammogram, save

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize("description", ["full mammogram images", "Lumisys film", ""])
def test_a_scanned_film_is_a_mammogram(tmp_path: Path, description: str) -> None:
    path = save(mammogram(SOPClassUID=CAPTURE, SeriesDescription=description), tmp_path / "film.dcm")
    judged = judge(read_header(path))
    assert not isinstance(judged, Excluded)
    assert any("Secondary Capture" in flag for flag in judged.flags)


@pytest.mark.parametrize(
    "description",
    ["ROI mask images", "cropped images", "Transpara R CC", "Lunit INSIGHT MMG", "Volpara density map", "AI result"],
)
def test_a_picture_of_a_result_is_none(tmp_path: Path, description: str) -> None:
    path = save(mammogram(SOPClassUID=CAPTURE, SeriesDescription=description), tmp_path / "result.dcm")
    judged = judge(read_header(path))
    assert isinstance(judged, Excluded)
    assert "SeriesDescription" in judged.reason
    with pytest.raises(UnreadableDicom, match="SeriesDescription"):
        read_image(path)
