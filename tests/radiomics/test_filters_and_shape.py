"""Rings, resampling and shape against closed forms and second ways of computing them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.extraction.intensity import local_peaks
from mammo_aln.radiomics.extraction.preprocess import normalised, resampled, without_bias
from mammo_aln.radiomics.extraction.regions import ring
from mammo_aln.radiomics.extraction.shape import autocorrelation, morphology, planar_morphology
from mammo_aln.radiomics.extraction.volumes import Volume
from mammo_aln.settings import RadiomicsConfig

RNG = np.random.default_rng(3)


def centred(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[np.ndarray]:
    return np.meshgrid(
        *((np.arange(side) - (side - 1) / 2) * step for side, step in zip(shape, spacing, strict=True)), indexing="ij"
    )


def test_textures_see_neither_mirror_nor_quarter_turn() -> None:
    image, mask = RNG.normal(size=(6, 18, 18)), np.zeros((6, 18, 18), dtype=bool)
    mask[1:5, 3:12, 4:16] = True
    settings = RadiomicsConfig(filters=("original",))
    whole = radiomic_features(image, mask, (2.0, 1.0, 1.0), settings)
    for turned in (lambda a: a[:, :, ::-1], lambda a: np.rot90(a, axes=(1, 2)), lambda a: a[::-1]):
        again = radiomic_features(turned(image), turned(mask), (2.0, 1.0, 1.0), settings)
        np.testing.assert_allclose(list(again.values()), list(whole.values()), rtol=1e-6)


def test_rings_are_millimetres_wide() -> None:
    spacing = (2.0, 0.7, 0.7)
    radius = np.sqrt(sum(axis**2 for axis in centred((25, 81, 81), spacing)))
    ball = radius <= 8.0
    for width in (3.0, 5.0, 7.0, 9.0):
        around = ring(ball, spacing, width)
        assert not (around & ball).any()
        filled = (around.sum() + ball.sum()) * np.prod(spacing)
        assert (filled * 3 / 4 / np.pi) ** (1 / 3) == pytest.approx(8.0 + width, abs=0.35)  # half a pixel


def test_shape_of_a_ball_and_a_disc() -> None:
    spacing, radius = (1.5, 0.8, 0.8), 12.0
    ball = np.sqrt(sum(axis**2 for axis in centred((21, 37, 37), spacing))) <= radius
    found = morphology(np.ones(int(ball.sum())), ball, ball, spacing)
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    assert found["diam"] == pytest.approx(2 * radius, rel=0.07)  # half a slice at either end
    assert found["pca_maj_axis"] == pytest.approx(4 * radius / np.sqrt(5), rel=0.02)
    disc = np.sqrt(sum(axis**2 for axis in centred((80, 60), (0.3, 0.4)))) <= 11.0
    flat = planar_morphology(np.ones(int(disc.sum())), disc, disc, (0.3, 0.4))
    assert flat["2d_area"] == pytest.approx(np.pi * 11.0**2, rel=0.01)
    assert flat["2d_diam"] == pytest.approx(22.0, rel=0.02)
    assert flat["2d_pca_maj_axis"] == pytest.approx(22.0, rel=0.02)
    assert 0.85 < flat["2d_circularity"] <= 1.0


def test_a_hole_is_no_area() -> None:
    square = np.zeros((30, 30), dtype=bool)
    square[5:25, 5:25] = True
    holed = square.copy()
    holed[10:20, 10:20] = False
    full, less = (planar_morphology(np.ones(int(one.sum())), one, one, (1.0, 1.0)) for one in (square, holed))
    assert full["2d_area"] - less["2d_area"] == pytest.approx(100.0, abs=1.5)
    assert less["2d_perimeter"] > full["2d_perimeter"]


def test_spatial_autocorrelation_is_the_double_sum() -> None:
    image, mask, spacing = RNG.normal(size=(4, 6, 5)), RNG.random((4, 6, 5)) < 0.6, (2.0, 0.9, 1.1)
    values = image[mask]
    places = np.argwhere(mask) * spacing
    distance = cdist(places, places)
    weight = np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
    z = values - values.mean()
    found = autocorrelation(image, mask, spacing)
    assert found["moran_i"] == pytest.approx(z.size / weight.sum() * (z @ weight @ z) / (z @ z))
    pairs = (weight * (values[:, None] - values[None, :]) ** 2).sum()
    assert found["geary_c"] == pytest.approx((z.size - 1) * pairs / (2 * weight.sum() * (z @ z)))


def test_local_peak_is_the_mean_of_a_sphere() -> None:
    image, spacing = RNG.normal(size=(12, 16, 14)) + 50.0, (2.0, 1.5, 1.8)
    mask = np.zeros(image.shape, dtype=bool)
    mask[3:9, 4:12, 4:11] = True
    places = np.argwhere(np.ones(image.shape)) * spacing
    inside = np.argwhere(mask) * spacing
    near = cdist(inside, places) <= (3 / (4 * np.pi)) ** (1 / 3) * 10
    means = (near @ image.ravel()) / near.sum(axis=1)
    found = local_peaks(image, mask, spacing)
    assert found["peak_glob"] == pytest.approx(means.max())
    assert found["peak_loc"] == pytest.approx(means[image[mask].argmax()])


def test_resampling_keeps_place_and_size() -> None:
    spacing = (3.0, 1.0, 1.0)
    z, y, x = centred((17, 45, 41), spacing)
    plane = 2.0 * x - 0.5 * y + 0.25 * z
    ball = x**2 + y**2 + z**2 <= 15.0**2
    after = resampled(Volume(plane.astype(np.float32), ball, spacing), (1.5, 1.5, 1.5))
    z, y, x = centred(after.array.shape, (1.5, 1.5, 1.5))
    inner = (np.abs(z) < 15) & (np.abs(y) < 15) & (np.abs(x) < 15)
    np.testing.assert_allclose(after.array[inner], (2.0 * x - 0.5 * y + 0.25 * z)[inner], atol=0.02)
    assert after.mask.sum() * 1.5**3 == pytest.approx(ball.sum() * 3.0, rel=0.03)


def test_normalisation_undoes_a_scanner() -> None:
    image = RNG.normal(size=(6, 12, 12)).astype(np.float32)
    for how in ("zscore", "percentile"):
        np.testing.assert_allclose(normalised(image * 37 + 500, how), normalised(image, how), atol=1e-3)


def test_n4_flattens_a_planted_field() -> None:
    z, y, x = centred((16, 48, 48), (2.0, 1.0, 1.0))
    tissue = 100.0 * (1 + 0.5 * (np.sqrt(x**2 + y**2) < 8)) + RNG.normal(0, 1, x.shape)
    field = np.exp(0.5 * x / 24)
    before, after = tissue * field, without_bias((tissue * field).astype(np.float32), (2.0, 1.0, 1.0))
    flat = (np.sqrt(x**2 + y**2) > 10) & (np.abs(z) < 12)
    assert after[flat].std() / after[flat].mean() < 0.4 * before[flat].std() / before[flat].mean()


def test_regions_too_small_or_flat_give_no_nonsense() -> None:
    image, mask = RNG.normal(size=(5, 9, 9)), np.zeros((5, 9, 9), dtype=bool)
    mask[2, 3:5, 3:6] = True
    settings = RadiomicsConfig(filters=("original",), families=("stat", "cm", "rlm", "szm", "dzm", "ngt", "ngl"))
    assert all(np.isnan(value) for value in radiomic_features(image, mask, (1.0, 1.0, 1.0), settings).values())
    mask[1:4, 2:7, 2:7] = True
    flat = radiomic_features(np.full(image.shape, 7.0), mask, (1.0, 1.0, 1.0), settings)
    assert all(np.isfinite(value) for value in flat.values())


@pytest.mark.parametrize("voxels", range(1, 8))
def test_a_remnant_of_few_voxels_keeps_its_size_and_nothing_else(voxels: int) -> None:
    array = np.random.default_rng(0).normal(size=(6, 12, 12)).astype(np.float32)
    mask = np.zeros(array.shape, dtype=bool)
    mask[3, 4, 2 : 2 + voxels] = True
    found = radiomic_features(array, mask, (2.0, 1.0, 1.0), RadiomicsConfig(filters=("original",)))
    assert found["shape_morph_vol_approx"] == 2.0 * voxels
    assert 0 < found["shape_morph_volume"] < 2.0 * voxels
    assert sum(np.isfinite(value) for value in found.values()) == 2
    flat = radiomic_features(array[3], mask[3], (1.0, 1.0), RadiomicsConfig(filters=("original",)))
    assert flat["shape_morph_2d_area_approx"] == voxels
