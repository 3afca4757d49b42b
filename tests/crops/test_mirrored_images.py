"""Breasts that mirror each other need each other's landmarks: no work is done twice, a failure costs one side."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

CROP = CropConfig(strategy="lesion_box", auxiliary=("contralateral",), size_px=32)


def both_breasts(root: Path, lesions: str, broken: str = "") -> Cohort:
    root.mkdir()
    for number, side in enumerate("LR"):
        write_image(
            root / f"{side}.dcm",
            mammogram(300, 200, 0.4, 0.4, side=side, seed=number),
            side=side,
            ImagerPixelSpacing=[0.4, 0.4],
        )
    if broken:
        (root / f"{broken}.dcm").write_text("no DICOM")
    boxes = {"L": (60, 130, 95, 165), "R": (105, 130, 140, 165)}
    regions = [(side, "primary", *boxes[side]) for side in lesions]
    patients = [patient("p", side=side) for side in lesions]
    return write_tables(root, patients, [image(side, "p", side) for side in "LR"], regions)


def built(cohort: Cohort) -> tuple[CropSet, Counter[str]]:
    crops = build_crops(cohort, PixelConfig(), CROP, workers=1)
    journals = (cohort.root / ".crops" / "segments").glob("*.jsonl")
    entries = [json.loads(line)["record"] for journal in journals for line in journal.read_text().splitlines()]
    return crops, Counter(entry["kind"] for entry in entries)


def test_each_gets_the_others_mirror(tmp_path: Path) -> None:
    crops, entries = built(both_breasts(tmp_path / "c", "LR"))
    assert sorted(zip(crops.table["image_id"], crops.table["region"], strict=True)) == [
        (side, region) for side in "LR" for region in ("contralateral", "primary")
    ]
    assert entries["crop"] == 4
    assert built(both_breasts(tmp_path / "d", "LR"))[1] == entries


@pytest.mark.parametrize("lesions", ["L", "LR"])
def test_where_the_lesions_image_is_broken_the_other_breast_is_decoded_once(tmp_path: Path, lesions: str) -> None:
    cohort = both_breasts(tmp_path / "c", lesions, broken="L")
    if lesions == "LR":
        crops, entries = built(cohort)
        assert list(zip(crops.table["image_id"], crops.table["region"], strict=True)) == [("R", "primary")]
        assert entries == {"content": 2, "image": 1, "crop": 1}
        assert built(cohort)[1] == entries  # nor is it decoded again by the next build
        assert set(crops.exclusions["image_id"]) == {"L", "R"}
        assert crops.exclusions["reason"].str.startswith("cannot be read").all()
    else:
        with pytest.raises(Exception, match="no crop can be made"):
            built(cohort)
