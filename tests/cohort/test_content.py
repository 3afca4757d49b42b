from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort.content import cohort_content, tables_digest
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


@pytest.mark.parametrize(
    "columns",
    [
        [["a", "b"], ["a", "c"], ["b", "a"], ["a\0b", "c"], ["a", "b\0c"], ["a", np.nan], ["a", "nan"], [np.nan, "a"]],
        [[np.nan], [""], ["NaN"], [1], ["1"], [True], [1.0], [None]],
        [[0.1, 0.2], [0.1, np.nan], [0.1, np.nextafter(0.2, 1)], [0.0, 0.0], [0.0, -0.0]],
    ],
)
def test_any_cell_of_any_table_gives_the_tables_another_digest(sound, columns):
    cohort = read_cohort(sound)
    digests = {tables_digest(cohort)}
    for cells in columns:
        for dtype in (object, float) if all(isinstance(cell, float) for cell in cells) else (object,):
            column = pd.Series(cells, dtype=dtype)
            digests.add(tables_digest(replace(cohort, images=pd.DataFrame({"x": column}))))
            digests.add(tables_digest(replace(cohort, regions=pd.DataFrame({"x": column}))))
            digests.add(tables_digest(replace(cohort, patients=pd.DataFrame({"x": column, "split": "train"}))))
    numbers = sum(1 + all(isinstance(cell, float) for cell in cells) for cells in columns)
    assert len(digests) == 1 + 3 * numbers


def test_the_tables_digest_holds_types_columns_and_folder_and_leaves_out_what_it_is_told_to(sound):
    cohort = read_cohort(sound)
    empty = cohort.images[:0]
    others = [
        cohort,
        replace(cohort, dicom_root=sound / "elsewhere"),
        replace(cohort, images=cohort.images.rename(columns={"view": "other"})),
        replace(cohort, images=cohort.images[[*cohort.images.columns[::-1]]]),
        replace(cohort, images=empty),
        replace(cohort, images=empty.astype({"image_id": float})),
        replace(cohort, patients=cohort.patients.astype({"eligible": float})),
    ]
    assert len(set(map(tables_digest, others))) == len(others)
    other_split = replace(cohort, patients=cohort.patients.assign(split="val"))
    assert tables_digest(other_split) != tables_digest(cohort)
    assert tables_digest(other_split, without=("split",)) == tables_digest(cohort, without=("split",))
