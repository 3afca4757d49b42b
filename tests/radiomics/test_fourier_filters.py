"""Simoncelli's wavelet and Riesz transforms: waves, impulses and invariants in closed form, and mirp's transforms."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import fft

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.filtering.fourier import riesz_response, simoncelli_response
from mammo_aln.radiomics.filtering.images import filtered_images
from mammo_aln.settings import RadiomicsConfig

RNG = np.random.default_rng(11)
SPACE = [0, 1, 2]
SIDES = (24, 30, 20)
ODD = (21, 21, 21)


def wave(counts: tuple[int, ...], phase: float = 0.0) -> np.ndarray:
    """A plane wave of so many turns along each side."""
    places = np.meshgrid(*(np.arange(side) / side for side in SIDES), indexing="ij")
    return np.cos(2 * np.pi * sum(count * x for count, x in zip(counts, places, strict=True)) + phase)


def standing(counts: tuple[int, ...], sines: tuple[bool, ...]) -> np.ndarray:
    """A wave of half turns along each side, mirrored without end beyond the image; sines where they are asked for."""
    axes = [
        (np.sin if sine else np.cos)(np.pi * count * (np.arange(side) + 0.5) / side)
        for count, side, sine in zip(counts, SIDES, sines, strict=True)
    ]
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


def turning(counts: tuple[int, ...], per: float) -> np.ndarray:
    """Radians per voxel along each axis."""
    return np.array([per * np.pi * count / side for count, side in zip(counts, SIDES, strict=True)])


def band(radians: float, level: int) -> float:
    at = radians * 2 ** (level - 1)
    return float(np.cos(np.pi / 2 * np.log2(2 * at / np.pi))) if np.pi / 4 < at < np.pi else 0.0


@pytest.mark.parametrize("counts", [(6, 0, 0), (3, 4, 2), (0, 9, 4), (1, 1, 1), (2, 1, 0), (12, 0, 0)])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_simoncelli_scales_a_wave_by_its_length(counts: tuple[int, ...], level: int) -> None:
    radians = float(np.linalg.norm(turning(counts, 2)))
    image = wave(counts, 0.4)
    answer = simoncelli_response(image, level, SPACE, "wrap")
    np.testing.assert_allclose(answer, band(radians, level) * image, atol=1e-12)
    half = standing(counts, (False,) * 3)
    expected = band(float(np.linalg.norm(turning(counts, 1))), level) * half
    np.testing.assert_allclose(simoncelli_response(half, level, SPACE, "reflect"), expected, atol=1e-12)


def test_a_wave_of_four_voxels_passes_whole_and_its_neighbours_levels_not_at_all() -> None:
    image = wave((6, 0, 0))
    np.testing.assert_allclose(simoncelli_response(image, 1, SPACE, "wrap"), image, atol=1e-12)
    np.testing.assert_allclose(simoncelli_response(image, 2, SPACE, "wrap"), 0.0, atol=1e-12)


def test_bands_and_what_is_left_hold_the_whole_energy() -> None:
    """Squares of neighbouring bands sum to 1 between the middle of the last and half a turn per voxel's middle."""
    for radians in np.linspace(np.pi / 8, np.pi / 2, 9):
        assert sum(band(float(radians), level) ** 2 for level in (1, 2, 3, 4)) == pytest.approx(1.0)
    image = sum(wave(counts, 0.3) for counts in ((6, 0, 0), (0, 6, 1), (3, 0, 1)))
    energy = sum((simoncelli_response(image, level, SPACE, "wrap") ** 2).sum() for level in (1, 2, 3))
    assert energy == pytest.approx((image**2).sum())


