"""Typed tags: functional groups, codes, broken values, synthetic and real headers."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from mammo_aln.dicom.fast_header import read_header as read_plain_header
from mammo_aln.dicom.header import read_header
from mammo_aln.dicom.mammogram import judge
from mammo_aln.errors import UnreadableDicom
from tests.support.dicom_writer import breast, item, write_dicom


def header(folder: Path, **tags):
    return read_header(write_dicom(folder / "a.dcm", breast(), **tags))


def test_hologic_tags_in_functional_groups(shared: Path) -> None:
    found = read_header(shared / "data" / "mg_dicom" / "hologic_dbt_j2k_4of45frames_noise.dcm")
    assert (found.kind, found.frames, found.laterality, found.view) == ("tomosynthesis", 4, "L", "CC")
    assert (found.windows[0].center, found.windows[0].width) == (512, 512)
    assert (found.magnification, found.source_to_detector_mm, found.source_to_patient_mm) == (1.073, 700, 636)
    assert found.padding == (0, 4)
    assert found.rescale == (1.0, 0.0)


@pytest.mark.parametrize(
    ("tags", "laterality"),
    [
        ({"ImageLaterality": "R"}, "R"),
        ({"ImageLaterality": None, "Laterality": "R"}, "R"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "L"),
        ({"ImageLaterality": "B"}, None),
        ({"ImageLaterality": None}, None),
        (
            {
                "ImageLaterality": None,
                "SharedFunctionalGroupsSequence": [
                    item(FrameAnatomySequence=pydicom.Sequence([item(FrameLaterality="R")]))
                ],
                "Laterality": "L",
            },
            "R",
        ),
    ],
)
def test_laterality(tmp_path: Path, tags: dict, laterality: str | None) -> None:
    assert header(tmp_path, **tags).laterality == laterality


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "MLO"}, "MLO"),
        ({"ViewPosition": " mlo "}, "MLO"),
        ({"ViewPosition": None, "ViewCodeSequence": [item(CodeValue="R-10226")]}, "MLO"),
        ({"ViewPosition": None, "ViewCodeSequence": [item(CodeValue="399162004")]}, "CC"),
        ({"ViewPosition": None, "ViewCodeSequence": [item(CodeValue="nonsense")]}, None),
        ({"ViewPosition": None}, None),
    ],
)
def test_view(tmp_path: Path, tags: dict, view: str | None) -> None:
    assert header(tmp_path, **tags).view == view


def test_broken_values_are_absent_and_named(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(), WindowCenter=50, WindowWidth=100, PixelSpacing=[0.1, 0.1])
    whole = path.read_bytes()
    spacing, center = whole.index(b"0.1\\0.1 "), whole.index(b"\x28\x00\x50\x10DS") + 8
    damaged = whole[:center] + b"x0" + whole[center + 2 :]
    damaged = damaged.replace(b"\x30\x00DS\x08\x000.1\\0.1 ", b"\x30\x00DS\x08\x000.1\\nan ")
    path.write_bytes(damaged)
    found = read_header(path)
    assert spacing > 0
    assert found.pixel_spacing is None
    assert found.broken_tags == ("PixelSpacing", "WindowCenter")


def test_no_pixels_are_read(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast())
    path.write_bytes(path.read_bytes()[:-5000])
    assert read_header(path).rows == 96


def test_what_holds_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDicom, match="Rows is missing"):
        header(tmp_path, Rows=None)


def test_nothing_that_identifies_a_patient_is_kept(tmp_path: Path) -> None:
    found = header(
        tmp_path,
        PatientName="Doe^Jane",
        PatientID="J-4711",
        PatientBirthDate="19700101",
        InstitutionName="St Elsewhere",
        StudyDate="20200202",
    )
    for secret in ("Doe", "4711", "1970", "Elsewhere", "20200202"):
        assert secret not in repr(found)


@pytest.mark.parametrize(
    ("signed", "kind", "value", "expected"),
    [(1, "US", 63536, -2000), (1, "SS", -2000, -2000), (0, "SS", -1, 65535), (0, "US", 4095, 4095)],
)
def test_padding_has_the_sign_of_the_pixels(tmp_path: Path, signed: int, kind: str, value: int, expected: int) -> None:
    """PS3.3 C.7.5.1.1.2: the value's VR is that of the pixels; files that say otherwise mean the same word."""
    path = write_dicom(tmp_path / "a.dcm", breast().astype("i2"), PixelRepresentation=signed)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00280120, kind, value)
    dataset.save_as(path)
    assert read_header(path).padding == (expected, expected)


@pytest.mark.parametrize(
    ("tags", "view", "side", "displaced"),
    [
        ({"ViewPosition": "LMLO", "ImageLaterality": None}, "MLO", "L", False),
        ({"ViewPosition": "RCC"}, "CC", "L", False),
        ({"ViewPosition": "MLOID"}, "MLO", "L", True),
        ({"ViewPosition": None, "ViewCodeSequence": [item(CodeMeaning="cranio-caudal")]}, "CC", "L", False),
        ({"ViewPosition": None, "PatientOrientation": "MLO"}, "MLO", "L", False),
        ({"ViewPosition": None, "PatientOrientation": " cc "}, "CC", "L", False),
        ({"ViewPosition": "CC", "PatientOrientation": "MLO"}, "CC", "L", False),
    ],
)
def test_index_and_pixels_read_one_view(tmp_path: Path, tags: dict, view: str, side: str, displaced: bool) -> None:
    tags = {"ImageLaterality": "L", "Modality": "MG", **tags}
    found = header(tmp_path, **tags)
    assert (found.view, found.laterality, "implant_displaced" in found.view_modifiers) == (view, side, displaced)
    indexed = judge(read_plain_header(tmp_path / "a.dcm"))
    assert (indexed.view, indexed.laterality) == (view, side)
    assert ("implant-displaced view" in indexed.flags) == displaced


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientOrientation": ["A", "FR"]},  # directions
        {"PatientOrientation": ["MLO", "CC"]},
        {"PatientOrientation": "MLOX"},
        {"PatientOrientation": "A"},
        {"PatientOrientation": "MLO", "ViewCodeSequence": [item(CodeValue="nonsense")]},
    ],
)
def test_an_orientation_that_is_no_view_stays_none(tmp_path: Path, tags: dict) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(), **{"ViewPosition": None, "Modality": "MG", **tags})
    assert read_header(path).view is None
    assert read_plain_header(path).view is None


@pytest.mark.parametrize(("name", "view", "side"), [("L_MLO", "MLO", "L"), ("R_CC", "CC", "R")])
def test_films_of_cbis_ddsm_keep_the_view_in_patient_orientation(shared: Path, name: str, view: str, side: str) -> None:
    path = shared / "data" / "mg_dicom" / f"cbis_P_00173_{name}.dcm"
    for found in (read_header(path), read_plain_header(path)):
        assert (found.view, found.laterality) == (view, side)
    indexed = judge(read_plain_header(path))
    assert (indexed.view, indexed.laterality) == (view, side)
