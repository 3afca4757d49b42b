"""Negatives are told as such: real files and phantom images as they are never, their inverses (almost) always."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from mammo_aln.cli import main
from mammo_aln.dicom.polarity import is_negative
from mammo_aln.dicom.read import read_image

REAL = ("cbis_P_00173_L_MLO.dcm", "cbis_P_00173_R_CC.dcm", "MG1_J2KI")


def inverted(source: Path, target: Path, *, tag_too: bool = False) -> Path:
    """A copy whose stored values are inverted, or whose tag alone is changed, or both."""
    dataset = pydicom.dcmread(source)
    top = 2**dataset.BitsStored - 1
    values = (top - dataset.pixel_array.astype(int)).astype(dataset.pixel_array.dtype)
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "PixelPaddingValue"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.set_pixel_data(values, "MONOCHROME1" if tag_too else "MONOCHROME2", dataset.BitsStored)
    dataset.save_as(target)
    return target


@pytest.mark.parametrize("name", REAL)
def test_real_files_inverted_are_told_and_sound_ones_are_not(shared, tmp_path, name):
    source = shared / "data/mg_dicom" / name
    sound = read_image(source)
    assert "polarity_unlikely" not in sound.fallbacks
    negative = read_image(inverted(source, tmp_path / "negative.dcm"))
    assert "polarity_unlikely" in negative.fallbacks
    # Tags and orientation are not blamed for it: what the pixels witness is read from the inverse.
    assert negative.orientation.flip_horizontal == sound.orientation.flip_horizontal
    assert {"orientation_disagrees", "laterality_unlikely"} & set(negative.fallbacks) == (
        {"orientation_disagrees", "laterality_unlikely"} & set(sound.fallbacks)
    )
    both = read_image(inverted(source, tmp_path / "both.dcm", tag_too=True))
    assert "polarity_unlikely" not in both.fallbacks


def test_no_phantom_or_real_picture_is_taken_for_a_negative(phantom, shared):
    pixels = [read_image(path).pixels for path in sorted((phantom / "dicom").rglob("*.dcm"))[::2]]
    pictures = [np.asarray(Image.open(path)) for path in sorted((shared / "data/mg_png").glob("*.png"))]
    pixels += [(picture / picture.max()).astype(np.float32) for picture in pictures]
    assert not [number for number, values in enumerate(pixels) if is_negative(values)]
    missed = [number for number, values in enumerate(pixels) if not is_negative(1.0 - values)]
    assert len(missed) <= len(pixels) // 20


def test_frames_and_full_breasts_and_saturation_are_no_negatives():
    generator = np.random.default_rng(0)
    tissue = np.clip(0.5 + 0.15 * generator.standard_normal((40, 30)).repeat(10, 0).repeat(10, 1), 0, 1)
    tissue = tissue.astype(np.float32)
    framed = np.zeros((400, 300), np.float32)
    framed[100:300, :150] = tissue[100:300, :150]
    framed[:40], framed[-40:], framed[:, -40:] = 1.0, 1.0, 1.0  # a wide white collimator around air and breast
    saturated = np.zeros((400, 300), np.float32)
    saturated[50:350, :150] = 1.0
    for pixels in (tissue, framed, saturated, np.zeros((400, 300), np.float32), tissue[:8, :8]):
        assert not is_negative(pixels)


def test_crop_and_check_tell_a_negative(phantom, tmp_path, capsys):
    images = pd.read_csv(phantom / "images.csv")
    images = images[images["patient_id"] == images["patient_id"].iloc[0]].head(1)
    (tmp_path / "negative").mkdir()
    inverted(phantom / images["path"].iloc[0], tmp_path / "negative/a.dcm")
    images.assign(path="negative/a.dcm").to_csv(tmp_path / "images.csv", index=False)
    patients = pd.read_csv(phantom / "patients.csv")
    patients[patients["patient_id"].isin(images["patient_id"])].to_csv(tmp_path / "patients.csv", index=False)
    (tmp_path / "cohort.yaml").write_text((phantom / "cohort.yaml").read_text())
    for _ in range(2):  # the second look reads what the first kept
        main(["check", str(tmp_path)])
        assert "polarity unlikely" in capsys.readouterr().err
    regions = pd.read_csv(phantom / "regions.csv")
    regions = regions[regions["image_id"].isin(images["image_id"])]
    regions.to_csv(tmp_path / "regions.csv", index=False)
    words = ["--crop.size_px=32", "--crop.strategy=whole_breast", "--crop.auxiliary=[]"]
    assert main(["crop", str(tmp_path), *words]) == 0
    assert "(polarity_unlikely)" in capsys.readouterr().err
