"""Filters against closed forms, PyWavelets, mirp's rotations and what a constant image must give."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import pywt
from scipy.ndimage import convolve, gaussian_laplace, uniform_filter
from scipy.signal import oaconvolve

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.filtering.gabor import gabor_kernel, gabor_reach, gabor_response
from mammo_aln.radiomics.filtering.gaussian import laplacian_of_gaussian
from mammo_aln.radiomics.filtering.images import filter_reach, filtered_images
from mammo_aln.radiomics.filtering.laws import KERNELS, laws_response
from mammo_aln.radiomics.filtering.pointwise import POINTWISE, gradient_magnitude, local_mean
from mammo_aln.radiomics.filtering.rotations import right_angle_rotations
from mammo_aln.radiomics.filtering.wavelets import wavelet_bands
from mammo_aln.settings import RadiomicsConfig

RNG = np.random.default_rng(3)
SPACE = [0, 1, 2]


def log(image: np.ndarray, spacing: tuple[float, ...], sigma_mm: float, boundary: str = "reflect") -> np.ndarray:
    return laplacian_of_gaussian(image, spacing, sigma_mm, SPACE, boundary, "scale")


@pytest.mark.parametrize("slices_mm", [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
@pytest.mark.parametrize("sigma_mm", [1.0, 2.0, 3.0])
def test_log_of_a_gaussian_is_known_at_every_spacing(slices_mm: float, sigma_mm: float) -> None:
    """A Gaussian of width w smoothed by s is one of variance w2 + s2: its Laplacian is written down."""
    spacing, width, middle = (slices_mm, 0.9, 1.1), 7.0, (0.3 * slices_mm, 0.2, -0.4)
    sides = [2 * int(38 / step) + 1 for step in spacing]
    z, y, x = (
        (np.arange(side) - side // 2) * step - shift for side, step, shift in zip(sides, spacing, middle, strict=True)
    )
    r2 = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    total = width**2 + sigma_mm**2
    expected = sigma_mm**2 * (width**2 / total) ** 1.5 * (r2 / total**2 - 3 / total) * np.exp(-r2 / (2 * total))
    answer = log(np.exp(-r2 / (2 * width**2)), spacing, sigma_mm)
    assert np.abs(answer - expected).max() < 0.01 * np.abs(expected).max()


@pytest.mark.parametrize("slices_mm", [0.5, 2.0, 4.0, 5.0, 6.0, 7.0, 20.0])
@pytest.mark.parametrize("boundary", ["reflect", "mirror", "nearest", "wrap"])
def test_log_of_a_constant_image_is_0(slices_mm: float, boundary: str) -> None:
    for value in (1000.0, 0.1):
        assert not log(np.full((7, 20, 20), value), (slices_mm, 0.7, 0.7), 2.0, boundary).any()


def test_log_of_an_image_that_lies_higher_is_the_same() -> None:
    image = RNG.normal(size=(8, 20, 20))
    np.testing.assert_allclose(log(image + 1e4, (6.5, 1, 1), 2.0), log(image, (6.5, 1, 1), 2.0), atol=1e-8)


@pytest.mark.parametrize("boundary", ["reflect", "mirror", "nearest", "wrap", "constant"])
def test_a_wide_log_is_the_sampled_kernel_of_scipy(boundary: str) -> None:
    """From two voxels on sampling does no harm: IBSI-2's own definition, per squared voxel, cut off at 8 sigma."""
    image = RNG.normal(size=(30, 36, 33)) + 5.0
    spaced = (1.5, 1.5, 1.5)
    ours = laplacian_of_gaussian(image, spaced, 3.0, SPACE, boundary, "ibsi")
    theirs = gaussian_laplace(image, 2.0, mode=boundary, truncate=8.0)
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())
    np.testing.assert_allclose(
        laplacian_of_gaussian(image, spaced, 3.0, SPACE, boundary, "scale"), 4.0 * ours, rtol=1e-12
    )


