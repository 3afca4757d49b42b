"""Labels and figures of the signatures' page, read as a person reads them."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest

from mammo_aln.radiomics.signatures import figures
from mammo_aln.radiomics.signatures.clinical_model import Term, fit_terms
from mammo_aln.radiomics.signatures.labels import label, term_label, wrapped
from mammo_aln.radiomics.signatures.nomogram import build_nomogram

LONG = "radiomics_pre_t2w_lesion-ring3mm_wavelet_LLH_cm_inv_diff_mom_norm"


@pytest.mark.parametrize(
    ("variable", "term", "expected"),
    [
        ("her2_status", "her2_statuspositive", "HER2 status: positive"),
        ("age", "age", "age"),
        ("ki67_missing", "ki67_missing", "Ki-67 missing"),
        ("radiomics score", "radiomics score", "radiomics score"),
    ],
)
def test_a_level_is_named_against_its_variable(variable: str, term: str, expected: str) -> None:
    assert term_label(variable, term) == expected


def test_a_long_feature_is_wrapped_and_nothing_of_it_is_left_out() -> None:
    assert wrapped(LONG).replace("\n", " ") == label(LONG) == "pre T2w lesion-ring3mm wavelet LLH cm inv diff mom norm"
    assert max(map(len, wrapped(LONG).split("\n"))) <= 42
    table = pd.DataFrame({"feature": [LONG], "frequency": [0.5], "selected": [True]})
    drawn = base64.b64decode(figures.frequencies(table, "t", 0.5).uri.split(",", 1)[1]).decode()
    assert all(f"<!-- {line} -->" in drawn for line in wrapped(LONG).split("\n"))


def test_a_score_of_few_values_has_round_ticks_and_a_count_its_own() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"score": np.tile([-3.51262, -0.257492, 0.4], 40), "nodes": np.tile([0.0, 1.0, 3.0], 40)})
    labels = (rng.random(120) < 1 / (1 + np.exp(-table["score"]))).to_numpy(float)
    layout = build_nomogram(fit_terms(table, labels, [Term("score"), Term("nodes")]), table)
    assert layout is not None
    score, nodes = layout.axes
    assert np.allclose(np.diff(score.ticks), 0.5)
    assert np.allclose(np.array(score.ticks) % 0.5, 0)
    assert nodes.ticks == (0.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("deviance", "expected"),
    [([1.0, 1.2, 1.3], "largest penalty"), ([1.3, 1.0, 1.2], ""), ([1.3, 1.2, 1.0], "smallest penalty")],
)
def test_a_minimum_at_the_edge_of_the_path_is_said(deviance: list[float], expected: str) -> None:
    table = pd.DataFrame({"penalty": [0.1, 0.05, 0.01], "deviance": deviance, "se": 0.1, "features": [0, 2, 5]})
    text = figures.lasso_curve(table, 1, "LASSO").alt
    assert expected in text if expected else "penalty" not in text
