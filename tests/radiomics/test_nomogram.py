"""Nomograms of awkward tables: no effect at all, ordinals with gaps, ordinals of many levels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.radiomics.signatures import figures
from mammo_aln.radiomics.signatures.clinical_model import Term, fit_terms
from mammo_aln.radiomics.signatures.clinical_table import ClinicalTable
from mammo_aln.radiomics.signatures.nomogram import build_nomogram


def test_without_any_effect_there_is_no_nomogram():
    table, labels = pd.DataFrame({"age": np.repeat([1.0, 2.0], 20)}), np.tile([0.0, 1.0], 20)
    assert build_nomogram(fit_terms(table, labels, [Term("age")]), table) is None
    flat = table.assign(age=1.0)
    assert build_nomogram(fit_terms(flat, labels, [Term("age")]), flat) is None


def test_a_gap_in_an_ordinal_gets_a_level_that_exists():
    feature = ClinicalFeature("ct", "ordinal", ("T1", "T2", "T3"))
    training = pd.DataFrame({"ct": ["T1", "T1", "T2", "T2", None]})
    assert ClinicalTable([feature], training).encode(training)["ct"].tolist() == [0.0, 0.0, 1.0, 1.0, 0.0]


def test_ticks_of_an_ordinal_with_many_levels_are_its_places():
    names = tuple(f"L{place}" for place in range(16))
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"grade": np.tile(np.arange(16.0), 10)})
    labels = (rng.random(160) < 1 / (1 + np.exp(-0.3 * (table["grade"] - 8)))).to_numpy(float)
    layout = build_nomogram(fit_terms(table, labels, [Term("grade")]), table, ordinals=["grade"])
    assert layout is not None
    assert layout.axes[0].ticks == tuple(range(16))
    assert figures.nomogram(layout, "Nomogram", {"grade": names}).uri
