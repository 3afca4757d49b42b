"""The page: whole, self-contained, and right in a browser at desk and phone width."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_curve

import mammo_aln
from mammo_aln.errors import InputError
from mammo_aln.evaluation.cohorts import CohortTable
from mammo_aln.evaluation.compare import compare_files
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Metric, unknown
from mammo_aln.evaluation.report import checklists, plots, words
from tests.support.browser import CHROMIUM, measured

MEASURE = """
const out = {};
for (const frame of document.querySelectorAll('iframe')) {
  const page = frame.contentDocument.documentElement;
  const images = [...frame.contentDocument.images];
  const clipped = [...frame.contentDocument.querySelectorAll('body *')].filter(e =>
    e.getBoundingClientRect().right > page.clientWidth + 1 && !e.closest('.scroll') && !e.closest('details'));
  out[frame.width] = {scroll: page.scrollWidth, client: page.clientWidth, clipped: clipped.length,
    images: images.length, broken: images.filter(i => !i.complete || i.naturalWidth === 0).length,
    silent: images.filter(i => i.alt.length < 30).length};
}
document.body.innerHTML = '<pre id=result>' + JSON.stringify(out) + '</pre>';
"""


@pytest.fixture(scope="module")
def patients(files) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = pd.concat([pd.read_csv(path, dtype=str) for path in (files["run"] / "predictions.csv", files["test"])])
    table = rows[["patient_id", "center", "split"]].assign(aln_status=rows["aln_status"].astype(float), eligible=True)
    n = len(table)
    table["age"] = [str(int(a)) if u > 0.05 else "" for a, u in zip(rng.normal(52, 10, n), rng.random(n), strict=True)]
    table["er"] = rng.choice(["negative", "positive"], n)
    table["scanner"] = np.where(table["center"] == "center_c", "vendor 2", "vendor 1")
    return table


@pytest.fixture(scope="module")
def report(files, patients, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    return evaluate_files(
        [files["test"]], out, run=files["run"], cohorts=[CohortTable("phantom", patients)], resamples=200
    )


def browser(pages: list[Path], tmp_path: Path) -> tuple[dict, str]:
    """Measurements of pages shown 1280 and 390 px wide (a browser window cannot be that narrow, a frame can)."""
    frames = "".join(
        f'<iframe width="{width + place}" height="900" srcdoc="{html.escape(page.read_text())}"></iframe>'
        for place, page in enumerate(pages)
        for width in (1280, 390)
    )
    return measured(frames, MEASURE, tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_pages_in_a_browser(report, files, tmp_path):
    other = pd.read_csv(files["test"])
    other["score"] = 1 - other["score"] * 0.5
    other.to_csv(tmp_path / "other.csv", index=False)
    compared = compare_files(files["test"], [tmp_path / "other.csv"], tmp_path / "compared", resamples=100)
    found, log = browser([report, compared], tmp_path)
    assert len(found) == 4
    for width, page in found.items():
        assert page["scroll"] <= page["client"], width
        assert page["clipped"] == 0, width
        assert page["images"] > 0, width
        assert page["broken"] == page["silent"] == 0, width
    assert "CONSOLE" not in log
    assert found["1280"]["images"] == 18  # 2 ROC, precision-recall, 4 splits x 3, 3 forest plots


def test_the_page_asks_nothing_of_any_server(report):
    text = report.read_text()
    for link in re.findall(r'(?:src|href|action|data|poster)="([^"]*)"', text):
        assert link.startswith(("data:", "#")), link[:80]
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert not re.search(r"url\(|@import", re.sub(r'"data:[^"]*"', "", text))


def test_no_identifier_and_no_path_in_the_report(report, files):
    plain = report.read_text()
    for uri in re.findall(r'"data:[^,"]*;base64,([^"]*)"', plain):
        plain += base64.b64decode(uri).decode()
    for patient in pd.read_csv(files["test"])["patient_id"]:
        assert patient not in plain
    assert str(files["test"].parent) not in plain


def test_downloads_hold_the_files_beside_the_page(report):
    links = dict(re.findall(r'<a download="([^"]*)" href="data:text/csv;base64,([^"]*)"', report.read_text()))
    assert {"figures.csv", "roc.csv", "calibration.csv", "decision_curve.csv", "subgroups.csv"} <= set(links)
    for name in set(links) - {"figures.csv"}:
        assert base64.b64decode(links[name]).decode() == (report.parent / name).read_text()


def test_every_section_has_its_content(report):
    text = report.read_text()
    for expected in (
        "350</b> patients in the table",
        "10 no DM",
        "has been opened 2 times",
        "voi window",
        "spacing_imager_only",
        "Baseline by split",
        "Interaction tests, external test",
        "operations spared per 1,000",
        "TRIPOD+AI",
        "CLAIM 2024",
        "Model card",
    ):
        assert expected in text, expected


def test_paths_from_python_may_be_text(files, tmp_path):
    page = mammo_aln.evaluate(str(files["test"]), str(tmp_path), run=str(files["run"]), resamples=20)
    assert page == tmp_path / "report.html"
    assert page.is_file()


def test_the_flow_has_a_branch_per_source(files, tmp_path):
    """Rows of the test never flow out of the training's steps, nor the other way round."""
    run = tmp_path / "run"
    run.mkdir()
    steps = {"run": [{"step": "in split train, val", "n": 190}], "test": [{"step": "in the test splits", "n": 150}]}
    for source, folder, stem in (("run", run, "predictions"), ("test", tmp_path, "test")):
        origin = files["run"] / "predictions.csv" if source == "run" else files["test"]
        (folder / f"{stem}.csv").write_bytes(origin.read_bytes())
        facts = json.loads(origin.with_suffix(".json").read_text()) | {"cohort_flow": steps[source]}
        (folder / f"{stem}.json").write_text(json.dumps(facts))
    text = evaluate_files([tmp_path / "test.csv"], tmp_path / "out", run=run, resamples=20).read_text()
    learnt_from, tested = re.findall(r'<div class="branch">(.*?)\n</div>\n(?=<div class="branch">|</div>)', text, re.S)
    assert re.findall(r"<b>(\d+)</b>", learnt_from) == ["190", "140", "50"]
    assert re.findall(r"<b>(\d+)</b>", tested) == ["150", "60", "90"]


