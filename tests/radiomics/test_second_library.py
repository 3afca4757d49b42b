"""The same features from a second, independent library (mirp), where it installs."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.settings import RadiomicsConfig

mirp = pytest.importorskip("mirp", reason="the second library is not installed")

FAMILIES = ["morphological", "statistics", "cm", "rlm", "szm", "dzm", "ngtdm", "ngldm"]
SUFFIX = r"(_2d|_3d|_d1|_fbn_n32|_avg|_a0\.0|_d1\.0)*"


def region(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = gaussian_filter(rng.normal(size=(12, 20, 22)), 1.0) * 100 + 300
    z, y, x = np.mgrid[:12, :20, :22]
    ragged = ((z - 6) / 4.2) ** 2 + ((y - 10) / 7.1) ** 2 + ((x - 11) / 8.3) ** 2 + 0.4 * rng.random(image.shape)
    return image, ragged < 1


def by_mirp(image: np.ndarray, mask: np.ndarray, **how: object) -> dict[str, float]:
    logging.disable(logging.INFO)
    try:
        table = mirp.extract_features(
            image=image,
            mask=mask.astype(int),
            base_discretisation_method="fixed_bin_number",
            base_discretisation_n_bins=32,
            base_feature_families=FAMILIES,
            **how,
        )[0]
    finally:
        logging.disable(logging.NOTSET)
    return table.iloc[0].to_dict()


def agreement(ours: dict[str, float], theirs: dict[str, float]) -> tuple[int, dict[str, tuple[float, float]]]:
    """How many features both have, and those whose values differ."""
    compared, differ = 0, {}
    for name, value in ours.items():
        tag = name.removeprefix("shape_").removeprefix("original_")
        match = next((column for column in theirs if re.fullmatch(re.escape(tag) + SUFFIX, column)), None)
        if match is None:
            continue
        compared += 1
        if not np.isclose(value, theirs[match], rtol=1e-6, atol=1e-9):
            differ[tag] = (value, theirs[match])
    return compared, differ


def test_a_volume() -> None:
    image, mask = region(1)
    ours = radiomic_features(image, mask, (1.0, 1.0, 1.0), RadiomicsConfig(filters=("original",)))
    theirs = by_mirp(image, mask, by_slice=False, glcm_spatial_method="3d_average", glrlm_spatial_method="3d_average")
    compared, differ = agreement(ours, theirs)
    assert compared == len(ours) == 136
    assert not differ


def test_a_plane() -> None:
    image, mask = (one[6] for one in region(2))
    ours = radiomic_features(image, mask, (1.0, 1.0), RadiomicsConfig(filters=("original",)))
    theirs = by_mirp(
        image[None], mask[None], by_slice=True, glcm_spatial_method="2d_average", glrlm_spatial_method="2d_average"
    )
    compared, differ = agreement(ours, theirs)
    assert compared == len([name for name in ours if name.startswith("original")]) == 113
    assert not differ