def test_per_squared_voxel_needs_voxels_with_equal_sides() -> None:
    settings = RadiomicsConfig(filters=("log",), log_normalise="ibsi")
    image = RNG.normal(size=(9, 12, 12))
    assert len(list(filtered_images(image, (2.0, 2.0, 2.0), settings, 1.0))) == 1
    with pytest.raises(InputError, match=r"log_normalise=ibsi.*3 x 1 x 1 mm.*radiomics\.spacing_mm"):
        list(filtered_images(image, (3.0, 1.0, 1.0), settings, 1.0))


@pytest.mark.parametrize("wavelet", ["coif1", "db3", "haar", "bior3.3", "sym4"])
@pytest.mark.parametrize("level", [1, 2])
def test_wavelet_bands_are_those_of_pywavelets(wavelet: str, level: int) -> None:
    image = RNG.normal(size=(32, 32, 32))
    ours = dict(wavelet_bands(image, wavelet, level, False, SPACE, "wrap"))
    theirs = pywt.swtn(image, wavelet, level=level, axes=SPACE)[0]
    assert len(ours) == 8 * level
    prefix = "wavelet_" if level == 1 else "wavelet2_"
    for name, band in theirs.items():
        np.testing.assert_allclose(ours[prefix + name.replace("a", "L").replace("d", "H")], band, atol=1e-12)


@pytest.mark.parametrize(("dimensions", "count"), [(2, 4), (3, 24)])
def test_rotations_hold_the_filter_as_it_is_and_no_mirror_image(dimensions: int, count: int) -> None:
    turns = right_angle_rotations(dimensions)
    assert len(set(turns)) == count
    for turn in turns:
        matrix = np.zeros((dimensions, dimensions))
        for axis, (number, flip) in enumerate(turn):
            matrix[axis, number] = -1 if flip else 1
        assert round(np.linalg.det(matrix)) == 1


@pytest.mark.parametrize(("wavelet", "flat"), [("coif1", False), ("haar", True)])
def test_a_rotated_image_has_the_rotated_bands(wavelet: str, flat: bool) -> None:
    image = RNG.normal(size=(1, 14, 14) if flat else (12, 12, 12))
    axes = [1, 2] if flat else SPACE
    upright = dict(wavelet_bands(image, wavelet, 2, True, axes, "reflect"))
    assert [name for name in upright if name.startswith("wavelet_")] == (
        ["wavelet_LL", "wavelet_LH", "wavelet_HL", "wavelet_HH"]
        if flat
        else ["wavelet_LLL", "wavelet_LLH", "wavelet_LHH", "wavelet_HHH"]
    )
    for order, flips in product(permutations(axes), product((1, -1), repeat=len(axes))):
        turn = np.zeros((len(axes), len(axes)))
        turn[range(len(axes)), [axes.index(axis) for axis in order]] = flips
        if round(np.linalg.det(turn)) != 1:
            continue
        steps = [slice(None)] * flat + [slice(None, None, flip) for flip in flips]

        def rotate(array: np.ndarray, order=order, steps=steps) -> np.ndarray:
            return array.transpose(*([0] * flat), *order)[tuple(steps)]

        for name, band in wavelet_bands(rotate(image), wavelet, 2, True, axes, "reflect"):
            np.testing.assert_allclose(band, rotate(upright[name]), atol=1e-12)


