"""Whom a training has seen: the hashes that DESIGN states, and refusals that name whoever stands on both sides."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.training.leak_guard import refuse_seen_files, refuse_seen_patients, salted_each, seen_by
from tests.support.crop_cohort import patient, write_tables


def sha(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    splits = ["train", "val", "internal_test", "external_test"]
    patients = [patient(f"pä{number}", split=split) for number, split in enumerate(splits)]
    images = [{"image_id": "i", "patient_id": "pä0", "path": "i.dcm", "laterality": "L", "view": "CC"}]
    return write_tables(tmp_path / "c", patients, images, [])


def crops(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["unit_id", "patient_id", "image_id"])


def test_digests_are_those_of_salt_and_parts_on_lines() -> None:
    assert salted_each("salt", "one", last=["", "ä", "ä"]) == [sha("salt", "one", each) for each in ("", "ä", "ä")]
    assert salted_each("salt", last=[]) == []


def test_a_training_has_seen_the_patients_and_files_of_its_crops(cohort: Cohort) -> None:
    table = crops(("a/L", "a", "i1"), ("a/R", "a", "i2"), ("b", "b", "i3"), ("b", "b", "i1"))
    seen = seen_by("run", cohort, table, {"i1": "x", "i2": "y", "i3": "x", "i4": "z"})
    assert seen.patients == {sha("run", "test", name) for name in "ab"}
    assert seen.files == {sha("run", content) for content in "xy"}
    assert seen_by("run", cohort, table, {}).files == frozenset()


@pytest.mark.parametrize(("name", "refused"), [("pä2", True), ("pä3", True), ("pä1", False), ("pä0", False)])
def test_a_test_patient_that_any_pretraining_saw_is_refused(cohort: Cohort, name: str, refused: bool) -> None:
    other = seen_by("first", cohort, crops(("u", "else", "i")), {})
    seen = [other, seen_by("second", cohort, crops(("u", name, "i")), {}), other]
    if refused:
        with pytest.raises(InputError, match="1 patient of"):
            refuse_seen_patients(seen, cohort)
    else:
        refuse_seen_patients(seen, cohort)
    refuse_seen_patients(seen, replace(cohort, name="other people"))
    refuse_seen_patients([], cohort)


def test_a_test_file_whose_content_any_training_saw_is_refused(cohort: Cohort) -> None:
    table = crops(("pä0", "pä0", "i0"), ("pä2", "pä2", "i2"), ("pä3", "pä3", "i3"), ("pä3", "pä3", "i4"))
    contents = {f"i{number}": f"content {number}" for number in range(5)}
    other = seen_by("first", cohort, crops(("u", "u", "i")), {"i": "unlike"})
    again = [seen_by(run, cohort, table[table["image_id"] == "i4"], contents) for run in ("second", "third")]
    with pytest.raises(InputError, match=r"1 images \(i4\)"):
        refuse_seen_files([other, *again], cohort, table, contents)
    own = seen_by("second", cohort, table[table["image_id"] == "i0"], contents)
    refuse_seen_files([other, own], cohort, table, contents)
    refuse_seen_files([], cohort, table, {})