def test_calls_at_the_threshold_are_counted_on_the_page(report, files):
    rows = pd.read_csv(files["test"]).query("split == 'external_test'").dropna(subset="aln_status")
    called, positive = rows["score"] >= 0.4123, rows["aln_status"] == 1
    counts = [
        (called & positive).sum(),
        (called & ~positive).sum(),
        (~called & positive).sum(),
        (~called & ~positive).sum(),
    ]
    cells = "".join(f"<td>{count}</td>" for count in counts)
    assert f"<td>external test</td>{cells}" in report.read_text()


def test_precision_and_recall_are_those_of_scikit_learn(report, files):
    rows = pd.read_csv(files["test"]).query("split == 'external_test'").dropna(subset="aln_status")
    table = pd.read_csv(report.parent / "precision_recall.csv", keep_default_na=False)
    table = table[(table["split"] == "external_test") & (table["center"] == "")].astype(
        {"sensitivity": float, "ppv": float}
    )
    precision, recall, _ = precision_recall_curve(rows["aln_status"], rows["score"])
    assert table["sensitivity"].tolist() == pytest.approx(recall[-2::-1].tolist())
    assert table["ppv"].tolist() == pytest.approx(precision[-2::-1].tolist())


def test_a_small_split_is_calibrated_in_groups_of_at_least_five(tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"patient_id": [f"p{i}" for i in range(12)], "aln_status": [0, 1] * 6, "score": rng.random(12)})
    rows.to_csv(tmp_path / "p.csv", index=False)
    evaluate_files([tmp_path / "p.csv"], tmp_path / "out", resamples=20)
    bins = pd.read_csv(tmp_path / "out" / "calibration.csv").query("kind == 'bin'")
    assert bins["n"].tolist() == [6, 6]


