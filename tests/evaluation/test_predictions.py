"""What is read, and what is refused in one message."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from mammo_aln.errors import InputError
from mammo_aln.evaluation.predictions import read_facts, read_predictions


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_three_columns_are_enough_and_identifiers_stay_strings(tmp_path):
    found = read_predictions([write(tmp_path / "p.csv", "\ufeffpatient_id,aln_status,score\n007,1,0.5\nNA,,0.1\n")])
    assert found.table["patient_id"].tolist() == ["007", "NA"]
    assert found.splits() == ["all"]
    assert not found.has_center
    assert found.table["aln_status"].isna().tolist() == [False, True]


def test_all_bad_cells_at_once(tmp_path):
    rows = "patient_id,split,aln_status,score\na,test,2,0.5\n,test,1,0.5\nb,,yes,nan\nc,test,0,\na,test,1,0.7\n"
    with pytest.raises(InputError) as error:
        read_predictions([write(tmp_path / "p.csv", rows)])
    text = str(error.value)
    for place in (
        "row 2, aln_status = '2'",
        "row 3, patient_id = ''",
        "row 4, aln_status = 'yes'",
        "row 4, score = 'nan'",
        "row 4, split = ''",
        "row 5, score = ''",
        "row 6, patient_id = 'a'",
    ):
        assert place in text
    assert text.startswith("7 faults")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("patient_id,aln_status,score\n", "at least one row below the header"),
        ("patient_id,score\na,0.5\n", "lacks the column.* aln_status"),
        ('patient_id,aln_status,score\n"a,1,0.5\n', "closed double quotes"),
    ],
)
def test_unusable_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_predictions([write(tmp_path / "p.csv", text)])
    with pytest.raises(InputError, match="no predictions file"):
        read_predictions([tmp_path / "absent.csv"])


def test_both_sides_of_a_patient_are_two_rows(tmp_path):
    rows = "patient_id,side,aln_status,score\na,L,1,0.5\na,R,0,0.5\n"
    assert len(read_predictions([write(tmp_path / "p.csv", rows)]).table) == 2


def test_a_patient_in_two_splits_is_refused_but_two_centres_may_use_one_number(tmp_path):
    head = "patient_id,center,split,aln_status,score\n"
    one = write(tmp_path / "one.csv", head + "1,A,train,1,0.5\n2,A,train,0,0.5\n")
    leak = write(tmp_path / "leak.csv", head + "2,A,external_test,0,0.4\n")
    fine = write(tmp_path / "fine.csv", head + "2,B,external_test,0,0.4\n")
    again = write(tmp_path / "again.csv", head + "2,A,train,0,0.4\n")
    with pytest.raises(InputError, match="2 in external_test, train"):
        read_predictions([one, leak])
    with pytest.raises(InputError, match="one row per patient"):
        read_predictions([one, again])
    assert read_predictions([one, fine]).splits() == ["train", "external_test"]


def test_files_of_different_models_are_refused(tmp_path, files):
    mixed = pd.read_csv(files["test"], dtype=str).assign(run_id="r2")
    mixed.to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(InputError, match="different runs"):
        read_predictions([tmp_path / "other.csv"], files["run"])
    mixed.assign(run_id="r1").to_csv(tmp_path / "other.csv", index=False)
    (tmp_path / "other.json").write_text(json.dumps({"threshold": {"value": 0.2}}))
    with pytest.raises(InputError, match="thresholds differ"):
        read_predictions([tmp_path / "other.csv"], files["run"])


def test_the_same_file_given_twice_is_read_once(files):
    found = read_predictions([files["run"] / "predictions.csv", files["test"]], files["run"])
    assert found.splits() == ["train", "val", "internal_test", "external_test"]
    assert len(found.sources) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inputs.counts[].split", {"inputs": {"counts": [{"center": "a", "input": "clinical", "kind": "missing"}]}}),
        ("inputs.training.ranges.age.low", {"inputs": {"training": {"ranges": {"age": {"low": "x", "high": 2}}}}}),
        ("cohort_flow", {"cohort_flow": {"step": 1}}),
        ("splits.test", {"splits": {"test": {"opened": 1, "runs_before": 0}}}),
        ("leaks.reason", {"leaks": {"counts": {"x": 1}}}),
        ("fallbacks.a.images", {"fallbacks": {"a": {"images": "many"}}}),
        ("settings.model.inputs[]", {"settings": {"model": {"inputs": [[1]]}}}),
    ],
)
def test_facts_of_another_form_are_named(tmp_path, name, value):
    write(tmp_path / "p.json", json.dumps(value))
    with pytest.raises(InputError, match=rf"p\.json, {re.escape(name)}: not of the form"):
        read_facts(tmp_path / "p.csv")


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, '{"threshold": {"value": "high"}}', '{"threshold": {}}'])
def test_bad_facts(tmp_path, text):
    write(tmp_path / "p.json", text)
    with pytest.raises(InputError, match=r"p\.json"):
        read_facts(tmp_path / "p.csv")


def test_an_infinite_threshold_is_read(tmp_path):
    write(tmp_path / "p.json", '{"threshold": {"value": "Inf", "rule": "youden"}}')
    assert read_facts(tmp_path / "p.csv")["threshold"]["value"] == float("inf")


def test_rows_of_the_run_that_were_scored_again_are_taken_from_the_file(files, tmp_path):
    again = pd.read_csv(files["all"], dtype=str)
    again["score"] = (again["score"].astype(float) * 0.5).astype(str)
    again.to_csv(tmp_path / "again.csv", index=False)
    found = read_predictions([tmp_path / "again.csv"], files["run"])
    assert len(found.table) == len(again)
    assert found.table["score"].tolist() == again["score"].astype(float).tolist()
    with pytest.raises(InputError, match="one row per patient"):
        read_predictions([files["all"], files["run"] / "predictions.csv"])


def test_openings_told_beside_each_file_are_kept(files, tmp_path):
    rows = pd.read_csv(files["test"], dtype=str)
    for split, opened in (("internal_test", 1), ("external_test", 4)):
        rows[rows["split"] == split].to_csv(tmp_path / f"{split}.csv", index=False)
        (tmp_path / f"{split}.json").write_text(json.dumps({"splits": {split: {"opened": opened}}}))
    found = read_predictions([tmp_path / "internal_test.csv", tmp_path / "external_test.csv"], files["run"])
    assert {name: told["opened"] for name, told in found.facts["splits"].items()} == {
        "internal_test": 1,
        "external_test": 4,
    }


def test_a_table_as_excel_saves_it(tmp_path):
    head = "patient_id,center,split,aln_status,score\n"
    plain = f"{head}007,Lyon,val,1,0.25\n8,lyon,val,0,0.5\nNA,LYON,val,,1e-3\n9,Lyon,val,0,0.75\n"
    german = (
        plain.replace(",", ";").replace("0.", "0,").replace("val;;", "val;unknown;").replace("patient_id", "Patient ID")
    )
    path = tmp_path / "german.csv"
    path.write_bytes(("sep=;\r\n" + german.replace("\n", ";;\r\n") + ";;;;;;\r\n").encode("utf-16"))
    tables = [read_predictions([write(tmp_path / "p.csv", plain)]).table, read_predictions([path]).table]
    pd.testing.assert_frame_equal(*tables)
    assert set(tables[0]["center"]) == {"Lyon"}
    path.write_text(plain.replace("0.75", '"1,234"'))
    with pytest.raises(InputError, match="row 5, score = '1,234'"):
        read_predictions([path])


def test_a_file_given_twice_is_refused(tmp_path):
    path = write(tmp_path / "p.csv", "patient_id,aln_status,score\nA,1,0.5\nB,0,0.1\n")
    (tmp_path / "again.csv").symlink_to(path)
    for again in (path, tmp_path / "again.csv"):
        with pytest.raises(InputError, match=f"{again.name}: given twice"):
            read_predictions([path, again])


def test_a_run_beside_predictions_of_several_is_told_what_to_do(tmp_path):
    rows = "run_id,patient_id,split,aln_status,score\n{},{},{},1,0.5\n"
    ensemble = write(tmp_path / "both.csv", rows.format("e" * 12, "a", "external_test"))
    write(tmp_path / "both.json", json.dumps({"run_id": "e" * 12, "members": ["a" * 12, "b" * 12]}))
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "predictions.csv", rows.format("a" * 12, "b", "val"))
    with pytest.raises(InputError, match=r"2 runs as one model .* leave it out; `mammo-aln predict`"):
        read_predictions([ensemble], tmp_path / "run")
