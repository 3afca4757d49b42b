from __future__ import annotations

import shutil

import pytest

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import read_cohort


def content(root):
    return cohort_content(read_cohort(root))


def test_order_place_name_and_spelling_of_numbers_do_not_enter(sound, tmp_path):
    other = tmp_path / "elsewhere"
    shutil.copytree(sound, other)
    yaml = (other / "cohort.yaml").read_text().replace("three centres", "another name") + f"dicom_root: {tmp_path}\n"
    (other / "cohort.yaml").write_text(yaml)
    for name in ("patients", "images", "regions"):
        header, *rows = (other / f"{name}.csv").read_text().splitlines()
        (other / f"{name}.csv").write_text("\r\n".join([header, *reversed(rows)]) + "\r\n")
    for file, old, new in (
        ("patients.csv", "007,A,1,51.5", "007,A,1.0,51.50"),
        ("images.csv", "a/i1", "b/x1"),
        ("regions.csv", "10,20", "10.0,2e1"),
    ):
        text = (other / file).read_bytes().decode()
        assert old in text
        (other / file).write_bytes(text.replace(old, new).encode())
    assert content(other) == content(sound)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("patients.csv", "008,A,0", "008,A,1"),
        ("patients.csv", "008,A,0", "008,A,"),
        ("patients.csv", "008,A,0", "008,B,0"),
        ("patients.csv", "51.5", "51.4"),
        ("patients.csv", "yes,train", "yes,val"),
        ("images.csv", "0.07", "0.08"),
        ("images.csv", "L,MLO", "L,CC"),
        ("regions.csv", "30.5", "30.6"),
        ("regions.csv", "i2,axilla", "i2,primary"),
        ("cohort.yaml", "[1, 2, 3, 4]", "[2, 1, 3, 4]"),
        ("cohort.yaml", "unit: years", "known_at: post_nat"),
    ],
)
def test_what_shapes_a_result_enters(sound, file, old, new):
    before = content(sound)
    text = (sound / file).read_text()
    assert old in text
    (sound / file).write_text(text.replace(old, new))
    assert content(sound) != before