def test_the_head_of_the_page_names_run_cohort_model_crop_and_day(files, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    settings = {"model": {"backbone": "timm:resnet10t", "inputs": ["clinical", "primary"]}}
    settings["crop"] = {"strategy": "lesion_box", "size_px": 256}
    facts = json.loads(files["test"].with_suffix(".json").read_text()) | {"settings": settings, "cohort": "one"}
    (tmp_path / "test.csv").write_bytes(files["test"].read_bytes())
    (tmp_path / "test.json").write_text(json.dumps(facts))
    (run / "predictions.csv").write_bytes((files["run"] / "predictions.csv").read_bytes())
    (run / "state.json").write_text(json.dumps({"ended": "2026-03-04T05:06:07+00:00"}))
    text = evaluate_files([tmp_path / "test.csv"], tmp_path / "out", run=run, resamples=20).read_text()
    head = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text[: text.index("<nav")]))
    assert head == {
        "run": "r1",
        "trained": "2026-03-04",
        "cohort": "one",
        "model": "timm:resnet10t",
        "reads": "the main crop, clinical features",
        "crop": "lesion_box, 256 px",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.15500000000000003, "0.155"),
        (["auxiliary", "primary"], "auxiliary, primary"),
        ({"min": 1685.0, "max": 2091.5}, "1685 to 2091.5"),
        (False, "no"),
        (None, "none"),
        ({"drop_rate": 0.1}, "drop rate 0.1"),
    ],
)
def test_settings_are_written_as_people_write_them(value, text):
    assert words.plain(value) == text


def test_json_and_tables(report):
    metrics = json.loads((report.parent / "metrics.json").read_text())
    assert set(metrics["subgroups"]) == {"internal_test", "external_test"}
    assert {row["split"] for row in metrics["operations_spared"]} == {"internal_test", "external_test"}
    roc = pd.read_csv(report.parent / "roc.csv", keep_default_na=False)
    external = roc[(roc["split"] == "external_test") & (roc["center"] == "")].astype({"sensitivity": float})
    assert external["threshold"].iloc[[0, -1]].tolist() == [-np.inf, np.inf]
    assert (report.parent / "roc.csv").read_text().splitlines()[1].split(",")[2] == "-Inf"
    area = -np.trapezoid(external["sensitivity"], 1 - external["specificity"].astype(float))
    assert area == pytest.approx(metrics["splits"]["external_test"]["auc"]["value"])
    curve = pd.read_csv(report.parent / "decision_curve.csv")
    assert (curve.groupby(["split", "center"], dropna=False).size() == 99).all()
    bins = pd.read_csv(report.parent / "calibration.csv").query("kind == 'bin' and split == 'external_test'")
    assert bins["n"].sum() == metrics["splits"]["external_test"]["n"]["value"]


def test_centre_shift_sees_a_scanner_that_names_the_centre(report):
    shift = json.loads((report.parent / "metrics.json").read_text())["centre_shift"]
    assert {row["features"] for row in shift} == {"clinical features"}
    assert next(row["auc"] for row in shift if row["center"] == "center_c") > 0.95


def test_same_input_same_bytes(files, tmp_path):
    pages = [evaluate_files([files["test"]], tmp_path / name, resamples=100) for name in ("one", "two")]
    figures = sorted(path.name for path in (pages[0].parent / "figures").iterdir())
    assert {"roc_curves_by_split.svg", "roc_curves_by_split.pdf", "precision_recall_curves.pdf"} <= set(figures)
    assert sum(name.endswith(".svg") for name in figures) == sum(name.endswith(".pdf") for name in figures)
    tables = ("metrics.json", "roc.csv", "calibration.csv", "decision_curve.csv")
    for name in ("report.html", *tables, *(f"figures/{name}" for name in figures)):
        assert (pages[0].parent / name).read_bytes() == (pages[1].parent / name).read_bytes()