@pytest.mark.parametrize("wavelet", ["coif1", "db3", "haar", "bior3.3"])
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("rotated", [False, True])
def test_wavelet_bands_are_those_of_mirp(wavelet: str, level: int, rotated: bool) -> None:
    utilities = pytest.importorskip("mirp._imagefilters.utilities", reason="mirp is not installed")
    image = RNG.normal(size=(15, 18, 16))
    low, high = (np.array(taps) for taps in (pywt.Wavelet(wavelet).dec_lo, pywt.Wavelet(wavelet).dec_hi))
    ours = dict(wavelet_bands(image, wavelet, level, rotated, SPACE, "reflect"))
    for band in ("LLL", "LLH", "LHH", "HHH"):
        slices, rows, columns = (low if letter == "L" else high for letter in band)
        filters = utilities.SeparableFilterSet(columns, rows, slices, low, low, low)
        filters = filters.permute_filters(rotational_invariance=rotated, require_pre_filter=True)
        total = np.zeros(image.shape)
        for each in filters:
            response = image
            for step in range(1, level + 1):
                response = each.convolve(voxel_grid=response, mode="reflect", use_pre_filter=step < level)
                if step < level:
                    each.decompose_filter()
            total += response
        prefix = "wavelet_" if level == 1 else "wavelet2_"
        np.testing.assert_allclose(ours[prefix + band], total / len(filters), atol=1e-12)


def test_a_plane_stays_in_the_plane() -> None:
    image, mask = RNG.normal(size=(40, 40)), np.zeros((40, 40), dtype=bool)
    mask[8:30, 10:33] = True
    names = radiomic_features(image, mask, (0.2, 0.2), RadiomicsConfig())
    bands = {name.split("_")[1] for name in names if name.startswith("wavelet")}
    assert bands == {"LL", "LH", "HL", "HH"}
    assert not any("pca_least" in name for name in names)


def test_what_lies_far_from_the_region_changes_nothing() -> None:
    """Filters look beyond the region, but no further than the part of the image that is kept for them."""
    image, mask = RNG.normal(size=(10, 120, 120)), np.zeros((10, 120, 120), dtype=bool)
    mask[3:8, 5:25, 6:20] = True
    settings = RadiomicsConfig(families=("stat", "cm"), log_sigma_mm=(1.0,))
    near = radiomic_features(image, mask, (2.0, 1.0, 1.0), settings)
    changed = image.copy()
    changed[:, 80:, 80:] += 5.0
    assert radiomic_features(changed, mask, (2.0, 1.0, 1.0), settings) == near


def test_the_mean_of_an_impulse_is_a_cube() -> None:
    image = np.zeros((9, 9, 9))
    image[4, 4, 4] = 125.0
    smooth = local_mean(image, 5, SPACE, "reflect")
    assert smooth[2:7, 2:7, 2:7] == pytest.approx(np.ones((5, 5, 5)))
    assert smooth.sum() == pytest.approx(125.0)


