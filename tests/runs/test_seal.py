"""The seal on a test split: runs that cannot change unnoticed, plans declared beforehand, openings counted."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError
from mammo_aln.evaluation.report.words import moment, openings
from mammo_aln.runs.ledger import LEDGER, Choice, Plan, ledger_entries, require_writable
from mammo_aln.runs.openings import (
    OpeningRecord,
    declare_plan,
    labelled_rows,
    opened_before,
    record_choice,
    record_opening,
)
from mammo_aln.runs.past import Past
from mammo_aln.runs.record import write_state
from mammo_aln.runs.scored import record_scored
from mammo_aln.runs.seal import frozen_digests, require_unchanged
from tests.support.full_disk import room_for


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
    assert len(ledger_entries(cohort, place)) == 1
    assert not (cohort.root / LEDGER).exists()


def test_a_plan_of_all_its_models_announces_each_of_them_once_and_no_other(cohort: Cohort) -> None:
    ladder = {"what": "ladder of 3 steps"}
    plan = declare_plan(cohort, ["r1", "r2", "r3"], ["external_test"], **ladder)
    assert declare_plan(cohort, ["r3", "r2", "r1"], ["external_test"], **ladder) == plan
    assert sum(isinstance(entry, Plan) for entry in ledger_entries(cohort)) == 1
    looked_up = _opened(cohort, "r2")
    records = [
        looked_up,
        record_opening(cohort, "r3", "external_test", 6, plan=plan),
        _opened(cohort, "r2"),
        _opened(cohort, "r1"),
        _opened(cohort, "r9"),
        record_opening(cohort, "r2", "internal_test", 6),
    ]
    assert [record.declared for record in records] == [True, True, True, True, False, False]
    assert (looked_up.plan, looked_up.plan_what, looked_up.plan_models) == (plan, "ladder of 3 steps", 3)
    assert (looked_up.opened_before_plan, looked_up.choice_time) == (0, None)
    with pytest.raises(InputError, match="no plan nonsense"):
        record_opening(cohort, "r2", "external_test", 6, plan="nonsense")


def test_a_plan_tells_the_openings_that_stood_before_it(cohort: Cohort) -> None:
    """The ledger's order tells, not its clocks; an opening of another split, or by a line cut off, is none or one."""
    record_opening(cohort, "r1", "internal_test", 6)
    early = [_opened(cohort, run) for run in ("r1", "r7")]
    plan = declare_plan(cohort, ["r1"], ["external_test", "internal_test"], what="sweep of 1 cells")
    late = _opened(cohort, "r1")
    assert (late.declared, late.opened, late.opened_before_plan) == (True, 3, 2)
    assert late.opened_before_plan_time == early[1].time
    before = opened_before(cohort, plan)
    assert {split: [opening.run_id for opening in openings] for split, openings in before.items()} == {
        "external_test": ["r1", "r7"],
        "internal_test": ["r1"],
    }
    again = _opened(cohort, "r1")
    assert (again.opened, again.opened_before_plan) == (4, 2)


def test_a_model_that_no_plan_of_the_split_names_is_told_why(cohort: Cohort) -> None:
    assert _opened(cohort, "one").beside_plan is None
    declare_plan(cohort, ["both seeds"], ["external_test"], what="sweep of 2 cells in 1 configurations")
    record = _opened(cohort, "one")
    assert not record.declared
    assert "(sweep of 2 cells in 1 configurations) names other models" in (record.beside_plan or "")


def _opened(cohort: Cohort, run_id: str) -> OpeningRecord:
    return record_opening(cohort, run_id, "external_test", 6)


def test_a_plan_that_leaves_the_choice_to_validation_announces_the_chosen_model_alone(cohort: Cohort) -> None:
    """`predict` by hand with an unchosen cell is not certified, and does not use up the chosen one's opening."""
    plan = declare_plan(cohort, ["r1", "r2", "r3"], ["external_test"], what="sweep of 3 cells", openings=1)
    early = _opened(cohort, "r2")
    assert not early.declared
    assert f"plan {plan}" in str(early.beside_plan)
    assert "no choice among them was recorded" in str(early.beside_plan)
    record_choice(cohort, plan, ["r1"], ranked=2)
    unchosen, chosen = _opened(cohort, "r3"), record_opening(cohort, "r1", "external_test", 6, plan=plan)
    assert not unchosen.declared
    assert "validation chose r1" in str(unchosen.beside_plan)
    assert (chosen.declared, chosen.plan, chosen.beside_plan) == (True, plan, None)
    assert (chosen.choice_ranked, chosen.plan_models) == (2, 3)
    assert (chosen.opened_before_plan, chosen.opened_before_choice) == (0, 1)
    assert _opened(cohort, "r1").declared


