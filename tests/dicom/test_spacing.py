"""Millimetres of breast per pixel: the order of sources, a table of tag combinations, real files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from mammo_aln.dicom.fast_header import KEYWORDS, FastHeader
from mammo_aln.dicom.fast_header import read_header as read_fast_header
from mammo_aln.dicom.header import read_header
from mammo_aln.dicom.image_tags import ImageTags
from mammo_aln.dicom.read import read_image
from mammo_aln.dicom.spacing import breast_spacing, pair_text
from mammo_aln.errors import InputError
from tests.support.dicom_writer import breast, item, write_dicom

IMAGER, PIXEL, MAG = "ImagerPixelSpacing", "PixelSpacing", "EstimatedRadiographicMagnificationFactor"
BY_MAG, BY_DISTANCE, CALIBRATED = "imager_spacing_magnification", "imager_spacing_distances", "pixel_spacing_calibrated"
IMAGER_ONLY, ODD_MAG = "spacing_imager_only", "magnification_out_of_range"
KIND, SOD, SID = "PixelSpacingCalibrationType", "DistanceSourceToPatient", "DistanceSourceToDetector"

TABLE = [
    # tags, user, (row_mm, column_mm) or None, source, codes
    ({IMAGER: [0.1, 0.1], MAG: 1.8}, 0.07, (0.07, 0.07), "user", {"spacing_assumed_user"}),
    ({IMAGER: [0.1, 0.1], MAG: 1.8}, float("nan"), (0.1 / 1.8, 0.1 / 1.8), BY_MAG, set()),
    ({IMAGER: [0.5, 0.5], PIXEL: [0.25, 0.25], KIND: "FIDUCIAL", MAG: 1.5}, None, (0.25, 0.25), CALIBRATED, set()),
    ({IMAGER: [0.1, 0.1], PIXEL: [0.1, 0.1], KIND: "GEOMETRY", MAG: 1.5}, None, (0.1, 0.1), CALIBRATED, set()),
    ({IMAGER: [0.1, 0.1], PIXEL: [0.094, 0.094], MAG: 1.5}, None, (0.094, 0.094), CALIBRATED, set()),
    ({IMAGER: [0.1, 0.1], PIXEL: [0.1, 0.1], MAG: 1.25}, None, (0.08, 0.08), BY_MAG, set()),
    ({IMAGER: [0.1, 0.1], MAG: 1.0}, None, (0.1, 0.1), BY_MAG, set()),
    ({IMAGER: [0.1, 0.1], MAG: 1.25, SOD: 600, SID: 660}, None, (0.08, 0.08), BY_MAG, set()),
    ({IMAGER: [0.1, 0.1], SOD: 600, SID: 660}, None, (0.1 / 1.1, 0.1 / 1.1), BY_DISTANCE, set()),
    ({IMAGER: [0.1, 0.1], MAG: 0, SOD: 600, SID: 660}, None, (0.1 / 1.1, 0.1 / 1.1), BY_DISTANCE, {ODD_MAG}),
    ({IMAGER: [0.1, 0.1], SOD: 0, SID: 660}, None, (0.1, 0.1), "imager_spacing", {IMAGER_ONLY}),
    ({IMAGER: [0.1, 0.1], SOD: 700, SID: 660}, None, (0.1, 0.1), "imager_spacing", {IMAGER_ONLY, ODD_MAG}),
    ({IMAGER: [0.1, 0.1]}, None, (0.1, 0.1), "imager_spacing", {IMAGER_ONLY}),
    ({IMAGER: [0.1, 0.1], MAG: 18}, None, (0.1, 0.1), "imager_spacing", {IMAGER_ONLY, ODD_MAG}),
    ({PIXEL: [0.05, 0.05]}, None, (0.05, 0.05), "pixel_spacing", {"spacing_pixel_only"}),
    ({IMAGER: [0.1, 0.2], MAG: 1.25}, None, (0.08, 0.16), BY_MAG, set()),  # anisotropic
    ({PIXEL: [0.3, 0.1], IMAGER: [0.1, 0.1]}, None, (0.3, 0.1), CALIBRATED, set()),
    ({PIXEL: [70, 70], IMAGER: [0.1, 0.1], MAG: 1.0}, None, (0.1, 0.1), BY_MAG, {"spacing_out_of_range"}),
    ({PIXEL: [0.0, 0.0]}, None, None, None, {"spacing_out_of_range", "no_spacing"}),
    ({}, None, None, None, {"no_spacing"}),
    ({IMAGER: [0.1, 0.1, 0.1]}, None, None, None, {"no_spacing"}),
]  # fmt: skip


@pytest.mark.parametrize("read", [read_header, read_fast_header])
@pytest.mark.parametrize("row", range(len(TABLE)))
def test_the_first_source_that_holds(tmp_path: Path, row: int, read: Callable[[Path], ImageTags]) -> None:
    tags, user, expected, source, codes = TABLE[row]
    path = write_dicom(tmp_path / "a.dcm", breast(), **{IMAGER: None, **tags})
    spacing, said = breast_spacing(read(path), user)
    assert set(said) == codes
    if expected is None:
        assert spacing is None
    else:
        assert (spacing.row_mm, spacing.column_mm) == pytest.approx(expected, rel=1e-9)
        assert spacing.source == source


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("vr", "written", "expected"),
    [
        ("DS", "0.07\\0.08", (0.07, 0.08)),
        ("DS", "0.07", (0.07, 0.07)),  # a single value counts for both
        ("UT", "0.07\\0.08", (0.07, 0.08)),
        ("LO", " 0.07 \\ 0.08 ", (0.07, 0.08)),
        ("FD", [0.07, 0.08], (0.07, 0.08)),
        ("LO", "0,07\\0,08", None),  # a decimal comma is no number
        ("LO", "0.07\\0.08\\0.09", None),
        ("LO", "0.07\\", None),
        ("LO", "none", None),
    ],
)
def test_both_readers_take_odd_spellings_alike(
    tmp_path: Path, syntax: str, vr: str, written: object, expected: tuple[float, float] | None
) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(), ImagerPixelSpacing=None)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00181164, vr, written)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=syntax == uid.ImplicitVRLittleEndian)
    if vr == "FD" and syntax == uid.ImplicitVRLittleEndian:
        expected = None  # without its VR the number is bytes that look like no text
    full, fast = read_header(path), read_fast_header(path)
    assert isinstance(fast, FastHeader)
    assert full.imager_spacing == expected
    assert ("ImagerPixelSpacing" in full.broken_tags) == (expected is None)
    shared = [field.name for field in fields(ImageTags)]
    assert {name: getattr(fast, name) for name in shared} == {name: getattr(full, name) for name in shared}


def test_the_fast_readers_keywords_are_the_dictionarys() -> None:
    assert {pydicom.datadict.keyword_for_tag(tag): tag for tag in KEYWORDS} == {
        word: tag for tag, word in KEYWORDS.items()
    }


def test_a_pair_as_text() -> None:
    pairs = [(0.07, 0.07), (0.07, 0.08), (0.1 / 1.5, 0.1 / 1.5), (0.0, 0.0), None]
    assert [pair_text(pair) for pair in pairs] == ["0.07", "0.07x0.08", "0.0666667", "", ""]


@pytest.mark.parametrize("value", [0.0, -0.1, 70.0, 1.5, 0.0001])
def test_the_users_value_must_be_millimetres_of_a_pixel(tmp_path: Path, value: float) -> None:
    with pytest.raises(InputError, match="spacing_mm"):
        breast_spacing(read_header(write_dicom(tmp_path / "a.dcm", breast())), value)


@pytest.mark.parametrize("read", [read_header, read_fast_header])
@pytest.mark.parametrize("group", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_functional_groups_are_asked(tmp_path: Path, group: str, read: Callable[[Path], ImageTags]) -> None:
    measures = item(PixelSpacing=[0.09, 0.08])
    acquisition = item(EstimatedRadiographicMagnificationFactor=1.1)
    path = write_dicom(
        tmp_path / "a.dcm",
        breast(),
        ImagerPixelSpacing=None,
        NumberOfFrames=1,
        XRay3DAcquisitionSequence=[acquisition],
        **{group: [item(PixelMeasuresSequence=[measures])]},
    )
    header = read(path)
    assert (header.pixel_spacing, header.magnification) == ((0.09, 0.08), 1.1)


def test_real_files(shared: Path) -> None:
    folder = shared / "data" / "mg_dicom"
    spacing = read_image(folder / "MG_spacing_clunie.dcm").spacing
    assert (spacing.row_mm, spacing.column_mm, spacing.source) == (0.25, 0.25, CALIBRATED)
    film = read_image(folder / "MG1_J2KI")
    assert film.spacing is None
    assert {"no_spacing", "not_mg_modality"} <= set(film.fallbacks)
    given = read_image(folder / "MG1_J2KI", spacing_mm=0.05)
    assert (given.spacing.row_mm, given.spacing.source) == (0.05, "user")
    assert "no_spacing" not in given.fallbacks
    np.testing.assert_array_equal(given.pixels, film.pixels)


def test_50_mm_at_1_8_times_magnification_are_900_detector_pixels(tmp_path: Path) -> None:
    """Others forget it: a 1.8x view at 0.1 mm has 0.0556 mm of breast per pixel; 50 mm are 900 pixels, not 500."""
    header = read_header(write_dicom(tmp_path / "a.dcm", breast(), **{IMAGER: [0.1, 0.1], MAG: 1.8}))
    assert 50 / breast_spacing(header)[0].row_mm == pytest.approx(900)