def test_the_gradient_of_a_slope_is_its_steepness_per_mm() -> None:
    z, y, x = (np.arange(9) * step for step in (3.0, 0.7, 0.5))
    slope = 2.0 * z[:, None, None] - 1.0 * y[:, None] + 4.0 * x
    inside = gradient_magnitude(slope, (3.0, 0.7, 0.5), SPACE, "nearest")[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(inside, np.sqrt(4.0 + 1.0 + 16.0))


def test_pointwise_filters_keep_the_range_and_the_sign() -> None:
    values = np.array([-400.0, -1.0, 0.0, 9.0, 100.0])
    expected = {
        "square": [400.0, 0.0025, 0.0, 0.2025, 25.0],
        "squareroot": [-400.0, -20.0, 0.0, 60.0, 200.0],
        "logarithm": [-400.0, *(400.0 * np.log([2.0, 1.0, 10.0, 101.0]) * [-1, 1, 1, 1] / np.log(401.0))],
        "exponential": list(400.0 ** (values / 400.0)),
    }
    for name, answer in expected.items():
        np.testing.assert_allclose(POINTWISE[name](values, 400.0), answer, rtol=1e-12)


def test_pointwise_filters_look_at_the_largest_of_the_whole_image() -> None:
    image, mask = RNG.normal(size=(4, 60, 60)), np.zeros((4, 60, 60), dtype=bool)
    mask[1:3, 4:14, 4:14] = True
    image[0, 55, 55] = 900.0
    features = radiomic_features(image, mask, (2, 1, 1), RadiomicsConfig(filters=("square",), families=("stat",)))
    assert features["square_stat_max"] == pytest.approx((image[mask] ** 2).max() / 900.0)


@pytest.mark.parametrize("kernels", ["L5E5S5", "W5R5L5", "E3S3L3", "E5E5E5"])
@pytest.mark.parametrize("boundary", ["reflect", "nearest", "constant"])
def test_laws_is_a_convolution_with_the_outer_product(kernels: str, boundary: str) -> None:
    image = RNG.normal(size=(9, 11, 10))
    taps = [np.array(KERNELS[name], dtype=float) for name in (kernels[:2], kernels[2:4], kernels[4:])]
    cube = np.einsum("i,j,k", *(one / np.sqrt((one**2).sum()) for one in taps))
    response = laws_response(image, kernels, "none", 0, SPACE, boundary)
    np.testing.assert_allclose(response, convolve(image, cube, mode=boundary), atol=1e-12)
    energy = laws_response(image, kernels, "none", 2, SPACE, boundary)
    np.testing.assert_allclose(energy, uniform_filter(np.abs(response), 5, mode=boundary), atol=1e-12)


@pytest.mark.parametrize("kernels", ["L5E5S5", "E5W5R5", "L5L5L5"])
@pytest.mark.parametrize("rotation", ["average", "max"])
def test_laws_pooled_over_rotations_is_mirps(kernels: str, rotation: str) -> None:
    utilities = pytest.importorskip("mirp._imagefilters.utilities", reason="mirp is not installed")
    image = RNG.normal(size=(9, 11, 10))
    slices, rows, columns = (
        np.array(KERNELS[name], dtype=float) / np.linalg.norm(KERNELS[name])
        for name in (kernels[:2], kernels[2:4], kernels[4:])
    )
    turned = utilities.SeparableFilterSet(columns, rows, slices).permute_filters(rotational_invariance=True)
    responses = np.stack([one.convolve(voxel_grid=image, mode="reflect") for one in turned])
    expected = responses.max(axis=0) if rotation == "max" else responses.mean(axis=0)
    np.testing.assert_allclose(laws_response(image, kernels, rotation, 0, SPACE, "reflect"), expected, atol=1e-12)


def test_laws_needs_a_kernel_for_each_axis() -> None:
    with pytest.raises(InputError, match="L5E5: expected a kernel for each of 3 axes"):
        laws_response(np.zeros((4, 5, 6)), "L5E5", "none", 0, SPACE, "reflect")
    with pytest.raises(InputError, match="L5X5: expected names of L3"):
        laws_response(np.zeros((4, 5, 6)), "L5X5", "none", 0, SPACE, "reflect")


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 135.0])
def test_gabor_answers_its_own_wave_with_half_the_weight_of_its_envelope(degrees: float) -> None:
    """A wave is half of the filter's own and half of its mirror image, which a wide Gaussian does not see."""
    steps, sigma, wavelength, angle = (0.8, 0.5), 4.0, 3.0, np.deg2rad(degrees)
    y, x = np.arange(120) * steps[0], np.arange(160) * steps[1]
    along = np.cos(angle) * x + np.sin(angle) * y[:, None]
    reach = tuple(gabor_reach(sigma, 1.0, step) for step in steps)
    weights = gabor_kernel(steps, reach, sigma, wavelength, 1.0, float(angle))
    expected = 2 * np.pi * sigma**2 / (steps[0] * steps[1]) / 2
    assert np.abs(weights).sum() / 2 == pytest.approx(expected, rel=1e-3)
    padded = np.cos(2 * np.pi * along / wavelength)
    here = np.abs(np.sum(padded[60 - reach[0] : 61 + reach[0], 80 - reach[1] : 81 + reach[1]] * weights))
    assert here == pytest.approx(expected, rel=1e-3)


