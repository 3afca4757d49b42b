"""Files that end the process that decodes them: one process or many, one image or many, first start and next."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.keys import known_crops
from mammo_aln.machine.deaths import CRASHED, ENDED, OVERLONG
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.caged import in_the_kept_process, killed_from_outside, replaced_after_the_digest
from tests.support.crop_cohort import image, patient, small_cohort, write_tables

SMALL = CropConfig(size_px=32, auxiliary=())
QUICK = PixelConfig(decode_timeout_s=0.5)
REASONS = {
    "abort_j2k_siz": "cannot be read: the JPEG 2000 codestream is damaged",
    "crash_jpeg8_precision17": CRASHED,
    "slow_htj2k_47s": OVERLONG,
    "panic_rle": "cannot be read: decoding failed (PanicException",
    "nested_500": "cannot be read: its sequences are nested",
}


def hostile_cohort(root: Path, shared: Path, sound: int, names: list[str]) -> Cohort:
    """Sound images, and files that are none, in turn."""
    small_cohort(root, sound)
    people = [f"p{number}" for number in range(sound)]
    rows = [image(f"i{number}", f"p{number}") for number in range(sound)]
    for number, name in enumerate(names):
        shutil.copyfile(shared / "cases" / "hostile" / f"{name}.dcm", root / f"{name}.dcm")
        people.append(f"q{number}")
        rows.insert(2 * number, image(name, f"q{number}"))
    boxes = [(row["image_id"], "primary", 10, 10, 60, 60) for row in rows]
    return write_tables(root, [patient(name) for name in people], rows, boxes)


def kinds_in_journals(store: Path) -> list[str]:
    lines = [line for journal in (store / "segments").glob("*.jsonl") for line in journal.read_text().splitlines()]
    return [json.loads(line)["record"]["kind"] for line in lines]


def checked(crops: CropSet, sound: int, names: list[str]) -> None:
    assert sorted(crops.table["image_id"]) == [f"i{number}" for number in range(sound)]
    reasons = crops.exclusions.set_index("image_id")["reason"]
    assert set(reasons.index) == set(names)
    assert all(reasons[name].startswith(REASONS[name]) for name in names), reasons.to_dict()
    written = pd.read_csv(crops.store_path / "exclusions.csv")
    assert dict(zip(written["image_id"], written["reason"], strict=True)) == reasons.to_dict()


@pytest.mark.parametrize(("sound", "workers"), [(1, 1), (6, 1), (6, 2)])
def test_a_file_that_ends_its_process_costs_one_image_and_is_decoded_once(
    tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str], sound: int, workers: int
) -> None:
    root, names = tmp_path / "c", list(REASONS)
    cohort = hostile_cohort(root, shared, sound, names)
    first = build_crops(cohort, QUICK, SMALL, workers=workers)
    checked(first, sound, names)
    said = capsys.readouterr().err
    assert said.count("2 images are left out, their decoders died of them") == 1
    assert f"slow_htj2k_47s: {OVERLONG} 0.5 s of processor time (pixels.decode_timeout_s)" in said
    kinds = kinds_in_journals(root / ".crops")
    assert kinds.count("refused_content") == 2

    second = build_crops(read_cohort(root), QUICK, SMALL, workers=workers)
    pd.testing.assert_frame_equal(first.exclusions, second.exclusions)
    said = capsys.readouterr().err
    assert said.count("2 images are left out, their decoders died of them") == 1
    assert "crops:" not in said  # the kept table knows all, so nothing is looked at

    other = build_crops(read_cohort(root), QUICK, CropConfig(size_px=24, auxiliary=()), workers=workers)
    checked(other, sound, names)
    assert kinds_in_journals(root / ".crops").count("refused_content") == 2  # nothing died anew
    assert known_crops(cohort, QUICK, SMALL).waiting == 3  # those that were refused in words: they are tried again


def test_a_wider_bound_and_another_content_are_tried_again(tmp_path: Path, shared: Path) -> None:
    root = tmp_path / "c"
    cohort = hostile_cohort(root, shared, 1, ["slow_htj2k_47s"])
    build_crops(cohort, QUICK, SMALL)
    wider = build_crops(cohort, PixelConfig(decode_timeout_s=1.0), SMALL)
    assert wider.exclusions["reason"].tolist() == [f"{OVERLONG} 1 s of processor time (pixels.decode_timeout_s)"]
    assert kinds_in_journals(root / ".crops").count("refused_content") == 2
    shutil.copyfile(root / "i0.dcm", root / "slow_htj2k_47s.dcm")
    assert build_crops(read_cohort(root), QUICK, SMALL).exclusions.empty


def test_bounds_change_neither_pixels_nor_their_keys(tmp_path: Path) -> None:
    cohort = small_cohort(tmp_path / "c", 2)
    before, after = build_crops(cohort, PixelConfig(), SMALL), build_crops(cohort, QUICK, SMALL)
    assert before.table.equals(after.table)
    assert before.recipe == after.recipe


def test_a_process_ended_from_outside_blames_no_file_for_good(tmp_path: Path) -> None:
    """As when the machine's memory is full: told, and tried again by the next start."""
    cohort = small_cohort(tmp_path / "c", 2)
    with in_the_kept_process(killed_from_outside):
        crops = build_crops(cohort, PixelConfig(), SMALL)
    assert sorted(crops.table["image_id"]) == ["i0", "i1"]  # another process decoded what the killed one had
    assert "refused_content" not in kinds_in_journals(tmp_path / "c" / ".crops")
    assert not crops.exclusions["reason"].str.startswith(ENDED).any()


def test_a_box_of_no_sensible_size_costs_one_image(tmp_path: Path) -> None:
    root = tmp_path / "c"
    cohort = small_cohort(root, 6)
    corners = [(0, 1e15), (0, 5e-324), (-1e308, 1e308), (0, 1e7), (30, 30.001)]
    boxes = [(f"i{number}", "primary", low, 10, high, 60) for number, (low, high) in enumerate(corners)]
    people = [patient(f"p{number}") for number in range(6)]
    rows = [image(f"i{number}", f"p{number}") for number in range(6)]
    cohort = write_tables(root, people, rows, [*boxes, ("i5", "primary", 60, 130, 95, 165)])
    for strategy in ("fixed_5cm", "lesion_box", "lesion_margin"):
        crop = CropConfig(strategy=strategy, size_px=32, auxiliary=("peritumoral",))
        crops = build_crops(cohort, PixelConfig(), crop)
        assert set(crops.table["image_id"]) == {"i5"}
        assert crops.exclusions["reason"].str.contains("pixels: expected 0.01 to 1e+06 on each side", regex=False).all()


def test_a_file_that_is_replaced_between_digest_and_decoding_gives_no_crop(tmp_path: Path) -> None:
    """The other patient's pixels would stand for good under the digest of the first one's."""
    root = tmp_path / "c"
    cohort = small_cohort(root, 2)
    (root / "other.dcm").write_bytes((root / "i1.dcm").read_bytes())
    with in_the_kept_process(replaced_after_the_digest):
        crops = build_crops(cohort, PixelConfig(), SMALL, workers=1)
    assert crops.table["image_id"].tolist() == ["i1"]
    assert "changed while it was read" in crops.exclusions["reason"].item()
    again = build_crops(read_cohort(root), PixelConfig(), SMALL, workers=1)
    assert again.table["image_id"].tolist() == ["i0", "i1"]
    assert again.contents["i0"] == again.contents["i1"]
