"""The seal on a test split: runs that cannot change unnoticed, plans declared beforehand, openings counted."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError
from mammo_aln.runs.record import write_state
from mammo_aln.runs.seal import (
    LEDGER,
    Plan,
    declare_plan,
    frozen_digests,
    labelled_rows,
    openings,
    record_opening,
    require_unchanged,
    require_writable,
)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    folder = tmp_path / "cohort"
    folder.mkdir()
    rows = [f"p{i},{'ab'[i % 2]},{i % 2},{'train' if i < 6 else 'external_test'}" for i in range(12)]
    (folder / "patients.csv").write_text("patient_id,center,aln_status,split\n" + "\n".join(rows) + "\n")
    return read_cohort(folder, need=("patients",))


def test_openings_by_all_runs_are_counted_together(cohort: Cohort) -> None:
    told = [record_opening(cohort, run, "external_test", 6) for run in ("r1", "r2", "r1")]
    assert [found.opened for found in told] == [1, 2, 3]
    assert [found.runs_before for found in told] == [0, 1, 1]
    assert [found.by_this_run for found in told] == [1, 1, 2]
    assert not any(found.declared for found in told)
    assert record_opening(cohort, "r1", "internal_test", 6).opened == 1
    lines = (cohort.root / LEDGER).read_text().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == ["r1", "r2", "r1", "r1"]
    assert {"time", "cohort", "split", "n_labelled", "plan"} <= set(json.loads(lines[0]))


def test_an_opening_leaves_the_cohort_and_its_identity_as_they_are(cohort: Cohort) -> None:
    before = cohort_content(cohort)
    record_opening(cohort, "r1", "external_test", 6)
    assert cohort_content(read_cohort(cohort.root, need=("patients",))) == before


def test_a_changed_label_does_not_reset_the_count(cohort: Cohort) -> None:
    record_opening(cohort, "r1", "external_test", 6)
    patients = cohort.patients.copy()
    patients.loc[7, "aln_status"] = 1 - patients.loc[7, "aln_status"]
    told = record_opening(replace(cohort, patients=patients), "r1", "external_test", 6)
    assert (told.opened, told.contents) == (2, 2)


def test_one_ledger_may_serve_several_cohorts(cohort: Cohort, tmp_path: Path) -> None:
    place = tmp_path / "ledger.jsonl"
    other = replace(cohort, name="other", patients=cohort.patients.assign(center="z"))
    assert record_opening(cohort, "r1", "external_test", 6, ledger=place).opened == 1
    assert record_opening(other, "r1", "external_test", 6, ledger=place).opened == 1
    assert len(openings(cohort, place)) == 1
    assert not (cohort.root / LEDGER).exists()


def test_a_plan_counts_only_for_what_it_announced_and_only_if_it_came_first(cohort: Cohort) -> None:
    early = record_opening(cohort, "r1", "external_test", 6)
    plan = declare_plan(cohort, ["r1", "r2", "r3"], ["external_test"], what="ladder of 3 steps", openings=2)
    assert declare_plan(cohort, ["r3", "r2", "r1"], ["external_test"], what="ladder of 3 steps", openings=2) == plan
    assert sum(isinstance(entry, Plan) for entry in openings(cohort)) == 1
    found = record_opening(cohort, "r2", "external_test", 6)
    named = record_opening(cohort, "r3", "external_test", 6, plan=plan)
    again = record_opening(cohort, "r2", "external_test", 6)
    third = record_opening(cohort, "r1", "external_test", 6)
    stranger = record_opening(cohort, "r9", "external_test", 6)
    elsewhere = record_opening(cohort, "r2", "internal_test", 6)
    declared = [told.declared for told in (early, found, named, again, third, stranger, elsewhere)]
    assert declared == [False, True, True, True, False, False, False]
    assert (found.plan, found.plan_what) == (plan, "ladder of 3 steps")
    with pytest.raises(InputError, match="no plan nonsense"):
        record_opening(cohort, "r2", "external_test", 6, plan="nonsense")


def test_the_run_keeps_a_copy(cohort: Cohort, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record_opening(cohort, "r1", "external_test", 6, run=run)
    assert (run / LEDGER).read_text() == (cohort.root / LEDGER).read_text()


def test_a_line_cut_off_by_a_crash_counts_and_harms_no_later_line(
    cohort: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    record_opening(cohort, "r1", "external_test", 6)
    ledger = cohort.root / LEDGER
    ledger.write_text(ledger.read_text() + ledger.read_text()[:25])
    assert record_opening(cohort, "r2", "external_test", 6).opened == 3
    assert "line 2 was cut off" in capsys.readouterr().err
    assert json.loads(ledger.read_text().splitlines()[2])["run_id"] == "r2"
    ledger.write_text('{"kind": "opening"}\n')
    with pytest.raises(InputError, match="line 1: expected an opening or a plan"):
        record_opening(cohort, "r2", "external_test", 6)


def _open_often(cohort: Cohort, run: str) -> list[int]:
    return [record_opening(cohort, run, "external_test", 6).opened for _ in range(20)]


def test_openings_of_several_processes_each_get_a_number_of_their_own(cohort: Cohort) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        told = pool.starmap(_open_often, [(cohort, f"r{i}") for i in range(4)], chunksize=1)
    assert sorted(number for numbers in told for number in numbers) == list(range(1, 81))


def test_a_ledger_that_cannot_be_written_is_an_error(cohort: Cohort, tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere" / "ledger.jsonl", tmp_path):
        with pytest.raises(InputError, match="cannot be recorded there"):
            record_opening(cohort, "r1", "external_test", 6, ledger=place)
    with pytest.raises(InputError, match="--ledger"):
        require_writable(cohort, tmp_path / "nowhere" / "ledger.jsonl")
    require_writable(cohort)
    assert not (cohort.root / LEDGER).exists()


def test_only_labelled_rows_of_unseen_splits_are_openings() -> None:
    table = pd.DataFrame(
        {
            "split": ["train", "val", "cv", "internal_test", "external_test", "external_test", "other"],
            "aln_status": [1, 0, 1, None, 0, 1, 1],
        }
    )
    assert labelled_rows(table) == {"external_test": 2, "other": 1}
    # to a run that learnt from another cohort, its train and val are unseen patients
    counts = table[table["aln_status"].notna()].groupby("split").size().to_dict()
    assert labelled_rows(table, ()) == counts
    assert {"train", "val"} & counts.keys()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    about = {"threshold": {"value": 0.4}, "calibration": {"temperature": 1.5}, "recipe": {"crop": 5}}
    (folder / "predictions.json").write_text(json.dumps(about))
    write_state(folder, "completed", frozen=frozen_digests(folder))
    return folder


def test_a_frozen_run_passes(run: Path) -> None:
    assert set(require_unchanged(run)) == {"weights", "threshold", "calibration", "recipe"}


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", {"value": 0.5}), ("calibration", {"temperature": 1.0}), ("recipe", {"crop": 4})]
)
def test_changed_facts_of_a_run_are_refused(run: Path, name: str, value: dict[str, float]) -> None:
    path = run / "predictions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(InputError, match=f"{name} changed after the training"):
        require_unchanged(run)


def test_changed_weights_and_unsealed_runs_are_refused(run: Path) -> None:
    (run / "checkpoints" / "best.ckpt").write_bytes(b"weightz")
    with pytest.raises(InputError, match=r"weights changed .*best\.ckpt"):
        require_unchanged(run)
    write_state(run, "completed", frozen=None)
    with pytest.raises(InputError, match="names no frozen weights"):
        require_unchanged(run)