def test_gabor_averages_directions_and_planes() -> None:
    """The modulus of the answer to an impulse is the envelope, the same in every direction where it is round."""
    image = np.zeros((21, 41, 41))
    image[10, 20, 20] = 1.0
    spacing, axes = (1.5, 1.0, 1.0), np.meshgrid(*(np.arange(-r, r + 1) for r in (10, 20, 20)), indexing="ij")
    z, y, x = (axis * step for axis, step in zip(axes, spacing, strict=True))
    flat = np.exp(-(x**2 + y**2) / (2 * 2.0**2)) * (z == 0)
    for step_deg in (45.0, 180.0):
        answer = gabor_response(image, spacing, 2.0, 4.0, 1.0, step_deg, [(1, 2)], "reflect")
        np.testing.assert_allclose(answer, flat, atol=1e-4)
    planes = [(1, 2), (0, 2), (0, 1)]
    others = np.exp(-(x**2 + z**2) / 8) * (y == 0) + np.exp(-(y**2 + z**2) / 8) * (x == 0)
    answer = gabor_response(image, spacing, 2.0, 4.0, 1.0, 45.0, planes, "reflect")
    np.testing.assert_allclose(answer, (flat + others) / 3, atol=1e-4)


@pytest.mark.parametrize(("degrees", "aspect"), [(0.0, 1.0), (30.0, 0.5), (120.0, 2.0)])
def test_gabor_is_mirps(degrees: float, aspect: float) -> None:
    gabor = pytest.importorskip("mirp._imagefilters.gabor", reason="mirp is not installed")
    theirs = gabor.GaborFilter.__new__(gabor.GaborFilter)
    settings = {"sigma": 3.0, "lambda_parameter": 5.0, "gamma": aspect, "theta": degrees, "stack_axis": 0}
    fixed = {"riesz_order": None, "riesz_steered": False, "riesz_sigma": None, "mode": "reflect"}
    for name, value in {**settings, **fixed, "response_type": "modulus"}.items():
        setattr(theirs, name, value)
    image = RNG.normal(size=(2, 64, 64))
    expected = theirs.transform_grid(voxel_grid=image, spacing=np.array([1.0, 1.0, 1.0]))
    steps, reach = (1.0, 1.0), (gabor_reach(3.0, aspect, 1.0),) * 2
    weights = gabor_kernel(steps, reach, 3.0, 5.0, aspect, float(np.deg2rad(degrees)))
    padded = np.pad(image, [(0, 0), (reach[0],) * 2, (reach[1],) * 2], mode="symmetric")
    ours = np.abs(oaconvolve(padded, weights[None], mode="valid", axes=(1, 2)))
    middle = (slice(None), slice(20, 44), slice(20, 44))
    np.testing.assert_allclose(ours[middle], expected[middle], atol=2e-3 * expected.max())


@pytest.mark.parametrize(
    "settings",
    [
        RadiomicsConfig(filters=("mean", "gradient"), mean_voxels=7),
        RadiomicsConfig(filters=("laws",), laws=("L5E5", "S3L5"), laws_energy_voxels=3),
        RadiomicsConfig(filters=("gabor",), gabor_aspect=0.7),
        RadiomicsConfig(filters=("log",), log_sigma_mm=(0.3, 1.0, 2.5)),
        RadiomicsConfig(filters=("wavelet",), wavelet="db12", wavelet_levels=2),
    ],
)
def test_filters_look_no_further_than_they_say(settings: RadiomicsConfig) -> None:
    image, spacing = RNG.normal(size=(1, 190, 190)), (1.0, 1.0, 0.6)
    reach = max(filter_reach(settings, step) for step in spacing)
    box = slice(90 - reach, 100 + reach)
    whole = dict(filtered_images(image, spacing, settings, 1.0))
    for name, part in filtered_images(image[:, box, box], spacing, settings, 1.0):
        inside = part[:, reach:-reach, reach:-reach]
        np.testing.assert_allclose(inside, whole[name][:, 90:100, 90:100], atol=1e-10)