@pytest.mark.parametrize("order", ["100", "010", "001", "110", "200", "021", "111", "300", "013", "202"])
@pytest.mark.parametrize("counts", [(3, 4, 2), (0, 9, 4), (1, 0, 0)])
def test_riesz_turns_a_wave_by_a_quarter_an_order(order: str, counts: tuple[int, ...]) -> None:
    orders = [int(digit) for digit in order]
    total = sum(orders)
    scale = np.sqrt(np.prod(range(1, total + 1)) / np.prod([np.prod(range(1, one + 1)) for one in orders]))
    radians = turning(counts, 2)
    share = scale * np.prod((radians / np.linalg.norm(radians)) ** orders)
    answer = riesz_response(wave(counts, 0.4), order, SPACE, "wrap")
    np.testing.assert_allclose(answer, share * wave(counts, 0.4 - total * np.pi / 2), atol=1e-12)
    radians = turning(counts, 1)
    share = scale * np.prod((radians / np.linalg.norm(radians)) ** orders) * np.prod([(-1) ** (n // 2) for n in orders])
    expected = share * standing(counts, tuple(n % 2 == 1 for n in orders))
    answer = riesz_response(standing(counts, (False,) * 3), order, SPACE, "reflect")
    np.testing.assert_allclose(answer, expected, atol=1e-12)


def test_riesz_of_one_order_keep_the_energy_together() -> None:
    image = RNG.normal(size=ODD)
    for total in (1, 2, 3):
        orders = ["".join(map(str, one)) for one in product(range(total + 1), repeat=3) if sum(one) == total]
        energy = sum((riesz_response(image, order, SPACE, "wrap") ** 2).sum() for order in orders)
        assert energy == pytest.approx(((image - image.mean()) ** 2).sum())


def test_twice_the_first_order_is_the_second() -> None:
    image = RNG.normal(size=ODD)
    twice = riesz_response(riesz_response(image, "100", SPACE, "wrap"), "100", SPACE, "wrap")
    np.testing.assert_allclose(twice, riesz_response(image, "200", SPACE, "wrap"), atol=1e-12)


@pytest.mark.parametrize("flat", [False, True])
def test_a_mirrored_image_is_a_periodic_one_of_twice_the_side(flat: bool) -> None:
    image = RNG.normal(size=(1, 11, 12) if flat else (9, 11, 12))
    axes = [1, 2] if flat else SPACE
    wide = np.pad(image, [(0, side if axis in axes else 0) for axis, side in enumerate(image.shape)], mode="symmetric")
    inside = tuple(slice(side) for side in image.shape)
    for level in (1, 2):
        ours = simoncelli_response(image, level, axes, "reflect")
        np.testing.assert_allclose(ours, simoncelli_response(wide, level, axes, "wrap")[inside], atol=1e-12)
    for order in ("10", "01", "11", "20", "12") if flat else ("100", "010", "001", "110", "102", "030"):
        ours = riesz_response(image, order, axes, "reflect")
        np.testing.assert_allclose(ours, riesz_response(wide, order, axes, "wrap")[inside], atol=1e-12)


@pytest.mark.parametrize("boundary", ["reflect", "wrap"])
def test_a_constant_image_is_answered_by_0_and_an_impulse_as_every_other(boundary: str) -> None:
    for sides, value in product(((8, 9, 10), (7, 11, 13), (37, 41, 43)), (0.1, 1000.1)):
        flat = np.full(sides, value)
        assert not simoncelli_response(flat, 1, SPACE, boundary).any()
        assert not riesz_response(flat, "110", SPACE, boundary).any()
    image = RNG.normal(size=(8, 9, 10))
    for order in ("100", "020"):
        raised = riesz_response(image + 1e4, order, SPACE, boundary)
        np.testing.assert_allclose(raised, riesz_response(image, order, SPACE, boundary), atol=1e-9)
    impulse = np.zeros((8, 9, 10))
    impulse[2, 3, 4] = 1.0
    whole = sum(
        image[at] * np.roll(riesz_response(impulse, "011", SPACE, "wrap"), np.subtract(at, (2, 3, 4)), SPACE)
        for at in product(range(8), range(9), range(10))
    )
    np.testing.assert_allclose(whole, riesz_response(image, "011", SPACE, "wrap"), atol=1e-10)


def test_an_impulse_spreads_alike_to_all_sides_and_opposite_where_the_order_is_odd() -> None:
    impulse = np.zeros(ODD)
    impulse[10, 10, 10] = 1.0
    even = simoncelli_response(impulse, 1, SPACE, "wrap")
    for turned in (even.transpose(1, 0, 2), even.transpose(2, 1, 0), even[::-1]):
        np.testing.assert_allclose(turned, even, atol=1e-15)
    assert np.unravel_index(np.abs(even).argmax(), ODD) == (10, 10, 10)
    odd = riesz_response(impulse, "100", SPACE, "wrap")
    np.testing.assert_allclose(odd[::-1], -odd, atol=1e-15)
    np.testing.assert_allclose(odd[:, ::-1], odd, atol=1e-15)
    assert odd[11, 10, 10] > 0  # sines follow cosines: the answer to a peak rises behind it


@pytest.mark.parametrize("order", ["100", "010", "001", "210", "021", "002"])
def test_an_even_side_is_filtered_as_by_whole_spectra(order: str) -> None:
    """The real part of the plain transform: at half a turn a voxel, waves forwards and backwards cancel."""
    image, orders = RNG.normal(size=(6, 8, 10)), [int(digit) for digit in order]
    steps = np.meshgrid(*(fft.fftfreq(side) for side in image.shape), indexing="ij")
    length = np.sqrt(sum(step**2 for step in steps))
    length[0, 0, 0] = 1.0
    scale = np.sqrt(np.prod(range(1, sum(orders) + 1)) / np.prod([np.prod(range(1, one + 1)) for one in orders]))
    transfer = scale * np.prod([(-1j * step / length) ** one for step, one in zip(steps, orders, strict=True)], axis=0)
    transfer[0, 0, 0] = 0.0
    expected = fft.ifftn(fft.fftn(image) * transfer).real
    np.testing.assert_allclose(riesz_response(image, order, SPACE, "wrap"), expected, atol=1e-12)


@pytest.mark.parametrize("order", [[1, 0, 0], [0, 1, 1], [0, 0, 2], [2, 1, 0]])
def test_riesz_is_mirps(order: list[int]) -> None:
    utilities = pytest.importorskip("mirp._imagefilters.utilities", reason="mirp is not installed")
    image = RNG.normal(size=ODD)
    image -= image.mean()
    theirs = utilities.FilterSet3D(
        filter_set=np.ones(ODD), transformed=True, pad_image=False, riesz_order=order, riesz_steered=False
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        theirs._transform_filter(filter_shape=list(ODD))
        theirs._riesz_transform()
    transfer = np.nan_to_num(theirs.filter_set)
    expected = fft.ifftn(fft.fftn(image) * transfer).real
    ours = riesz_response(image, "".join(map(str, order)), SPACE, "wrap")
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize("level", [1, 2])
def test_simoncelli_is_mirps_on_its_own_frequencies(level: int) -> None:
    """mirp puts half a turn a voxel on the last frequency of an odd side, n / (n - 1) too far: here it is put right."""
    wavelets = pytest.importorskip("mirp._imagefilters.nonseparable_wavelet", reason="mirp is not installed")
    theirs = SimpleNamespace(decomposition_level=level, separate_slices=False)
    theirs.get_distance_grid = lambda filter_size: wavelets.NonseparableWaveletFilter.get_distance_grid(
        theirs, filter_size
    )
    transfer = fft.ifftshift(wavelets.NonseparableWaveletFilter.simoncelli_filter(theirs, filter_size=ODD))
    side = ODD[0]
    for counts in ((3, 2, 0), (5, 1, 4), (2, 1, 1), (9, 2, 0)):
        radians = 2 * np.pi * np.linalg.norm(counts) / (side - 1)
        assert transfer[counts] == pytest.approx(band(float(radians), level), abs=1e-12)


def test_names_and_prefilters() -> None:
    image = RNG.normal(size=(12, 13, 14))
    settings = RadiomicsConfig(
        filters=("simoncelli", "riesz"), riesz=("100", "020"), riesz_of=("original", "log", "simoncelli")
    )
    images = dict(filtered_images(image, (2.0, 2.0, 2.0), settings, 1.0))
    assert list(images) == [
        "simoncelli_1", "simoncelli_2", "riesz_100", "riesz_020", "riesz_100_of_log_2mm", "riesz_020_of_log_2mm",
        "riesz_100_of_simoncelli_1", "riesz_020_of_simoncelli_1", "riesz_100_of_simoncelli_2",
        "riesz_020_of_simoncelli_2",
    ]  # fmt: skip
    expected = riesz_response(images["simoncelli_2"], "020", SPACE, "reflect")
    np.testing.assert_allclose(images["riesz_020_of_simoncelli_2"], expected, atol=1e-14)
    first = simoncelli_response(riesz_response(image, "020", SPACE, "reflect"), 2, SPACE, "reflect")
    np.testing.assert_allclose(images["riesz_020_of_simoncelli_2"], first, atol=1e-12)  # even ones change places
    log = dict(filtered_images(image, (2.0, 2.0, 2.0), RadiomicsConfig(filters=("log",)), 1.0))["log_2mm"]
    np.testing.assert_allclose(images["riesz_100_of_log_2mm"], riesz_response(log, "100", SPACE, "reflect"), atol=1e-14)


@pytest.mark.parametrize("name", ["simoncelli", "riesz"])
def test_directions_that_are_not_alike_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"filter {name} is the same in all directions: .* 3 x 1 x 1 mm; resample"):
        list(filtered_images(np.zeros((4, 5, 6)), (3.0, 1.0, 1.0), RadiomicsConfig(filters=(name,)), 1.0))
    settings = RadiomicsConfig(filters=(name,), riesz=("10",))
    assert list(filtered_images(np.zeros((1, 5, 6)), (3.0, 1.0, 1.0), settings, 1.0))


def test_an_order_needs_a_digit_for_each_axis() -> None:
    with pytest.raises(InputError, match=r"radiomics\.riesz: 10: expected a digit for each of 3 axes"):
        riesz_response(np.zeros((4, 5, 6)), "10", SPACE, "reflect")
    for order in ("", "1", "000", "1x0", "500", "0100"):
        with pytest.raises(InputError, match=r"radiomics\.riesz: .*: expected a digit for each axis"):
            riesz_response(np.zeros((4, 5, 6)), order, SPACE, "reflect")


def test_features_of_a_region_come_from_the_whole_image() -> None:
    """The answer at a voxel depends on all others: a region's features are those of the image filtered whole."""
    image = RNG.normal(size=(20, 24, 22)).cumsum(axis=2)
    mask = np.zeros(image.shape, dtype=bool)
    mask[3:9, 4:12, 5:13] = True
    settings = RadiomicsConfig(filters=("simoncelli", "riesz"), families=("stat",), simoncelli_levels=1, riesz=("010",))
    features = radiomic_features(image, mask, (1.0, 1.0, 1.0), settings)
    for name, whole in {
        "simoncelli_1": simoncelli_response(image, 1, SPACE, "reflect"),
        "riesz_010": riesz_response(image, "010", SPACE, "reflect"),
    }.items():
        assert features[f"{name}_stat_mean"] == pytest.approx(whole[mask].mean(), rel=1e-9)
        assert features[f"{name}_stat_var"] == pytest.approx(whole[mask].var(), rel=1e-9)