def test_another_choice_counts_until_the_former_one_was_opened(cohort: Cohort) -> None:
    plan = declare_plan(cohort, ["r1", "r2", "r3"], ["external_test"], what="sweep of 3 cells", openings=1)
    for run in ("r1", "r2", "r2"):
        record_choice(cohort, plan, [run], ranked=3)
    assert [entry.runs for entry in ledger_entries(cohort) if isinstance(entry, Choice)] == [["r1"], ["r2"]]
    assert not _opened(cohort, "r1").declared
    assert _opened(cohort, "r2").declared
    record_choice(cohort, plan, ["r3"], ranked=3)
    third = _opened(cohort, "r3")
    assert not third.declared
    assert "announced 1, which r2 had opened" in str(third.beside_plan)


def test_a_search_names_its_models_by_its_choice(cohort: Cohort) -> None:
    plan = declare_plan(cohort, [], ["external_test"], what="search of 9 trials", openings=1)
    stranger = _opened(cohort, "r1")
    assert (stranger.declared, stranger.beside_plan) == (False, None)
    record_choice(cohort, plan, ["r2"], ranked=9)
    chosen = _opened(cohort, "r2")
    assert (chosen.plan, chosen.plan_models, chosen.choice_ranked) == (plan, None, 9)


def test_a_choice_that_a_plan_does_not_allow_is_refused(cohort: Cohort) -> None:
    plan = declare_plan(cohort, ["r1", "r2"], ["external_test"], what="sweep", openings=1)
    for runs in (["r9"], ["r1", "r2"]):
        with pytest.raises(InputError, match=f"plan {plan} announces 1 of its 2 models"):
            record_choice(cohort, plan, runs, ranked=2)
    with pytest.raises(InputError, match="no plan nonsense"):
        record_choice(cohort, "nonsense", ["r1"], ranked=2)


def test_what_an_earlier_version_opened_under_a_plan_without_a_choice_uses_up_nothing(cohort: Cohort) -> None:
    plan = declare_plan(cohort, ["r1", "r2"], ["external_test"], what="sweep", openings=1)
    record_opening(cohort, "r2", "external_test", 6)
    ledger = cohort.root / LEDGER
    ledger.write_text(ledger.read_text().replace('"plan": null', f'"plan": "{plan}"'))
    record_choice(cohort, plan, ["r1"], ranked=2)
    assert [_opened(cohort, run).declared for run in ("r1", "r2")] == [True, False]


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


PLAN_LINE = {
    "kind": "plan", "time": "t", "plan": "p", "cohort": "c", "cohort_name": "cohort", "runs": ["r1", "r2"],
    "splits": ["external_test"], "what": "sweep", "openings": 1,
}  # fmt: skip
OPENING_LINE = {"kind": "opening", "time": "t", "run_id": "r", "cohort": "c", "cohort_name": "cohort", "split": "s"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"kind": "opening"}', "time is missing"),
        ('{"kind": ["plan"]}', "kind: expected one of plan, choice, opening, scored"),
        ('{"kind": {}}', "kind: expected one of"),
        ("[]", "kind: expected one of"),
        ("null", "kind: expected one of"),
        ("1", "kind: expected one of"),
        (json.dumps(PLAN_LINE | {"openings": "1"}), "openings: expected a whole number"),
        (json.dumps(PLAN_LINE | {"openings": True}), "openings: expected a whole number"),
        (json.dumps(PLAN_LINE | {"openings": -1}), "openings: expected a whole number"),
        (json.dumps(PLAN_LINE | {"runs": "r1r2"}), "runs: expected a list of texts"),
        (json.dumps(PLAN_LINE | {"runs": [1]}), "runs: expected a list of texts"),
        (json.dumps(PLAN_LINE | {"splits": None}), "splits: expected a list of texts"),
        (json.dumps(PLAN_LINE | {"time": None}), "time: expected text"),
        (json.dumps(OPENING_LINE | {"missing": {"primary": "2"}}), "missing: expected whole numbers by name"),
        (json.dumps(OPENING_LINE | {"missing": []}), "missing: expected whole numbers by name"),
        (json.dumps(OPENING_LINE | {"plan": 3}), "plan: expected text"),
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "integer"),
    ],
)
def test_a_line_that_was_changed_by_hand_is_refused_and_nothing_is_lost(cohort: Cohort, line: str, reason: str) -> None:
    record_opening(cohort, "r1", "external_test", 6)
    ledger = cohort.root / LEDGER
    ledger.write_text(ledger.read_text() + line + "\n")
    before = ledger.read_bytes()
    with pytest.raises(InputError, match=f"line 2: expected an opening, a plan or a choice.*{reason}"):
        record_opening(cohort, "r2", "external_test", 6)
    with pytest.raises(InputError, match="restore the line"):
        declare_plan(cohort, ["r1"], ["external_test"], what="sweep")
    assert ledger.read_bytes() == before


