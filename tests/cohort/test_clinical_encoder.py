from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.tables import ClinicalFeature, read_cohort
from mammo_aln.errors import InputError

AGE = ClinicalFeature("age", "continuous", unit="years")
CT = ClinicalFeature("ct", "ordinal", ("1", "2", "3", "4"))
HER2 = ClinicalFeature("her2", "categorical")
FEATURES = {feature.name: feature for feature in (AGE, CT, HER2)}
TRAINING = pd.DataFrame(
    {"age": [40.0, np.nan, 50.0, 90.0], "ct": ["1", "2", "4", "2"], "her2": ["no", "yes", np.nan, "no"]}, dtype=object
)


def test_values_by_hand():
    encoder = ClinicalEncoder.fit(FEATURES, TRAINING)
    assert encoder.columns == ("age", "age_missing", "ct", "her2=no", "her2=yes", "her2_missing")
    encoded = encoder.encode(TRAINING)
    assert encoded.dtype == np.float32
    age = np.array(
        [40, 50, 50, 90]
    )  # median of 40, 50, 90 where missing; mean 57.5, variance (306.25+56.25*2+1056.25)/4
    np.testing.assert_allclose(encoded[:, 0], (age - 57.5) / np.sqrt(368.75), rtol=1e-6)
    np.testing.assert_array_equal(encoded[:, 1], [0, 1, 0, 0])
    np.testing.assert_allclose(encoded[:, 2], (np.array([0, 1, 3, 1]) - 1.25) / np.sqrt(1.1875), rtol=1e-6)
    np.testing.assert_array_equal(encoded[:, 3:], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_other_patients_change_nothing_and_unknown_levels_are_zeros_and_counted(capsys):
    encoder = ClinicalEncoder.fit(FEATURES, TRAINING)
    others = pd.DataFrame({"age": ["57.5", ""], "ct": ["3", np.nan], "her2": ["equivocal", "yes"]}, dtype=object)
    others = others.replace("", np.nan)
    encoded = encoder.encode(others)
    assert encoded[0, 0] == 0  # the training mean, read from text as in a cohort that declares no features
    np.testing.assert_array_equal(encoded[0, 3:], [0, 0, 0])
    assert encoded[1, 1] == 1
    assert np.isfinite(encoded).all()
    assert encoder.unknown_levels(others) == {"her2": 1}
    assert "her2 (1)" in capsys.readouterr().err


def test_declared_levels_need_not_be_seen():
    declared = {"her2": ClinicalFeature("her2", "categorical", ("no", "yes", "low"))}
    assert ClinicalEncoder.fit(declared, TRAINING).columns == ("her2=no", "her2=yes", "her2=low", "her2_missing")


def test_a_constant_feature_gives_zeros():
    table = pd.DataFrame({"age": [0.1 + 0.2, 0.3, 0.3]})
    encoder = ClinicalEncoder.fit({"age": AGE}, table)
    np.testing.assert_allclose(encoder.encode(table), 0, atol=1e-6)


def test_no_features_give_no_columns():
    encoder = ClinicalEncoder.fit({}, TRAINING)
    assert encoder.encode(TRAINING).shape == (4, 0)


def test_state_is_plain_and_complete():
    encoder = ClinicalEncoder.fit(FEATURES, TRAINING)
    again = ClinicalEncoder.from_state(json.loads(json.dumps(encoder.to_state())))
    np.testing.assert_array_equal(again.encode(TRAINING), encoder.encode(TRAINING))
    assert again.columns == encoder.columns


@pytest.mark.parametrize("allow", [False, True])
def test_the_outcome_is_never_an_input(allow):
    rcb = {"rcb": ClinicalFeature("rcb", "continuous", known_at="post_surgery")}
    with pytest.raises(InputError, match="rcb: known_at is post_surgery"):
        ClinicalEncoder.fit(rcb, pd.DataFrame({"rcb": [1.0, 2.0]}), allow_post_nat=allow)


def test_post_nat_only_where_allowed():
    late = {"ld": ClinicalFeature("ld", "continuous", known_at="post_nat")}
    table = pd.DataFrame({"ld": [1.0, 2.0]})
    with pytest.raises(InputError, match="ld: known_at is post_nat"):
        ClinicalEncoder.fit(late, table)
    encoder = ClinicalEncoder.fit(late, table, allow_post_nat=True)
    assert ClinicalEncoder.from_state(encoder.to_state()).columns == ("ld",)
    with pytest.raises(InputError, match="post_nat"):
        ClinicalEncoder.from_state({**encoder.to_state(), "allow_post_nat": False})


def test_bad_columns_are_told():
    encoder = ClinicalEncoder.fit(FEATURES, TRAINING)
    with pytest.raises(InputError, match="ct: the patients' table has no such column"):
        encoder.encode(TRAINING.drop(columns="ct"))
    with pytest.raises(InputError, match="ct = '5': expected one of its levels 1, 2, 3, 4"):
        encoder.encode(TRAINING.assign(ct="5"))
    with pytest.raises(InputError, match="age = 'old': expected a finite number"):
        encoder.encode(TRAINING.assign(age="old"))
    with pytest.raises(InputError, match=r"age = 1e\+300: expected a number of at most 1e\+12"):
        encoder.encode(TRAINING.assign(age="1e+300"))
    with pytest.raises(InputError, match="age: no training patient has a value"):
        ClinicalEncoder.fit(FEATURES, TRAINING.assign(age=np.nan))


def test_real_tables_ispy2_to_ispy1(tmp_path):
    data = Path(__file__).parent / "data"
    two = pd.read_csv(data / "ispy2_excerpt.csv", dtype=str)
    one = pd.read_csv(data / "ispy1_excerpt.csv", dtype=str)
    names = {"pid": "patient_id", "SUBJECTID": "patient_id", "pCR": "pcr", "PCR": "pcr", "HR": "hr", "HR+": "hr"}
    yaml = (
        "label: {column: residual, meaning: 1 = residual disease}\nclinical:\n"
        "  age: {kind: continuous, unit: years}\n  hr: {kind: categorical, levels: [0, 1]}\n"
    )
    cohorts = []
    for name, table in (("two", two), ("one", one)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "cohort.yaml").write_text(yaml)
        table = table.rename(columns=names).replace({"Yes": "1", "No": "0"})
        table.assign(center=name, residual=table["pcr"].map({"1": "0", "0": "1"})).to_csv(
            folder / "patients.csv", index=False
        )
        cohorts.append(read_cohort(folder, need=("patients",)))
    training, external = (cohort.patients for cohort in cohorts)
    assert training["age"].isna().sum() == 3
    encoder = ClinicalEncoder.fit(cohorts[0].clinical, training)
    assert encoder.columns == ("age", "age_missing", "hr=0", "hr=1")
    ages = training["age"].to_numpy(float)
    ages = np.where(np.isnan(ages), np.nanmedian(ages), ages)
    expected = (external["age"].to_numpy(float) - ages.mean()) / ages.std()
    np.testing.assert_allclose(encoder.encode(external)[:, 0], expected, rtol=1e-5)
    assert encoder.encode(external)[:, 2:].sum() == len(external)
