from __future__ import annotations

import pytest
from pydicom.sequence import Sequence

from mammo_aln.dicom.fast_header import Excluded, read_header
from mammo_aln.dicom.mammogram import KIND_FLAGS, NO_SPACING, judge
from tests.support.dicom_writer import code, mammogram, save


def verdict(tmp_path, **tags):
    return judge(read_header(save(mammogram(**tags), tmp_path / "a.dcm")))


def viewed(value, meaning, *modifiers):
    return {"ViewPosition": None, "ViewCodeSequence": Sequence([code(value, meaning, modifiers)])}


@pytest.mark.parametrize(
    ("tags", "view", "side"),
    [
        ({}, "CC", "L"),
        ({"ViewPosition": "MLO", "ImageLaterality": "R"}, "MLO", "R"),
        ({"ViewPosition": "RMLO", "ImageLaterality": None}, "MLO", "R"),
        ({"ViewPosition": "L-CC", "ImageLaterality": None, "Laterality": "R"}, "CC", "R"),
        ({"ImageLaterality": None, "Laterality": "R"}, "CC", "R"),
        (viewed("R-10242", "x"), "CC", "L"),
        (viewed("399368009", "x"), "MLO", "L"),  # the code that CMMD writes
        (viewed("?", "Medio-Lateral Oblique"), "MLO", "L"),
        ({"ViewPosition": None}, "", "L"),
        ({"ImageLaterality": "U"}, "CC", ""),
    ],
)
def test_view_and_side(tmp_path, tags, view, side):
    found = verdict(tmp_path, **tags)
    assert (found.view, found.laterality) == (view, side)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ViewPosition": "ML"}, "view ML is neither CC nor MLO"),
        ({"ViewPosition": "LMO"}, "view LMO is neither"),
        (viewed("R-10224", "medio-lateral"), "view ML is neither"),
        (viewed("?", "caudo-cranial"), "view caudo-cranial is neither"),
        ({"ImageLaterality": "B"}, "both breasts"),
        ({"Modality": "US", "SOPClassUID": "1.2"}, "modality US, and no tag says mammogram"),
        ({"Modality": "MR", "SOPClassUID": "1.2"}, "modality MR"),
        ({"Modality": "CR", "SOPClassUID": "1.2", "BodyPartExamined": "CHEST"}, "modality CR, and no tag"),
        ({"Rows": 0}, "no image (modality MG"),
        ({"NumberOfFrames": 45}, "45 frames"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "tomosynthesis"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "NONE"]}, "tomosynthesis"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "BIOPSY"]}, "biopsy image"),
        ({"QualityControlImage": "YES"}, "quality-control image"),
        ({"SamplesPerPixel": 3}, "colour image"),
    ],
)
def test_left_out_with_a_reason(tmp_path, tags, reason):
    found = verdict(tmp_path, **tags)
    assert isinstance(found, Excluded)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("tags", "flag"),
    [
        ({"ImagerPixelSpacing": None}, NO_SPACING),
        ({"ImagerPixelSpacing": [0, 0]}, NO_SPACING),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for processing"),
        ({"ImageType": ["DERIVED", "PRIMARY", "GENERATED_2D"]}, "synthetic 2D"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}, "synthetic 2D"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_MINUS"]}, "stereotactic image"),
        ({"ViewPosition": "MLOID"}, "implant-displaced view"),
        (viewed("R-10242", "x", "Spot Compression", "Magnification"), "magnification view"),
        (
            {"Modality": "CR", "SOPClassUID": "1.2"},
            "modality CR, not MG: taken as a mammogram because of BodyPartExamined",
        ),
        (
            {"Modality": "DX", "SOPClassUID": "1.2", "BodyPartExamined": None, "StudyDescription": "Mammographie"},
            "because of its description",
        ),
        ({"Laterality": "R"}, "ImageLaterality and Laterality disagree"),
        ({"ViewPosition": None}, "view unknown"),
        ({"ImageLaterality": None}, "laterality unknown"),
    ],
)
def test_flagged_in_words(tmp_path, tags, flag):
    assert any(flag in words for words in verdict(tmp_path, **tags).flags)


def test_a_sound_mammogram_has_no_flag(tmp_path):
    assert verdict(tmp_path).flags == ()
    assert verdict(tmp_path, ImagerPixelSpacing=None, PixelSpacing=[0.1, 0.1]).flags == ()


def test_the_film_mammogram(shared):
    found = judge(read_header(shared / "data/mg_dicom/MG1_J2KI"))
    assert (found.laterality, found.view) == ("L", "MLO")
    assert found.flags == (
        "modality RG, not MG: taken as a mammogram because of BodyPartExamined",
        NO_SPACING,
        KIND_FLAGS["secondary_capture"],
    )
