"""Deep features: the right slices at the right place, the same weights everywhere, empty where there is no region."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction import deep
from mammo_aln.radiomics.extraction.deep import backbone, deep_features, region_crops
from mammo_aln.radiomics.extraction.extract import extract_features
from mammo_aln.settings import RadiomicsConfig

SETTINGS = RadiomicsConfig(deep_backbone="timm:resnet10t", deep_pretrained="random", deep_size_px=64)
RNG = np.random.default_rng(7)


def test_crops_lie_around_the_region_in_the_largest_slice() -> None:
    array = np.zeros((7, 60, 50), dtype=np.float32)
    mask = np.zeros(array.shape, dtype=bool)
    mask[2, 20:30, 10:20] = True
    mask[4, 20:40, 10:30] = True
    array[4, 20:40, 10:30] = 1.0
    (crop,) = region_crops(array, mask, (3.0, 1.0, 1.0), "2d", 60)
    # the region is 20 voxels wide, the crop 30: two voxels of the crop for one of the slice
    assert crop.shape == (60, 60)
    np.testing.assert_array_equal(crop[12:48, 12:48], 1.0)
    np.testing.assert_array_equal(crop[:8], 0.0)
    np.testing.assert_array_equal(crop[:, :8], 0.0)
    assert len(region_crops(array, mask, (3.0, 1.0, 1.0), "2.5d", 60)) == 3
    mask[4] = False
    mask[0, 20:40, 10:30] = True
    assert len(region_crops(array, mask, (3.0, 1.0, 1.0), "2.5d", 60)) == 2


def test_a_crop_is_square_in_millimetres() -> None:
    rows, columns = np.mgrid[:80, :80]
    disc = ((rows - 40) * 2.0) ** 2 + ((columns - 40) * 1.0) ** 2 < 24.0**2
    (crop,) = region_crops(disc.astype(np.float32), disc, (2.0, 1.0), "2d", 96)
    high, wide = (np.ptp(np.flatnonzero((crop > 0.5).any(axis=axis))) for axis in (1, 0))
    assert abs(high - wide) <= 3


def test_the_seed_decides_and_an_empty_region_has_none() -> None:
    array, mask = RNG.normal(size=(5, 30, 30)).astype(np.float32), np.zeros((5, 30, 30), dtype=bool)
    mask[1:4, 8:22, 8:22] = True
    first = deep_features(array, mask, (2.0, 1.0, 1.0), SETTINGS)
    deep._backbone.cache_clear()
    np.testing.assert_array_equal(deep_features(array, mask, (2.0, 1.0, 1.0), SETTINGS), first)
    other = RadiomicsConfig(deep_backbone="timm:resnet10t", deep_pretrained="random", deep_size_px=64, seed=1)
    assert not np.allclose(deep_features(array, mask, (2.0, 1.0, 1.0), other), first)
    assert first.shape == (512,)
    assert np.isnan(deep_features(array, np.zeros_like(mask), (2.0, 1.0, 1.0), SETTINGS)).all()


def test_scale_of_intensities_does_not_matter() -> None:
    array, mask = RNG.normal(size=(3, 30, 30)).astype(np.float32), np.zeros((3, 30, 30), dtype=bool)
    mask[1, 8:22, 8:22] = True
    first = deep_features(array, mask, (2.0, 1.0, 1.0), SETTINGS)
    np.testing.assert_allclose(deep_features(array * 40 + 900, mask, (2.0, 1.0, 1.0), SETTINGS), first, atol=1e-3)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(InputError, match="resnet51"):
        backbone(RadiomicsConfig(deep_backbone="timm:resnet51", deep_pretrained="random", deep_size_px=64))


@pytest.mark.parametrize("pretrained", ["", False])
def test_weights_are_drawn_only_where_that_is_asked_for(pretrained: bool | str, tmp_path: Path) -> None:
    settings = RadiomicsConfig(deep_backbone="timm:resnet10t", deep_pretrained=pretrained)
    with pytest.raises(InputError, match=r"deep_pretrained=true .*or random"):
        extract_features(tmp_path, tmp_path / "features.csv", settings)
