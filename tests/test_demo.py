"""The demo's last sentence, whatever its few patients allow to say."""

from __future__ import annotations

from mammo_aln.demo import auc_in_words
from mammo_aln.evaluation.judge import judge
from mammo_aln.evaluation.predictions import read_predictions


def test_the_auc_is_told_with_its_interval_or_with_the_reason(tmp_path) -> None:
    told = []
    for labels in ("0011", "0001", "1111", "0101"):
        rows = [f"p{i},{label},0.{i + 1}" for i, label in enumerate(labels)]
        (tmp_path / "p.csv").write_text("\n".join(["patient_id,aln_status,score", *rows]))
        metrics = judge(read_predictions([tmp_path / "p.csv"]), resamples=20).to_json()
        told.append(auc_in_words(metrics["splits"]["all"]))
    assert told[0] == "AUC 1.000 (95 % CI 0.158 to 1.000, Clopper-Pearson on disjoint pairs)"
    assert told[1] == "AUC 1.000 (95 % CI 0.025 to 1.000, Clopper-Pearson on disjoint pairs)"
    assert told[2] == "AUC unknown (both outcomes are needed; 4 of 4 labelled patients are positive)"
    # as the report's head has it: metrics.json holds DeLong's own limits too
    assert told[3] == "AUC 0.750 (95 % CI 0.069 to 0.992, DeLong on the logit scale)"
