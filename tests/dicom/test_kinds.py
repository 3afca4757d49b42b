"""Kinds of images: what is no 2D mammogram is left out by `index` and refused by the pixels, by one rule."""

from __future__ import annotations

import warnings

import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mammo_aln.dicom import fast_header, header
from mammo_aln.dicom.fast_header import Excluded, FastHeader
from mammo_aln.dicom.mammogram import Mammogram, judge
from mammo_aln.dicom.read import read_image
from mammo_aln.errors import UnreadableDicom
from tests.support.dicom_writer import breast, mammogram, save, write_dicom

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CONTRAST = {"ContrastBolusAgent": "Iohexol"}
LEFT_OUT = {
    # ImageType as in DICOM PS3.3, tables C.8-74d and e
    "high energy": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "", "", "HIGH_ENERGY"], **CONTRAST},
        "contrast_high_energy",
        "ImageType",
    ),
    "high energy by its tube": ({"KVP": "49"}, "contrast_high_energy", "KVP"),
    "subtraction": (
        {"ImageType": ["DERIVED", "PRIMARY", "", "SUBTRACTION", ""], **CONTRAST},
        "contrast_subtraction",
        "ImageType",
    ),
    "recombined": ({"SeriesDescription": "CEM recombined"}, "contrast_subtraction", "SeriesDescription"),
    "agent alone": (CONTRAST, "contrast_unstated", "ContrastBolusAgent"),
    "named alone": ({"SeriesDescription": "L CC CESM"}, "contrast_unstated", "SeriesDescription"),
    "heat map": ({"SOPClassUID": CAPTURE, "SeriesDescription": "AI result heat map"}, "derived_picture", "SeriesDescr"),
    "burnt in": ({"SOPClassUID": CAPTURE, "BurnedInAnnotation": "YES"}, "derived_picture", "BurnedInAnnotation"),
    "overlay as MG": ({"SeriesDescription": "Saliency overlay"}, "derived_picture", "SeriesDescription"),
    "slices in a capture": (
        {"SOPClassUID": CAPTURE, "SeriesDescription": "R CC Breast Tomosynthesis Image"},
        "tomosynthesis",
        "SeriesDescription",
    ),
    "one slice": ({"SeriesDescription": "R CC Tomosynthesis Reconstruction"}, "tomosynthesis", "SeriesDescription"),
    "one slab": ({"SeriesDescription": "L MLO DBT slab 6"}, "tomosynthesis", "SeriesDescription"),
}
KEPT = {
    "ordinary": ({"KVP": "29", "ContrastBolusAgent": "NONE", "BurnedInAnnotation": "YES"}, "projection", ""),
    "low energy": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "", "", "LOW_ENERGY"], "KVP": "30", **CONTRAST},
        "contrast_low_energy",
        "low-energy",
    ),
    "low energy in words": ({"SeriesDescription": "CEM Low Energy R CC"}, "contrast_low_energy", "low-energy"),
    "capture of film": ({"SOPClassUID": CAPTURE, "ImageType": ["DERIVED", "PRIMARY"]}, "secondary_capture", "Captur"),
    "made from another": ({"ImageType": ["DERIVED", "SECONDARY"]}, "projection", "SECONDARY"),
    "C-View": ({"SeriesDescription": "L CC C-View"}, "synthetic_2d", "synthetic"),
    "2D of a combined exam": ({"SeriesDescription": "L CC 2D TOMO COMBO"}, "projection", ""),
    "screening with CAD": ({"SeriesDescription": "MAMMO SCREENING W/CAD REVIEW"}, "projection", ""),
    "volts for kilovolts": ({"KVP": "29000"}, "projection", ""),
}


def kinds_of(path) -> tuple[str, str]:
    """Kind and the tag that tells it by the fast reader, which the reader of pixels must agree with."""
    fast = fast_header.read_header(path)
    assert isinstance(fast, FastHeader)
    full = header.read_header(path)
    assert (fast.kind, fast.kind_tag) == (full.kind, full.kind_tag)
    return fast.kind, fast.kind_tag


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("tags", "kind", "tag"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_no_2d_mammogram_is_left_out_with_its_tag(tmp_path, tags, kind, tag, syntax):
    path = save(mammogram(**tags), tmp_path / "a.dcm", syntax)
    found, by = kinds_of(path)
    assert found == kind
    assert by.startswith(tag)
    verdict = judge(fast_header.read_header(path))
    assert isinstance(verdict, Excluded)
    assert f"({by})" in verdict.reason


@pytest.mark.parametrize(("tags", "kind", "tag"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_the_pixels_refuse_it_too(tmp_path, tags, kind, tag):
    path = write_dicom(tmp_path / "a.dcm", breast(), **tags)
    with pytest.raises(UnreadableDicom, match=tag):
        read_image(path)


@pytest.mark.parametrize(("tags", "kind", "flag"), KEPT.values(), ids=KEPT)
def test_what_is_one_stays_flagged(tmp_path, tags, kind, flag):
    path = save(mammogram(**tags), tmp_path / "a.dcm")
    assert kinds_of(path)[0] == kind
    verdict = judge(fast_header.read_header(path))
    assert isinstance(verdict, Mammogram)
    assert flag in "; ".join(verdict.flags)


def test_both_readers_agree_on_every_real_file(shared):
    compared = 0
    for path in sorted((shared / "data").rglob("*")):
        if not path.is_file():
            continue
        fast = fast_header.read_header(path)
        if isinstance(fast, Excluded):  # no DICOM; the pixels' reader takes a file without the marker on trust
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                full = header.read_header(path)
        except (UnreadableDicom, pydicom.errors.InvalidDicomError):
            continue
        for name in ("kind", "kind_tag", "modality", "sides", "laterality", "view", "view_modifiers", "for_processing"):
            assert getattr(fast, name) == getattr(full, name), (path.name, name)
        compared += 1
    assert compared > 40
