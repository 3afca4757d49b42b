"""The same features from a second, independent library (mirp), where it installs."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from scipy.ndimage import gaussian_filter

from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.extraction.preprocess import prepare
from mammo_aln.radiomics.extraction.volumes import read_volume
from mammo_aln.settings import RadiomicsConfig

mirp = pytest.importorskip("mirp", reason="the second library is not installed")

FAMILIES = ["morphological", "statistics", "cm", "rlm", "szm", "dzm", "ngtdm", "ngldm"]
SUFFIX = r"(_2d|_2\.5d|_3d|_s|_v|_d[12]|_fbn_n32|_fbs_w25\.0|_avg|_comb|_merge|_mrg|_dir|_vol|_a[01]\.0|_d1\.0)*"


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


def agreement(
    ours: dict[str, float], theirs: dict[str, float], tolerance: float = 1e-6
) -> tuple[int, dict[str, tuple[float, float]]]:
    """How many features both have, and those whose values differ."""
    compared, differ = 0, {}
    for name, value in ours.items():
        tag = name.removeprefix("shape_").removeprefix("original_")
        match = next((column for column in theirs if re.fullmatch(re.escape(tag) + SUFFIX, column)), None)
        if match is None:
            continue
        compared += 1
        if not np.isclose(value, theirs[match], rtol=tolerance, atol=tolerance / 1e3):
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


IBSI = {
    "a": {"resegmentation_intensity_range": [-500.0, 400.0], "ivh_discretisation_method": "none"},
    "b": {
        "new_spacing": [3.0, 2.0, 2.0],
        "spline_order": 1,
        "resegmentation_intensity_range": [-500.0, 400.0],
        "ivh_discretisation_method": "none",
    },
    "c": {
        "new_spacing": 2.0,
        "spline_order": 1,
        "resegmentation_intensity_range": [-1000.0, 400.0],
        "ivh_discretisation_method": "fixed_bin_size",
        "ivh_discretisation_bin_width": 2.5,
    },
    "d": {"new_spacing": 2.0, "spline_order": 1, "resegmentation_sigma": 3.0, "ivh_discretisation_method": "none"},
    "e": {
        "new_spacing": 2.0,
        "spline_order": 3,
        "resegmentation_intensity_range": [-1000.0, 400.0],
        "resegmentation_sigma": 3.0,
        "ivh_discretisation_method": "fixed_bin_number",
        "ivh_discretisation_n_bins": 1000,
    },
}
"""IBSI-1's configurations as mirp calls them; its own low-pass filter before interpolation is left out."""
WIDTH = {"base_discretisation_method": "fixed_bin_size", "base_discretisation_bin_width": 25.0}
NUMBER = {"base_discretisation_method": "fixed_bin_number", "base_discretisation_n_bins": 32}
WAYS = {
    "2D_avg": ("2d_average", "2d"),
    "2_5D_comb": ("2.5d_volume_merge", "2.5d"),
    "3D_avg": ("3d_average", "3d"),
    "3D_comb": ("3d_volume_merge", "3d"),
}
APPROXIMATED = {"morph_moran_i", "morph_geary_c"}
"""Of a sample of voxels, in mirp; tests/radiomics/test_filters_and_shape.py holds them to the double sum."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lump in something like lung: image and mask in Hounsfield units, slices thicker than pixels are wide."""
    rng, spacing, shape = np.random.default_rng(7), (3.0, 1.1, 0.9), (13, 39, 45)
    z, y, x = np.meshgrid(
        *((np.arange(side) - (side - 1) / 2) * step for side, step in zip(shape, spacing, strict=True)), indexing="ij"
    )
    lump = np.sqrt((z / 9) ** 2 + (y / 12) ** 2 + (x / 10) ** 2) + 0.4 * gaussian_filter(rng.normal(size=shape), 1.5)
    tissue = 20 + 180 * gaussian_filter(rng.normal(size=shape), 0.7)
    lung = -700 + 600 * gaussian_filter(rng.normal(size=shape), 1.0)
    files = []
    for name, array in {
        "image": np.rint(np.where(lump < 1, tissue, lung)).astype(np.float32),
        "mask": lump < 1.08,
    }.items():
        volume = sitk.GetImageFromArray(array.astype(np.float32))
        volume.SetSpacing(spacing[::-1])
        files.append(tmp_path_factory.getbasetemp() / f"second_library_{name}.nii.gz")
        sitk.WriteImage(volume, str(files[-1]))
    return files[0], files[1]


@pytest.mark.parametrize(
    ("configuration", "aggregation", "changes"),
    [
        *(pytest.param(name, "2D_avg", {}, marks=pytest.mark.slow) for name in "ab"),
        ("b", "2_5D_comb", {}),
        *(pytest.param(name, "3D_avg", {}, marks=pytest.mark.slow) for name in "cd"),
        ("e", "3D_avg", {}),
        ("c", "3D_comb", {"glcm_distance": 2, "ngldm_alpha": 1}),
    ],
)
def test_ibsi_configurations(
    scan: tuple[Path, Path], configuration: str, aggregation: str, changes: dict[str, int]
) -> None:
    plain = yaml.safe_load(Path(f"configs/radiomics/ibsi_{configuration}.yaml").read_text())["radiomics"]
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    settings = RadiomicsConfig(**{**plain, **changes, "aggregation": aggregation})
    volume = prepare(read_volume(*scan), "ct", settings)
    ours = radiomic_features(volume.array, volume.mask, volume.spacing_mm, settings)
    with_direction, without = WAYS[aggregation]
    logging.disable(logging.INFO)
    try:
        theirs = mirp.extract_features(
            image=str(scan[0]),
            mask=str(scan[1]),
            image_modality="CT",
            anti_aliasing=False,
            by_slice=configuration == "a",
            base_feature_families=[*FAMILIES, "local_intensity", "ih", "ivh"],
            glcm_spatial_method=with_direction,
            glrlm_spatial_method=with_direction,
            glszm_spatial_method=without,
            gldzm_spatial_method=without,
            ngtdm_spatial_method=without,
            ngldm_spatial_method=without,
            glcm_distance=float(changes.get("glcm_distance", 1)),
            ngldm_difference_level=float(changes.get("ngldm_alpha", 0)),
            **(WIDTH if configuration in "ac" else NUMBER),
            **IBSI[configuration],
        )[0]
    finally:
        logging.disable(logging.NOTSET)
    compared, differ = agreement(ours, theirs.iloc[0].to_dict(), tolerance=1e-4)
    assert compared == len(ours) == 169
    assert set(differ) <= APPROXIMATED, differ
