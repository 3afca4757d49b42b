"""A table of features in any usual writing reads alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mammo_aln.errors import InputError
from mammo_aln.radiomics.signatures.feature_table import read_features

PATIENTS = pd.DataFrame({"unit_id": ["a", "b", "c"], "patient_id": ["a", "b", "c"], "side": [np.nan] * 3})
PLAIN = "patient_id,radiomics_x,deep_y\na,1.5,-2\nb,,3\nc,0.25,unknown\n"


def test_semicolons_commas_and_words_for_missing(tmp_path):
    path = tmp_path / "features.csv"
    path.write_text(PLAIN)
    expected = read_features(path, PATIENTS)
    np.testing.assert_array_equal(expected.to_numpy(), [[1.5, -2], [np.nan, 3], [0.25, np.nan]])
    german = PLAIN.replace(",", ";").replace(".", ",").replace("b;;", "b;N/A;").replace("patient_id", "Patient_ID")
    path.write_text(german, encoding="utf-16")
    pd.testing.assert_frame_equal(read_features(path, PATIENTS), expected)
    path.write_text(PLAIN.replace("1.5", '"1,234"'))
    with pytest.raises(InputError, match="row 2, radiomics_x = '1,234'"):
        read_features(path, PATIENTS)
