"""The verb: what it writes agrees with `predict`, names no patient where none may be named, and reads no outcome."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.training.train import train_run
from tests.support.run_folders import linked_copy
from tests.support.tiny_settings import TINY, tiny_settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MEASURE = """
const out = [];
for (const frame of document.querySelectorAll('iframe')) {
  const page = frame.contentDocument.documentElement, images = [...frame.contentDocument.images];
  const wide = [...frame.contentDocument.querySelectorAll('body *')].filter(e =>
    e.getBoundingClientRect().right > page.clientWidth + 1 && !e.closest('.scroll'));
  out.push({scroll: page.scrollWidth - page.clientWidth, clipped: wide.length, images: images.length,
    silent: images.filter(i => i.alt.length < 30).length});
}
document.body.innerHTML = '<pre id=result>' + JSON.stringify(out) + '</pre>';
"""


@pytest.fixture(scope="module")
def run(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one test-time copy: what explains must average as `predict` does."""
    settings = tiny_settings("swinv2", fusion="attention")
    settings = replace(settings, data=replace(settings.data, test_time_copies=1))
    return train_run(phantom, tmp_path_factory.mktemp("runs"), settings, store=store)


@pytest.fixture(scope="module")
def page(run: Path, phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explained") / "out"
    words = ["explain", str(phantom), "--run", str(run), "--out", str(out), "--split", "external_test"]
    before = sorted((path.name, path.stat().st_size) for path in (store / "segments").iterdir())
    assert main([*words, "--drawn", "2", "--store", str(store)]) == 0
    after = sorted((path.name, path.stat().st_size) for path in (store / "segments").iterdir())
    kept = [entry for entry in after if entry in before]
    assert kept == before  # what is cut anew never enters the store
    return out / "explain.html"


def test_the_page_is_the_last_line(
    page: Path, run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named patients, identifiers as words behind one flag; all of them drawn."""
    named = pd.read_csv(page.parent / "explained_predictions.csv", dtype=str)["patient_id"].tolist()[:2]
    words = ["explain", "--run", str(run), "--cohort", str(phantom), "--patients", *named, "--out", str(tmp_path)]
    assert main([*words, "--store", str(store)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "explain.html")
    rows = pd.read_csv(tmp_path / "explained_predictions.csv", dtype=str)
    assert rows["patient_id"].tolist() == named
    whole = pd.read_csv(page.parent / "contributions.csv").iloc[:2]
    few = pd.read_csv(tmp_path / "contributions.csv")
    assert np.allclose(few["shapley_logit_axilla"], whole["shapley_logit_axilla"], atol=1e-4)
    drawn = {one["number"] for one in json.loads((tmp_path / "explain.json").read_text())["attribution"]["pictures"]}
    assert drawn == {1, 2}
    assert main([*words[:-5], "--patients", "nobody", "--out", str(tmp_path / "x"), "--store", str(store)]) == 2
    assert "nobody" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_scores_are_those_of_predict_to_the_last_bit(
    page: Path, run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    predicted = pd.read_csv(predict_cohort(run, phantom, tmp_path / "p.csv", split="external_test", store=store))
    explained = pd.read_csv(page.parent / "explained_predictions.csv")
    assert explained["patient_id"].tolist() == predicted["patient_id"].tolist()
    assert np.array_equal(explained["logit"], predicted["logit"])
    assert np.array_equal(explained["score"], predicted["score"])
    jitter = pd.read_csv(page.parent / "jitter.csv")
    score_of = explained.set_index("number")["score"]
    assert np.array_equal(jitter["score"], score_of[jitter["number"]])
    for move in ("smaller", "larger"):  # a window of 5 cm does not follow the size of its box
        assert np.array_equal(jitter[f"score_{move}"], jitter["score"])
    assert (jitter["score_up"] != jitter["score"]).mean() > 0.9
    assert set(jitter["box"]) == {"primary", "axilla"}


@pytest.mark.parametrize("scale", ["logit", "score"])
def test_contributions_add_up(page: Path, scale: str) -> None:
    table = pd.read_csv(page.parent / "contributions.csv")
    parts = table[[f"shapley_{scale}_{name}" for name in ("primary", "axilla", "clinical")]]
    assert np.allclose(parts.sum(axis=1), table[scale] - table[f"{scale}_none"], atol=1e-6)
    features = [name for name in table if name.startswith(f"shapley_{scale}_clinical_")]
    assert len(features) >= 4
    assert np.allclose(table[features].sum(axis=1), table[f"shapley_{scale}_clinical"], atol=1e-6)
    absent = ~table["present_axilla"]
    assert (table.loc[absent, f"shapley_{scale}_axilla"] == 0).all()
    about = json.loads((page.parent / "explain.json").read_text())
    shares = [row["share"]["value"] for row in about["contributions"]["splits"]["external_test"]]
    assert sum(shares) == pytest.approx(1.0)
    size = table[[f"shapley_logit_{name}" for name in about["inputs"]]].abs().mean()
    assert shares == pytest.approx((size / size.sum()).tolist())


def test_no_patient_and_no_path_but_in_the_predictions(page: Path, phantom: Path) -> None:
    images = pd.read_csv(phantom / "images.csv", dtype=str)
    secrets = [*images["patient_id"], *images["image_id"], str(phantom)]
    for path in page.parent.rglob("*"):
        if path.is_dir() or path.name == "explained_predictions.csv":
            continue
        content, inside = path.read_bytes(), rb'"data:[^,"]*;base64,([^"]*)"'
        decoded = [base64.b64decode(uri) for uri in re.findall(inside, content)]
        # Base64 itself is left out: five given letters are found in a long enough text.
        content = b"\n".join([path.name.encode(), re.sub(inside, b"", content), *decoded])
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, (path.name, found[:3])
    assert len(list((page.parent / "attribution").glob("*.png"))) >= 4


def test_outcomes_change_nothing(run: Path, page: Path, phantom: Path, store: Path, tmp_path: Path) -> None:
    cohort = linked_copy(phantom, tmp_path / "blind")
    patients = pd.read_csv(cohort / "patients.csv", dtype=str)
    patients.loc[patients["split"] == "external_test", "aln_status"] = ""
    patients.to_csv(cohort / "patients.csv", index=False)
    words = ["explain", str(cohort), "--run", str(run), "--out", str(tmp_path / "o"), "--split", "external_test"]
    assert main([*words, "--drawn", "0", "--store", str(store)]) == 0
    for name in ("contributions.csv", "jitter.csv", "explained_predictions.csv"):
        assert (tmp_path / "o" / name).read_text() == (page.parent / name).read_text()
    about = json.loads((tmp_path / "o" / "explain.json").read_text())
    assert about["attribution"]["reason"] == "no heat map was asked for"
    assert "aln_status" not in (page.parent / "explained_predictions.csv").read_text()


def test_the_json_says_where_it_comes_from(page: Path, run: Path) -> None:
    import hashlib

    about = json.loads((page.parent / "explain.json").read_text())
    weights = hashlib.sha256((run / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    assert (about["run_id"], about["weights_sha256"], about["schema_version"]) == (run.name, weights, 1)
    assert re.fullmatch("[0-9a-f]{64}", about["recipe_sha256"])
    assert about["jitter"]["shift_mm"] == 2.0
    assert set(about["attribution"]["layers"]) == {"region_0", "region_1"}
    for row in about["contributions"]["splits"]["external_test"]:
        assert row["share"]["ci_low"] <= row["share"]["value"] <= row["share"]["ci_high"]


@pytest.mark.parametrize("backbone", [name for name in TINY if name != "swinv2"])
def test_every_backbone_is_explained(backbone: str, phantom: Path, store: Path, tmp_path: Path) -> None:
    """One crop each; a whole breast, which no drawn box places, is told in words."""
    settings = tiny_settings(backbone, strategy="whole_breast", inputs=("primary",), fusion="gated")
    run = train_run(phantom, tmp_path / "runs", settings, store=store)
    words = ["explain", str(phantom), "--run", str(run), "--out", str(tmp_path / "o"), "--split", "val", "--drawn", "1"]
    assert main([*words, "--store", str(store)]) == 0
    about = json.loads((tmp_path / "o" / "explain.json").read_text())
    assert "whole_breast" in about["jitter"]["reason"]
    assert about["jitter"]["reason"] in (tmp_path / "o" / "explain.html").read_text()
    (row,) = about["contributions"]["splits"]["val"]
    assert row["share"]["value"] == 1.0
    assert about["attribution"]["pictures"]


def test_a_run_without_images(phantom: Path, store: Path, tmp_path: Path) -> None:
    run = train_run(phantom, tmp_path / "runs", tiny_settings(inputs=("clinical",)), store=store)
    assert main(["explain", str(phantom), "--run", str(run), "--out", str(tmp_path / "o")]) == 0
    about = json.loads((tmp_path / "o" / "explain.json").read_text())
    assert about["jitter"]["reason"] == about["attribution"]["reason"] == "the run reads no image"
    assert about["inputs"] == ["clinical"]
    assert set(about["splits"]) >= {"train", "val", "external_test"}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_in_a_browser(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    for link in re.findall(r'(?:src|href|action)="([^"]*)"', text):
        assert link.startswith(("data:", "#")), link[:80]
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(text)}"></iframe>' for width in (1280, 390)
    )
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(f"<!doctype html><body>{frames}<script>onload = () => {{ {MEASURE} }}</script></body>")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-quic"]
    flags += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    flags += ["--virtual-time-budget=4000", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [str(CHROMIUM), *flags, wrapper.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout)
    assert found, done.stderr[-2000:]
    for width in json.loads(html.unescape(found.group(1))):
        assert width["scroll"] <= 0
        assert width["clipped"] == width["silent"] == 0
        assert width["images"] > 8
    assert "CONSOLE" not in done.stderr