@pytest.mark.parametrize(
    "rows",
    ["a,1,0.4\nb,1,0.6\n", "a,1,2.5\nb,0,-3\nc,1,0.1\nd,0,7\n", "a,,0.4\nb,,0.6\n", "a,1,0.4\n", "a,0,0.5\nb,1,0.5\n"],
    ids=["one class", "no probabilities", "no outcome", "one patient", "equal scores"],
)
def test_poor_data_still_make_a_page(tmp_path, rows):
    path = tmp_path / "p.csv"
    path.write_text("patient_id,aln_status,score\n" + rows)
    page = evaluate_files([path], tmp_path / "out", resamples=50)
    assert "unknown" in page.read_text() or "discrimination alone" in page.read_text() or "AUC" in page.read_text()
    json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(pd.read_csv(tmp_path / "out" / "roc.csv").columns)[:3] == ["split", "center", "threshold"]


def test_nothing_is_written_for_a_bad_table(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("patient_id,aln_status,score\na,5,0.4\n")
    with pytest.raises(InputError):
        evaluate_files([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_patients_of_another_cohort_are_refused(files, patients, tmp_path):
    with pytest.raises(InputError, match="another cohort"):
        evaluate_files(
            [files["test"]], tmp_path / "out", cohorts=[CohortTable("x", patients.assign(patient_id="x"))], resamples=50
        )
    assert not (tmp_path / "out").exists()


def test_checklists_are_whole_and_honest():
    claim, tripod = checklists.checklist("CLAIM 2024"), checklists.checklist("TRIPOD+AI")
    numbers = [item.number for item in claim]
    assert numbers == [str(i) for i in range(1, 45)]
    assert {re.match(r"\d+", item.number).group() for item in tripod} == {str(i) for i in range(1, 28)}
    keys = {item.answer for item in (*tripod, *claim)} - {""}
    bare = {"n": Metric(3), "n_positive": Metric(1), "threshold": unknown("none")}
    judgement = Judgement(["p.csv"], {"all": bare}, {}, [], [])
    known = checklists.answers({}, judgement, unknown("one centre"), None)
    assert set(known) < keys
    assert {"threshold", "baseline", "external", "model", "flow"}.isdisjoint(known)


def test_the_longest_useful_range_is_told_not_the_hull():
    model = [0.1, 0.3, 0.3, 0.3, -0.1, 0.2]
    data = pd.DataFrame({"threshold": np.arange(1, 7) / 100, "model": model, "treat_all": [0.2, 0.2, 0.1, 0, 0, 0]})
    assert plots.useful_range(data).endswith("from 2 % to 4 %")


def test_the_vendor_of_the_images_is_a_subgroup_and_stands_in_the_centre_profile(files, tmp_path):
    rows = pd.read_csv(files["all"], dtype={"patient_id": str})
    patients = rows[["patient_id", "center", "aln_status"]].assign(age=np.arange(len(rows)) % 40 + 30)
    acquisition = rows[["patient_id"]].assign(vendor=["one", "two"] * (len(rows) // 2), VOI="none")
    cohort = CohortTable("phantom", patients, acquisition=acquisition.iloc[::-1])
    page = evaluate_files([files["all"]], tmp_path, cohorts=[cohort], resamples=50)
    found = json.loads((tmp_path / "metrics.json").read_text())["subgroups"]["external_test"]
    vendors = {row["level"]: row for row in found if row["feature"] == "vendor"}
    external = rows[(rows["split"] == "external_test") & rows["aln_status"].notna()]
    assert vendors["one"]["n"]["value"] == int((external.index % 2 == 0).sum())
    assert vendors["one"]["n"]["value"] + vendors["two"]["n"]["value"] == len(external)
    profile = pd.read_csv(tmp_path / "centre_profile.csv")
    assert ("vendor", "one") in set(zip(profile["feature"], profile["level"], strict=True))
    assert "How the centres differ" in page.read_text()
