"""The MRI phantom: files, masks and labels as planted, and signals that complement each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy.stats import rankdata

from mammo_aln.cohort.tables import read_cohort
from mammo_aln.phantom import mri_truth
from mammo_aln.phantom.mri import oblique_noise, write_mri_phantom


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mri") / "cohort"
    return write_mri_phantom(out, patients=24, centers=2, external_patients=8, seed=5, workers=1)


def test_tables_and_splits(cohort: Path) -> None:
    read = read_cohort(cohort, need=("patients", "volumes"))
    assert read.patients["split"].value_counts().to_dict() == {"train": 16, "external_test": 8}
    assert len(read.volumes) == 24 * 2 * 3 * 2
    assert all((cohort / path).is_file() for path in [*read.volumes["image_path"], *read.volumes["mask_path"]])


def test_size_follows_the_planted_response(cohort: Path) -> None:
    truth = pd.read_csv(cohort / "truth.csv").set_index("patient_id")
    ratio = {}
    for patient in truth.index:
        counts = []
        for timepoint in ("pre", "post"):
            (path,) = (cohort / "mri").glob(f"*/{patient}/{timepoint}/mask.*")
            counts.append((sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == 1).sum())
        ratio[patient] = np.log(counts[1] / counts[0])
    assert np.corrcoef(pd.Series(ratio)[truth.index], truth["non_response"])[0, 1] > 0.85


def test_the_same_seed_gives_the_same_files(cohort: Path, tmp_path: Path) -> None:
    again = write_mri_phantom(tmp_path / "again", patients=24, centers=2, external_patients=8, seed=5, workers=2)
    for name in ("patients.csv", "truth.csv", "volumes.csv"):
        assert (again / name).read_bytes() == (cohort / name).read_bytes()
    names = sorted(path.relative_to(cohort) for path in cohort.glob("mri/*/*/post/adc.*"))
    for name in names[::5]:
        first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(root / name))) for root in (cohort, again))
        np.testing.assert_array_equal(first, second)


def test_opposite_handedness_is_the_mirror_image() -> None:
    """Power along one diagonal of the slice against the other: it changes sign with the handedness."""

    def slant(handed: float) -> float:
        total = 0.0
        for seed in range(5):
            noise = oblique_noise(np.random.default_rng(seed), handed)
            rising = noise[:, 2:, :-2] * noise[:, :-2, 2:]
            falling = noise[:, 2:, 2:] * noise[:, :-2, :-2]
            total += float(rising.mean() - falling.mean())
        return total

    assert slant(0.9) == pytest.approx(-slant(-0.9), rel=0.15)
    assert abs(slant(0.0)) < 0.15 * abs(slant(0.9))


def auc(score: np.ndarray, label: np.ndarray) -> float:
    ranks = rankdata(score)
    positive = label == 1
    return float((ranks[positive].mean() - (positive.sum() + 1) / 2) / (~positive).sum())


@pytest.mark.parametrize("subset", mri_truth.SUBSETS, ids="+".join)
def test_bayes_auc_is_what_a_large_cohort_shows(subset: tuple[str, ...]) -> None:
    rng = np.random.default_rng(11)
    factors = mri_truth.draw_factors(["a"] * 60_000, rng)
    label = (rng.random(len(factors)) < mri_truth.probability(factors, 1.0)).astype(int)
    found = auc(mri_truth.posterior(subset, factors, 1.0), label)
    assert found == pytest.approx(mri_truth.bayes_auc(subset, 1.0), abs=0.006)


def test_every_pair_beats_its_parts_and_shuffled_labels_tell_nothing() -> None:
    best = {subset: mri_truth.bayes_auc(subset, 1.0) for subset in mri_truth.SUBSETS}
    assert 0.65 < best[("clinical",)] < 0.75
    assert all(0.72 < best[(one,)] < 0.82 for one in ("radiomics", "deep"))
    assert best[("radiomics", "deep")] > 0.06 + max(best[("radiomics",)], best[("deep",)])
    assert best[mri_truth.MODELS] > 0.88
    assert mri_truth.bayes_auc(mri_truth.MODELS, 0.0) == pytest.approx(0.5)
