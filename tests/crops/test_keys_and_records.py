"""Keys and journal entries of stores that exist must never change unwittingly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mammo_aln.crops.build import build_crops
from mammo_aln.crops.keys import CropJob, CropKeys
from mammo_aln.crops.requests import CropRequest, ImagePlan
from mammo_aln.crops.store.records import ContentRecord, CropRecord, ImageRecord, RefusedCrop, SampledRecord
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

BOX = (1.0, 2.5, 30.0, 40.0)
LEFT = ImagePlan("a", "p", "c", Path("a.dcm"), "L", "CC", "L", None, 0.1)
RIGHT = ImagePlan("b", "p", "c", Path("b.dcm"), "R", "CC", None, "CC", None)
MIRRORED = {"estimate": "contralateral", "mirror_of": ("a", BOX)}
KINDS = {
    "content": ContentRecord,
    "sampled": SampledRecord,
    "image": ImageRecord,
    "crop": CropRecord,
    "refused": RefusedCrop,
}


def keys(*contents: str) -> CropKeys:
    job = CropJob(PixelConfig(), CropConfig(size_px=32, margin=0.4), Path("store"))
    return CropKeys.of((LEFT, RIGHT), dict(zip("ab", contents, strict=False)), job)


def test_image_keys_are_those_of_version_4() -> None:
    assert keys("0" * 64, "1" * 64).images == {
        "a": "f7eb2c15ac14c0e251664303f038fc0befb7dd6d857f0960be8c003c013b5655",
        "b": "862ef66d50ddbf2c7142ac3169a6586355a62a38d0b2d83ccbd8039b47e2ad7a",
    }


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (CropRequest("p", "p", "a", "primary", 1, "fixed_5cm", BOX, 50.0), "a662cac8d8983313"),
        (CropRequest("p", "p", "a", "primary", 1, "lesion_margin", BOX, 50.0), "dcd9b75a38c4312b"),
        (CropRequest("p", "p", "a", "primary", 1, "whole_breast", BOX, 50.0), "9b07db85679d9791"),
        (CropRequest("p", "p", "a", "peritumoral", 1, "lesion_box", BOX, 50.0, scale=1.6), "8b72561a77f0ce2b"),
        (CropRequest("p", "p", "b", "contralateral", 1, "lesion_box", None, 50.0, **MIRRORED), "2625be3cccdc5c79"),
    ],
)
def test_crop_keys_are_those_of_version_4(request_: CropRequest, key: str) -> None:
    assert str(keys("0" * 64, "1" * 64).of_request(request_)).startswith(key)


def test_a_crop_has_no_key_while_an_image_that_it_needs_has_none() -> None:
    request = CropRequest("p", "p", "b", "contralateral", 1, "lesion_box", None, 50.0, **MIRRORED)
    assert keys("0" * 64).of_request(request) is None
    assert keys().of_request(request) is None


def test_every_entry_of_a_journal_is_read_and_written_alike(tmp_path: Path) -> None:
    pixels = mammogram(1200, 800, 0.1, 0.1)
    write_image(tmp_path / "cc.dcm", pixels, ImagerPixelSpacing=[0.1, 0.1])
    write_image(tmp_path / "bare.dcm", pixels, ImagerPixelSpacing=None, view="MLO")
    regions = [("cc", "primary", 240, 520, 380, 660), ("bare", "primary", 240, 520, 380, 660)]
    rows = [image("cc", "p"), image("bare", "p", view="MLO")]
    cohort = write_tables(tmp_path, [patient("p")], rows, regions)
    crop = CropConfig(strategy="all", auxiliary=("axilla", "peritumoral"), size_px=32)
    build_crops(cohort, PixelConfig(), crop, workers=1)
    (journal,) = (tmp_path / ".crops" / "segments").glob("*.jsonl")
    entries = [json.loads(line)["record"] for line in journal.read_text().splitlines()]
    assert {entry["kind"] for entry in entries} == set(KINDS)
    for entry in entries:
        again = KINDS[entry["kind"]].from_json(entry).to_json()
        assert json.loads(json.dumps(again)) == {
            name: value for name, value in entry.items() if name not in ("offset", "surround_px", "pixels_crc")
        }
