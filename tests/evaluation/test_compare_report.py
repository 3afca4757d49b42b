"""`compare`: files of the same patients side by side."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats.multitest import multipletests

from mammo_aln.errors import InputError
from mammo_aln.evaluation.compare import Link, Source, compare_files
from mammo_aln.evaluation.report.multiples import multiples
from tests.support.prediction_files import FACTS


@pytest.fixture
def three(files, tmp_path):
    rows = pd.read_csv(files["test"], dtype={"patient_id": str})
    rng = np.random.default_rng(0)
    paths = {}
    for name, share in (("worse", 0.7), ("chance", 1.0)):
        noisy = rows.assign(score=(1 - share) * rows["score"] + share * rng.random(len(rows)), run_id=name)
        paths[name] = tmp_path / f"{name}.csv"
        noisy.sample(frac=1, random_state=1).to_csv(paths[name], index=False)
        (tmp_path / f"{name}.json").write_text(json.dumps({"threshold": {"value": 0.5, "rule": "youden"}}))
    return files["test"], paths


def test_one_entry_per_pair_and_split(three, tmp_path):
    reference, paths = three
    page = compare_files(reference, list(paths.values()), tmp_path / "out", resamples=500)
    entries = json.loads((page.parent / "comparisons.json").read_text())
    assert [(e["reference"], e["other"], e["split"]) for e in entries] == [
        ("test", "worse", "internal_test"),
        ("test", "worse", "external_test"),
        ("test", "chance", "internal_test"),
        ("test", "chance", "external_test"),
    ]
    for entry in entries:
        difference = entry["auc_difference"]
        assert difference["value"] == pytest.approx(difference["auc_other"] - difference["auc_reference"])
        assert difference["value"] < 0
        assert entry["delong_z"]["value"] < 0
        assert entry["idi"]["value"] < 0
        assert entry["nri_continuous"]["ci_low"] < entry["nri_continuous"]["value"]
        assert 0 <= entry["mcnemar_p"]["value"] <= 1
        assert entry["auc_difference_bootstrap"]["value"] == pytest.approx(difference["value"])
        assert entry["auc_difference_bootstrap"]["se"] == pytest.approx(difference["se"], rel=0.2)
    for split in ("internal_test", "external_test"):
        raw, adjusted = (
            sorted(e[key]["value"] for e in entries if e["split"] == split) for key in ("delong_p", "delong_p_holm")
        )
        assert adjusted == pytest.approx([min(1, 2 * raw[0]), max(raw[1], min(1, 2 * raw[0]))])
    ladder = pd.read_csv(page.parent / "ladder.csv")
    assert ladder["before"].fillna("").tolist() == ["", "", "test", "test", "worse", "worse"]


def test_a_model_against_itself(three, tmp_path):
    reference, _ = three
    copy = tmp_path / "copy.csv"
    copy.write_bytes(reference.read_bytes())
    compare_files(reference, [copy], tmp_path / "out", resamples=50)
    for entry in json.loads((tmp_path / "out" / "comparisons.json").read_text()):
        assert (entry["delong_z"]["value"], entry["delong_p"]["value"]) == (0.0, 1.0)
        assert entry["nri_continuous"]["value"] == entry["idi"]["value"] == 0.0
        assert entry["mcnemar_p"]["value"] is None
        assert entry["mcnemar_p"]["reason"]
        for name in ("kappa", "idi", "nri_continuous"):
            assert entry[name].get("ci_low") is entry[name].get("ci_high") is None
            assert entry[name]["reason"]


def test_a_model_that_moves_nobody_has_no_interval_on_the_page(three, tmp_path):
    """Limits of 0.000 to 0.000 would look exact; the standard error of 0 says nothing."""
    reference, _ = three
    copy = tmp_path / "copy.csv"
    copy.write_bytes(reference.read_bytes())
    page = compare_files(reference, [copy], tmp_path / "out", resamples=50)
    assert "0.000 (no interval)" in page.read_text()
    assert "0.000 (0.000 to 0.000)</td>\n" not in page.read_text().split("<h2>Differences</h2>")[1].split("NRI")[1]
    assert not (tmp_path / "out" / "ladder.csv").exists()


def test_two_readers_agree_as_kappa_and_icc_say(three, tmp_path):
    reference, _ = three
    rows = pd.read_csv(reference, dtype={"patient_id": str}).dropna(subset="aln_status")
    rng = np.random.default_rng(2)
    ratings = {}
    for name, spread in (("first", 0.1), ("second", 0.25)):
        noisy = rows["score"] + rng.normal(scale=spread, size=len(rows))
        ratings[name] = np.clip(np.floor(noisy * 5), 0, 4).astype(int) + 1
        columns = rows[["patient_id", "center", "split", "aln_status"]].assign(score=ratings[name])
        columns.to_csv(tmp_path / f"{name}.csv", index=False)
        (tmp_path / f"{name}.json").write_text(json.dumps({"threshold": {"value": 4, "rule": "stated by the reader"}}))
    page = compare_files(tmp_path / "first.csv", [tmp_path / "second.csv"], tmp_path / "out", resamples=20)
    for entry in json.loads((page.parent / "comparisons.json").read_text()):
        chosen = rows["split"] == entry["split"]
        first, second = (ratings[name][chosen] for name in ("first", "second"))
        assert entry["kappa"]["value"] == pytest.approx(cohen_kappa_score(first >= 4, second >= 4))
        assert entry["kappa"]["ci_low"] < entry["kappa"]["value"] < entry["kappa"]["ci_high"]
        assert entry["kappa_weighted"]["value"] == pytest.approx(cohen_kappa_score(first, second, weights="quadratic"))
        assert entry["icc"]["ci_low"] < entry["icc"]["value"] < entry["icc"]["ci_high"]
    assert "Agreement with the reference" in page.read_text()


def test_a_reader_with_ratings_is_one_more_model(three, tmp_path):
    reference, _ = three
    rows = pd.read_csv(reference, dtype={"patient_id": str})
    rows["score"] = np.clip(np.round(rows["score"] * 5), 1, 5)
    rows[["patient_id", "split", "aln_status", "score"]].to_csv(tmp_path / "reader.csv", index=False)
    compare_files(reference, [tmp_path / "reader.csv"], tmp_path / "out", resamples=50)
    for entry in json.loads((tmp_path / "out" / "comparisons.json").read_text()):
        assert entry["auc_difference"]["value"] is not None
        assert "no probabilities" in entry["idi"]["reason"]
        assert "no frozen threshold" in entry["mcnemar_p"]["reason"]


def test_what_cannot_be_compared_is_refused(three, tmp_path):
    reference, _ = three
    rows = pd.read_csv(reference, dtype={"patient_id": str})
    cases = {
        "no patient in common": rows.assign(patient_id="x" + rows["patient_id"]),
        "share no split": rows.assign(split="cv"),
        "another aln_status": rows.assign(aln_status=1 - rows["aln_status"]),
    }
    for message, table in cases.items():
        table.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(InputError, match=message):
            compare_files(reference, [tmp_path / "bad.csv"], tmp_path / "out")
    with pytest.raises(InputError, match="at least one other"):
        compare_files(reference, [], tmp_path / "out")
    with pytest.raises(InputError, match="same name"):
        compare_files(reference, [reference], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_patients_in_one_file_only_are_told_and_left_out(three, tmp_path, capsys):
    reference, _ = three
    pd.read_csv(reference, dtype={"patient_id": str}).iloc[5:].to_csv(tmp_path / "fewer.csv", index=False)
    compare_files(reference, [tmp_path / "fewer.csv"], tmp_path / "out", resamples=50)
    assert "5 patients only in test" in capsys.readouterr().err


@pytest.mark.parametrize("levels", [2, 5])
def test_a_human_reader_is_one_more_model(files, tmp_path, capsys, levels):
    """A radiologist's 0/1 call or 1-5 suspicion of the external patients: `patient_id`, `aln_status`, `score` alone."""
    rows = pd.read_csv(files["test"], dtype=str)
    read = rows[rows["split"] == "external_test"].copy()
    read["model"] = read["score"].astype(float)
    noisy = read["model"] + np.random.default_rng(0).normal(scale=0.2, size=len(read))
    first = 0 if levels == 2 else 1
    read["score"] = np.clip(np.floor(noisy * levels), 0, levels - 1).astype(int) + first
    stranger = pd.DataFrame({"patient_id": ["nobody"], "aln_status": ["1"], "score": [first]})
    table = pd.concat([read[["patient_id", "aln_status", "score"]], stranger])
    table.to_csv(tmp_path / "reader.csv", index=False)
    cut = 0.5 if levels == 2 else 4
    (tmp_path / "reader.json").write_text(json.dumps({"threshold": {"value": cut, "rule": "stated by the reader"}}))
    page = compare_files(files["test"], [tmp_path / "reader.csv"], tmp_path / "out", resamples=200)
    assert "1 patients of reader are not in test" in capsys.readouterr().err
    (entry,) = json.loads((page.parent / "comparisons.json").read_text())
    assert (entry["other"], entry["split"]) == ("reader", "external_test")
    known = read[read["aln_status"].notna()]
    assert entry["n"]["value"] == len(known)
    expected = roc_auc_score(known["aln_status"].astype(int), known["score"])
    assert entry["auc_difference"]["auc_other"] == pytest.approx(expected)
    assert 0 <= entry["mcnemar_p"]["value"] <= 1
    wrong_reader = int(((known["score"] >= cut) != (known["aln_status"] == "1")).sum())
    wrong_model = int(((known["model"] >= FACTS["threshold"]["value"]) != (known["aln_status"] == "1")).sum())
    assert entry["mcnemar_p"]["b"] - entry["mcnemar_p"]["c"] == wrong_reader - wrong_model
    for name in ("idi", "nri_continuous", "nri_categorical"):
        assert (entry[name]["value"] is None) == (levels == 5)


