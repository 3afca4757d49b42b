"""Typed tags: functional groups, codes, broken values, synthetic and real headers."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from dicom_writer import breast, item, write_dicom

from mammo_aln.errors import UnreadableDicom
from mammo_aln.imaging.header import read_header


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
