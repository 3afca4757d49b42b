"""Pages of a run name the outcome that it learnt, and no other one."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from mammo_aln.cli import main
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.training.train import train_run
from tests.support.run_folders import linked_copy
from tests.support.tiny_settings import tiny_settings


def test_pages_of_a_run_on_malignancy_speak_of_nothing_else(phantom: Path, store: Path, tmp_path: Path) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    declared = yaml.safe_load((cohort / "cohort.yaml").read_text())
    declared["label"]["meaning"] = "1 = malignant, 0 = benign"
    (cohort / "cohort.yaml").unlink()
    (cohort / "cohort.yaml").write_text(yaml.safe_dump(declared))
    run = train_run(cohort, tmp_path / "runs", tiny_settings(), store=store)
    out = predict_cohort(run, cohort, tmp_path / "p.csv", split="external_test", store=store)
    judged, explained = tmp_path / "judged", tmp_path / "explained"
    words = ["--cohort", str(cohort), "--run", str(run)]
    assert main(["evaluate", str(out), *words, "--out", str(judged), "--resamples=20"]) == 0
    split = ["--split", "external_test", "--drawn", "1", "--store", str(store)]
    assert main(["explain", *words, *split, "--out", str(explained)]) == 0
    outcome = "aln_status = 1 (1 = malignant, 0 = benign)"
    for page in (judged / "report.html", explained / "explain.html"):
        text = page.read_text()
        assert outcome in text
        for other in ("residual", "ypn0", "ypn+", "nodal disease"):
            assert other not in text.lower()
    for file in (*judged.glob("*.csv"), judged / "metrics.json", explained / "explain.json", out.with_suffix(".json")):
        assert "residual" not in file.read_text()
    for path in (out.with_suffix(".json"), run / "predictions.json"):
        assert json.loads(path.read_text())["outcome"]["words"] == outcome