def test_a_reader_whose_patients_cannot_be_told_apart_is_refused(files, tmp_path):
    rows = pd.read_csv(files["test"], dtype=str)[["patient_id", "aln_status", "score"]]
    pd.concat([rows, rows.head(1)]).assign(center=[*["c"] * len(rows), "d"]).to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(InputError):
        compare_files(files["test"], [tmp_path / "r.csv"], tmp_path / "out", resamples=20)


def test_the_ladders_p_values_are_corrected_over_its_steps(three, tmp_path):
    reference, paths = three
    page = compare_files(reference, list(paths.values()), tmp_path / "out", resamples=20)
    ladder = pd.read_csv(page.parent / "ladder.csv")
    for _, steps in ladder.dropna(subset="delong_p").groupby("split"):
        assert len(steps) == 2
        expected = multipletests(steps["delong_p"], method="holm")[1]
        assert steps["delong_p_holm"].tolist() == pytest.approx(expected.tolist())
    assert ladder.loc[ladder["before"].isna(), "delong_p_holm"].isna().all()


def test_the_page_shows_where_its_models_come_from_and_its_policy_lets_its_one_script_run(three, tmp_path):
    reference, paths = three
    curves = multiples([("worse", [[0.5, 0.7], [0.4, 0.6]]), ("chance", [[0.5, 0.5]])])
    runs = {"worse": [Link("0" * 12, "../runs/000000000000/")]}
    source = Source("Sweep s of cohort c", [Link("Choice", "../choice.html")], runs, curves)
    page = compare_files(reference, list(paths.values()), tmp_path / "out", resamples=20, source=source).read_text()
    assert "<title>Sweep s of cohort c: models compared</title>" in page
    for part in ('<a href="../choice.html">Choice</a>', '<a href="../runs/000000000000/">', '<a href="#curves">'):
        assert part in page
    assert page.count("<polyline") == 3
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    plain = compare_files(reference, list(paths.values()), tmp_path / "plain", resamples=20).read_text()
    assert "<title>Models compared</title>" in plain
    assert "Learning curves" not in plain


def test_of_five_patients_limits_stay_within_one_and_the_page_warns_of_p(tmp_path):
    """Three with and two without: an exact test of one AUC cannot come below 0.2, DeLong's p can."""
    table = pd.DataFrame({"patient_id": list("abcde"), "aln_status": [1, 1, 1, 0, 0], "split": "test"})
    table.assign(score=[0.1, 0.6, 0.3, 0.4, 0.9]).to_csv(tmp_path / "one.csv", index=False)
    table.assign(score=[0.9, 0.8, 0.7, 0.2, 0.1]).to_csv(tmp_path / "two.csv", index=False)
    page = compare_files(tmp_path / "one.csv", [tmp_path / "two.csv"], tmp_path / "out", ladder=True, resamples=200)
    (pair,) = json.loads((tmp_path / "out" / "comparisons.json").read_text())
    difference = pair["auc_difference"]
    assert difference["value"] + 1.96 * difference["se"] > 1
    assert difference["ci_high"] == 1
    assert "fewer than 10 patients of one outcome" in pair["delong_p"]["note"]
    assert "fewer than 10 patients of one outcome" in page.read_text()
    assert "fewer than 10" in pd.read_csv(tmp_path / "out" / "ladder.csv")["note"].iloc[1]
