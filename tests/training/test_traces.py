"""Traces of whom a run learnt from: copies are known by their sketches, others and fillers are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort.clinical import ClinicalFeature
from mammo_aln.cohort.likeness.fingerprint import Fingerprint, fingerprint, uid_digests
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.training import leak_guard
from mammo_aln.training.leak_guard import MOST_IMAGES, seen_by
from mammo_aln.training.traces import Traces, alike_to, traces_of, written_sketches
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables


def exposure(seed: int) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, 1, (640, 480)).astype(np.float32)
    return np.rint(1000 + 3000 * np.clip(cv2.GaussianBlur(grain, (0, 0), 1.5), -0.3, 0.3)).astype(np.uint16)


def marks_of(**images: np.ndarray) -> dict[str, Fingerprint]:
    return {name: fingerprint(np.ascontiguousarray(values)) for name, values in images.items()}


def test_copies_are_known_by_a_sketch_of_the_same_salt_alone() -> None:
    learnt = marks_of(**{f"i{seed}": exposure(seed) for seed in range(4)})
    kept = written_sketches(learnt.values(), "run")
    again = {
        "turned": exposure(0)[::-1],
        "cut": exposure(1)[640 // 6 :],
        "framed": np.pad(exposure(2), 120),
        "another": exposure(9),
    }
    tested = marks_of(**again)
    assert sorted(alike_to(kept, "run", tested)) == ["cut", "framed", "turned"]
    assert alike_to(kept, "another run", tested) == []
    assert alike_to("", "run", tested) == alike_to(kept, "run", {}) == []
    assert written_sketches(list(learnt.values())[::-1], "run") == kept  # nothing tells which was which
    assert written_sketches([replace(learnt["i0"], texture=b"")], "run") == ""


def cohort_of(root: Path, uids: Mapping[str, str]) -> Cohort:
    people = [patient(name, split="external_test") for name in uids]
    for name, uid in uids.items():
        write_image(root / f"{name}.dcm", mammogram(64, 48, 0.4, 0.4), StudyInstanceUID=uid)
    return write_tables(root, people, [image(name, name) for name in uids], [])


def refused(cohort: Cohort, learnt: Traces) -> bool:
    seen = seen_by("run", cohort, pd.DataFrame({"patient_id": ["x"], "image_id": ["x"]}), {}, learnt)
    assert seen.whole
    try:
        leak_guard.Tested(cohort, cohort.patients, [seen], "trained on", "no").refuse_names()
    except InputError:
        return True
    return False


def test_an_exam_is_known_by_its_uid_and_what_fills_many_headers_is_no_exam(tmp_path: Path) -> None:
    def learnt(count: int) -> Traces:
        return Traces({f"i{n}": Fingerprint(f"m{n}", b"", False, uid_digests(["1.2.3"])) for n in range(count)})

    one = cohort_of(tmp_path / "one", {"a": "1.2.3", "b": "1.2.4"})
    assert refused(one, learnt(MOST_IMAGES))
    assert not refused(one, learnt(MOST_IMAGES + 1))
    many = cohort_of(tmp_path / "many", {f"a{n}": "1.2.3" for n in range(MOST_IMAGES + 1)})
    assert not refused(many, learnt(1))


def test_traces_of_patients_hold_their_values_exams_and_pixels(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "c", {"a": "1.2.3", "b": "1.2.4"})
    traces = traces_of(cohort, cohort.patients, ["b"], tmp_path / "kept")
    assert list(traces.marks) == ["b"]
    assert set(uid_digests(["1.2.4"])) < set(traces.marks["b"].uids)
    assert (traces.columns, traces.rows) == ((), ("", ""))


@pytest.mark.parametrize(("levels", "known"), [(10_000, True), (2, False)])
def test_a_patient_is_known_by_values_that_few_have(tmp_path: Path, levels: int, known: bool) -> None:
    rng = np.random.default_rng(0)
    values = [{name: float(rng.integers(0, levels)) for name in "pqr"} for _ in range(40)]
    people = [patient(f"n{n}", split="external_test", **row) for n, row in enumerate(values)]
    cohort = write_tables(tmp_path / "c", people, [image("i", "n0")], [])
    own = replace(cohort, clinical={name: ClinicalFeature(name, "continuous") for name in "pqr"})
    traces = traces_of(own, own.patients.head(1), (), None)
    assert traces.columns == ("p", "q", "r")
    assert refused(own, traces) is known
