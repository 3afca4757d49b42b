"""Selection steps, ComBat and stability against planted truths and second computations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from mammo_aln.radiomics.signatures.classifiers import CLASSIFIERS, log_odds
from mammo_aln.radiomics.signatures.combat import ComBat
from mammo_aln.radiomics.signatures.lasso import cross_validate, lasso_path
from mammo_aln.radiomics.signatures.selection import (
    LassoFilter,
    RankTestFilter,
    RedundancyFilter,
    RepeatFilter,
    VarianceFilter,
    ZScore,
    _dealt,
    selection_steps,
)
from mammo_aln.radiomics.signatures.stability import nogueira, resampled_selections
from mammo_aln.settings import FitConfig


def frame(values: np.ndarray) -> pd.DataFrame:
    columns = [f"f{place}" for place in range(values.shape[1])]
    return pd.DataFrame(values, columns=columns, index=[f"u{row}" for row in range(len(values))])


def planted(n=120, k=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k))
    y = (rng.random(n) < 1 / (1 + np.exp(-2.0 * x[:, 0] + 2.0 * x[:, 1]))).astype(float)
    return frame(x), y


def test_variance_filter_drops_constant_and_nearly_constant_columns():
    x = np.random.default_rng(0).normal(size=(100, 4))
    x[:, 1] = 3.0
    x[:, 2] = 0.0
    x[:3, 2] = 1.0  # 97 to 3
    x[:, 3] = np.arange(100) % 2
    assert VarianceFilter().fit(frame(x)).kept_ == ["f0", "f3"]


def test_zscore_uses_training_values_only():
    train, test = planted()[0], planted(seed=1)[0] * 5 + 3
    step = ZScore().fit(train)
    expected = (test - train.to_numpy().mean(axis=0)) / train.to_numpy().std(axis=0)
    assert np.allclose(step.transform(test), expected)


def test_rank_test_keeps_what_scipy_finds():
    table, y = planted()
    kept = RankTestFilter(0.05).fit(table, y).kept_
    expected = [
        name
        for name in table
        if stats.mannwhitneyu(table[name][y == 1], table[name][y == 0], method="asymptotic").pvalue < 0.05
    ]
    assert kept == expected
    p = [stats.mannwhitneyu(table[n][y == 1], table[n][y == 0], method="asymptotic").pvalue for n in table]
    fdr = [name for name, q in zip(table, stats.false_discovery_control(p), strict=True) if q < 0.05]
    assert RankTestFilter(0.05, fdr=True).fit(table, y).kept_ == fdr


def test_where_nothing_passes_the_best_feature_stays_and_that_is_told():
    table, y = planted(n=40, k=3, seed=9)
    step = RankTestFilter(1e-30).fit(table, y)
    assert step.last_resort_
    assert step.kept_ == [step.p_values_.idxmin()]


def test_redundancy_keeps_one_of_each_family_the_one_that_separates_best():
    table, y = planted()
    noisy = table.assign(copy=table["f0"] + 0.05 * table["f5"], mirror=-(table["f1"] ** 3))
    kept = RedundancyFilter(0.9).fit(noisy, y).kept_
    rho = noisy[kept].corr(method="spearman").abs().to_numpy() - np.eye(len(kept))
    assert rho.max() < 0.9
    assert len({"f0", "copy"} & set(kept)) == 1
    assert len({"f1", "mirror"} & set(kept)) == 1


def test_repeats_drop_what_a_second_segmentation_changes():
    rng = np.random.default_rng(3)
    table, y = planted(k=5)
    again = table.copy()
    again["f2"] = rng.normal(size=len(table))
    again = again.iloc[:30]
    step = RepeatFilter([again + 0.05 * rng.normal(size=again.shape)], 0.75).fit(table, y)
    assert step.kept_ == ["f0", "f1", "f3", "f4"]
    shifted = RepeatFilter([table + 4.0], 0.75).fit(table, y)  # agreement, not mere consistency
    assert shifted.last_resort_


def test_repeats_are_judged_on_complete_cases_and_skipped_where_too_few_have_them():
    table, y = planted(k=3)
    again = table + 0.05 * np.random.default_rng(4).normal(size=table.shape)
    again.iloc[5, 0] = np.nan
    gaps = table.copy()
    gaps.iloc[7, 1] = np.nan
    step = RepeatFilter([again], 0.75).fit(gaps, y)
    assert step.kept_ == ["f0", "f1", "f2"]
    assert step.icc_.min() > 0.99
    few = RepeatFilter([again.iloc[:4]], 0.75).fit(table, y)
    assert few.skipped_
    assert few.kept_ == ["f0", "f1", "f2"]


def test_repeats_are_compared_before_centres_are_harmonised():
    table, center = centres(60)
    steps = selection_steps(FitConfig(combat=True), seed=0, repeats=[table + 0.01], centers=center)
    table.iloc[0, 0] = np.nan
    fitted = Pipeline(steps).fit(table, np.tile([0.0, 1.0], 30))
    assert fitted.named_steps["repeats"].icc_.min() > 0.99


def test_lasso_finds_the_planted_features_and_1se_keeps_fewer():
    table, y = planted()
    least, sparse = (set(LassoFilter(rule).fit(table, y).kept_) for rule in ("min", "1se"))
    assert {"f0", "f1"} <= sparse
    assert len(sparse) <= len(least)


def test_lasso_without_any_slope_keeps_the_last_resort():
    y = np.tile([0.0, 1.0], 24)
    orthogonal = frame(np.tile([0.1, 0.1, 0.7, 0.7], 12)[:, None])  # to rounding: its slope is about 1e-17
    for table in (orthogonal, frame(np.ones((48, 2)))):
        for share in (None, 0.1):
            step = LassoFilter(folds=4, penalty_share=share).fit(table, y)
            assert step.last_resort_
            assert step.kept_ == ["f0"]


def test_lasso_takes_a_column_that_is_constant_in_one_fold():
    y = np.tile([0.0, 1.0], 20)
    x = np.zeros((40, 1))
    x[[1, 3]] = 1.0  # both in the first fold, so that its training part has nothing that varies
    folds = np.repeat([0, 1, 2, 3], 10)
    judged = cross_validate(x, y, folds, [1.0, 0.1, 0.01])
    assert np.isfinite(judged.mean).all()
    path = lasso_path(x[folds != 0], y[folds != 0], [0.1, 0.01])
    assert not path.coefficients.any()
    assert path.intercepts == pytest.approx([0.0, 0.0])


def test_lasso_with_one_patient_of_an_outcome_keeps_the_last_resort():
    table, _ = planted(n=20, k=3)
    step = LassoFilter().fit(table, np.eye(20)[0])
    assert step.last_resort_
    assert len(step.kept_) == 1


def test_lasso_folds_keep_both_axillae_of_a_patient_together():
    units = pd.Index([f"p{number}/{side}" for number in range(40) for side in "LR"])
    labels = np.repeat(np.arange(40) % 2, 2).astype(float)
    folds = _dealt(units, labels, 10, 0)
    assert folds is not None
    assert (folds[::2] == folds[1::2]).all()
    assert np.unique(folds).size == 10
    one_sided = _dealt(pd.Index([f"p{number}" for number in range(80)]), labels, 10, 0)
    assert np.unique(one_sided, return_counts=True)[1].tolist() == [8] * 10


def test_neighbours_are_no_more_than_the_training_patients():
    x, y = np.random.default_rng(0).normal(size=(12, 2)), np.tile([0.0, 1.0], 6)
    fitted = CLASSIFIERS["knn"](0).fit(x, y)
    assert np.isfinite(log_odds(fitted, x)).all()
    assert fitted.n_neighbors == 12


def test_a_pipeline_never_sees_held_out_rows():
    table, y = planted()
    steps = Pipeline(selection_steps(FitConfig(), seed=0))
    inside = np.arange(90)
    first = clone(steps).fit(table.iloc[inside], y[inside])
    changed = table.copy()
    changed.iloc[90:] = 1e6
    second = clone(steps).fit(changed.iloc[inside], y[inside])
    assert first.named_steps["lasso"].kept_ == second.named_steps["lasso"].kept_
    assert np.allclose(first.transform(table), second.transform(table))


def centres(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 40))
    center = np.arange(n) % 3
    x = x * np.array([1.0, 2.0, 0.5])[center, None] + np.array([0.0, 3.0, -2.0])[center, None]
    return frame(x), pd.Series([f"c{c}" for c in center], index=[f"u{row}" for row in range(n)])


def test_combat_takes_away_shift_and_scale():
    table, center = centres(150)
    out = ComBat(center).fit(table).transform(table)
    groups = out.groupby(center.to_numpy())
    assert (groups.mean().max() - groups.mean().min()).max() < 0.6  # drawn together, not forced
    assert (table.groupby(center.to_numpy()).mean().max() - table.groupby(center.to_numpy()).mean().min()).min() > 4
    spread = groups.std()
    assert (spread.max() / spread.min()).median() < 1.15
    raw = table.groupby(center.to_numpy()).std()
    assert (raw.max() / raw.min()).median() > 3


def test_combat_without_shrinkage_is_standardisation_per_centre():
    # many patients: the prior hardly matters, so that centre means and SDs become those of the whole
    table, center = centres(6000, seed=2)
    out = ComBat(center).fit(table).transform(table)
    assert np.abs(out.groupby(center.to_numpy()).mean().to_numpy() - out.mean().to_numpy()).max() < 0.05


def test_a_centre_that_training_does_not_hold_passes_unchanged():
    table, center = centres(90)
    inside = center != "c2"
    step = ComBat(center).fit(table[inside])
    out = step.transform(table)
    assert np.array_equal(out[~inside], table[~inside])
    assert step.strangers(table.index) == 30
    assert not np.allclose(out[inside], table[inside])


def test_combat_is_fitted_on_training_rows_alone():
    table, center = centres(90)
    step = ComBat(center).fit(table.iloc[:60])
    other = table.copy()
    other.iloc[60:] += 50
    again = ComBat(center).fit(other.iloc[:60])
    assert np.allclose(step.transform(table), again.transform(table))


def test_nogueira_is_1_for_equal_sets_and_0_by_chance():
    equal = np.tile([1, 1, 0, 0, 0], (10, 1))
    assert nogueira(equal).value == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    by_chance = np.array([rng.permutation([1] * 5 + [0] * 45) for _ in range(4000)])
    assert nogueira(by_chance).value == pytest.approx(0.0, abs=0.01)


def test_nogueira_equals_kunchevas_index_for_sets_of_one_size():
    # property 'fully defined / correction for chance': with constant k it is the mean pairwise Kuncheva index
    rng = np.random.default_rng(1)
    sets = np.array([rng.permutation([1] * 4 + [0] * 8) for _ in range(7)])
    k, d = 4, 12
    pairs = [(sets[i] @ sets[j] - k * k / d) / (k - k * k / d) for i in range(7) for j in range(i)]
    assert nogueira(sets).value == pytest.approx(np.mean(pairs))


def test_nogueira_lower_bound_is_reached_by_two_complementary_sets():
    assert nogueira([[1, 1, 0, 0], [0, 0, 1, 1]]).value == pytest.approx(-1.0)


def test_nogueira_variance_is_that_of_repeated_samples():
    rng = np.random.default_rng(2)
    share = rng.random(40)
    drawn = [nogueira(rng.random((80, 40)) < share) for _ in range(400)]
    told = np.sqrt(np.mean([one.variance for one in drawn]))
    assert told == pytest.approx(np.std([one.value for one in drawn]), rel=0.12)


def test_nogueira_variance_holds_where_sizes_vary_from_set_to_set():
    rng = np.random.default_rng(3)
    share = np.repeat([0.9, 0.4, 0.05], [5, 10, 15])
    drawn = []
    for _ in range(400):
        size = rng.uniform(0.2, 2.5, (50, 1))
        drawn.append(nogueira(rng.random((50, 30)) < np.clip(share * size, 0, 1)))
    told = np.sqrt(np.mean([one.variance for one in drawn]))
    assert told == pytest.approx(np.std([one.value for one in drawn]), rel=0.15)


def test_planted_features_are_selected_on_most_resamples():
    table, y = planted()
    steps = Pipeline(selection_steps(FitConfig(), seed=0)).fit(table, y)
    drawn = resampled_selections(steps, table, y, np.arange(len(y)), resamples=20, seed=0)
    assert drawn.shape == (20, 60)
    assert drawn["f0"].mean() > 0.9
    assert drawn.drop(columns=["f0", "f1"]).to_numpy().mean() < 0.3
    again = resampled_selections(steps, table, y, np.arange(len(y)), resamples=20, seed=0)
    assert drawn.equals(again)