def test_a_ledger_that_is_no_text_is_refused_and_one_of_an_editor_is_read(cohort: Cohort) -> None:
    record_opening(cohort, "r1", "external_test", 6)
    ledger = cohort.root / LEDGER
    whole = ledger.read_bytes()
    for line in (OPENING_LINE, OPENING_LINE | {"missing": None, "n_labelled": 3, "of_a_later_version": [1]}):
        ledger.write_bytes(b"\xef\xbb\xbf" + whole.replace(b"\n", b"\r\n") + json.dumps(line).encode() + b"\r\n\r\n")
        assert _opened(cohort, "r1").opened == 2
    # U+2028 ends no line of JSON.
    ledger.write_text(json.dumps(PLAN_LINE | {"what": "a\u2028b"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert _opened(cohort, "r1").opened == 1
    ledger.write_bytes(whole + b'{"kind": "opening", "cohort_name": "Universit\xe9"}\n')
    before = ledger.read_bytes()
    for command in (lambda: _opened(cohort, "r1"), lambda: ledger_entries(cohort)):
        with pytest.raises(
            InputError, match=rf"expected lines of JSON in UTF-8, got the byte 0xe9 at {len(whole) + 45}"
        ):
            command()
    assert ledger.read_bytes() == before


def test_a_line_cut_off_is_no_other_state_of_the_tables(cohort: Cohort) -> None:
    record_opening(cohort, "r1", "external_test", 6)
    ledger = cohort.root / LEDGER
    ledger.write_text(ledger.read_text() + ledger.read_text()[:25])
    record = _opened(cohort, "r1")
    assert (record.opened, record.by_this_run, record.runs_before, record.contents) == (3, 2, 1, 1)


def _open_often(cohort: Cohort, run: str) -> list[int]:
    return [record_opening(cohort, run, "external_test", 6).opened for _ in range(20)]


def test_openings_of_several_processes_each_get_a_number_of_their_own(cohort: Cohort) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        told = pool.starmap(_open_often, [(cohort, f"r{i}") for i in range(4)], chunksize=1)
    assert sorted(number for numbers in told for number in numbers) == list(range(1, 81))


def test_a_full_disk_leaves_no_half_line_that_would_count_as_an_opening(cohort: Cohort) -> None:
    record_opening(cohort, "r1", "external_test", 6)
    before = (cohort.root / LEDGER).read_bytes()
    with room_for(len(before) + 40), pytest.raises(OSError):
        record_opening(cohort, "r1", "external_test", 6)
    assert (cohort.root / LEDGER).read_bytes() == before
    assert record_opening(cohort, "r1", "external_test", 6).opened == 2


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


def past(record: OpeningRecord) -> Past:
    assert record.past is not None
    return record.past


def test_a_ledger_that_was_changed_between_its_lines_is_told(cohort: Cohort) -> None:
    for run in ("r1", "r2", "r3"):
        assert past(_opened(cohort, run)).broken == 0
    ledger = cohort.root / LEDGER
    whole = ledger.read_text().splitlines(keepends=True)
    changes = {
        "taken out": whole[:1] + whole[2:],
        "the first taken out": whole[1:],
        "changed": [whole[0], whole[1].replace('"r2"', '"r1"'), whole[2]],
        "added": [whole[0], json.dumps(OPENING_LINE) + "\n", *whole[1:]],
        "exchanged": [whole[1], whole[0], whole[2]],
    }
    for name, lines in changes.items():
        ledger.write_text("".join(lines))
        assert past(_opened(cohort, "r4")).broken > 0, name
    # lines of an earlier version, above the first one that has a link, are as they were
    ledger.write_text(json.dumps(OPENING_LINE) + "\n")
    assert [past(_opened(cohort, "r1")).broken for _ in range(2)] == [0, 0]


def test_what_the_cohorts_ledger_lost_counts_by_the_runs_own_copy(cohort: Cohort, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    records = [record_opening(cohort, "r1", "external_test", 6, run=run) for _ in range(3)]
    assert [(one.opened, past(one).lost) for one in records] == [(1, 0), (2, 0), (3, 0)]
    ledger = cohort.root / LEDGER
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))
    shortened = record_opening(cohort, "r1", "external_test", 6, run=run)
    assert (shortened.opened, shortened.by_this_run, past(shortened).lost) == (4, 4, 1)
    ledger.unlink()
    bare = record_opening(cohort, "r1", "external_test", 6, run=run)
    assert (bare.opened, bare.by_this_run, past(bare).lost) == (5, 5, 4)
    # the same in a copy of the cohort, and with a ledger somewhere else
    copy = replace(cohort, root=tmp_path / "copy")
    copy.root.mkdir()
    assert record_opening(copy, "r1", "external_test", 6, run=run).opened == 6
    aside = record_opening(cohort, "r1", "external_test", 6, run=run, ledger=tmp_path / "aside.jsonl")
    assert aside.opened == 7
    stranger = replace(copy, name="other", patients=cohort.patients.assign(center="z"))
    other = record_opening(stranger, "r1", "s", 6, run=run)
    assert (other.opened, past(other).lost) == (1, 0)


def test_a_ledger_that_is_younger_than_the_run_is_told(cohort: Cohort, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_state(run, "completed", ended="2020-01-01T00:00:00+00:00")
    record = record_opening(cohort, "r1", "external_test", 6, run=run)
    assert past(record).trained == "2020-01-01T00:00:00+00:00"
    (sentence,) = openings({"splits": {"external_test": asdict(record)}})
    assert f"The ledger is younger than the run: it begins on {moment(record.time)}" in sentence
    write_state(run, "completed", ended="2999-01-01T00:00:00+00:00")
    (sentence,) = openings(
        {"splits": {"external_test": asdict(record_opening(cohort, "r1", "external_test", 6, run=run))}}
    )
    assert "younger" not in sentence


def test_patients_who_were_scored_before_are_known_again(cohort: Cohort, tmp_path: Path) -> None:
    """Blanked labels, `explain`, and a split of another name leave their mark; other people do not."""
    names = [f"p{number}" for number in range(6, 12)]
    record_scored(cohort, "r1", {"external_test": names}, by="explain")
    record_scored(cohort, "r2", {"internal_test": names[:2]}, by="predict")
    record_opening(cohort, "r3", "internal_test", 3, patients=names[:3])
    record_opening(cohort, "r3", "internal_test", 3, patients=["p0", "p1"])
    record = record_opening(cohort, "r4", "external_test", 6, patients=names)
    assert record.opened == 1
    assert [(one.patients, one.run_id, one.split, one.by) for one in past(record).before] == [
        (6, "r1", "external_test", "explain"),
        (2, "r2", "internal_test", "predict"),
        (3, "r3", "internal_test", "opening"),
    ]
    (sentence,) = openings({"splits": {"external_test": asdict(record)}})
    assert "6 of its 6 patients were scored before, without outcome by explain (run r1, " in sentence
    assert "3 of its 6 patients were scored before, as internal test, with their outcomes (run r3, " in sentence
    assert not any(name in (cohort.root / LEDGER).read_text() for name in ("p6", "p11"))
    # a ledger that cannot be written is said, and keeps nobody from scoring without outcomes
    record_scored(cohort, "r1", {"external_test": names}, by="predict", ledger=tmp_path / "nowhere" / "ledger.jsonl")


def test_a_cohort_of_another_name_in_the_same_folder_is_told(cohort: Cohort) -> None:
    _opened(cohort, "r1")
    renamed = replace(cohort, name="other", patients=cohort.patients.assign(center="z"))
    assert past(_opened(renamed, "r1")).under_other_names == 1


def test_a_run_whose_files_were_edited_with_their_digests_is_found_by_its_last_opening(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen, run, other = {"weights": "a", "threshold": "b"}, tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    for _ in range(2):
        record_opening(cohort, "r1", "external_test", 6, run=run, frozen=frozen)
    record_opening(cohort, "r2", "external_test", 6, frozen=frozen | {"threshold": "c"})
    before = (cohort.root / LEDGER).read_bytes()
    with pytest.raises(InputError, match=r"run r1 opened external_test on .* with other weights, threshold"):
        record_opening(cohort, "r1", "external_test", 6, run=run, frozen=frozen | {"threshold": "c"})
    assert (cohort.root / LEDGER).read_bytes() == before
    # The same settings trained in another folder are another training, which is told and opens.
    assert record_opening(cohort, "r1", "external_test", 6, run=other, frozen=frozen | {"weights": "c"}).opened == 4
    assert "another training of these settings" in capsys.readouterr().err


def test_a_test_without_a_record_is_told() -> None:
    assert openings({}, ["train", "val"]) == []
    (sentence,) = openings({}, ["train", "external_test"])
    assert sentence.startswith("No opening of external test is recorded beside these predictions")
