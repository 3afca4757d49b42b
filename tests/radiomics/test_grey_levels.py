"""Which intensities count, where bins begin, how many voxels a resampled grid has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.extract import extract_features
from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.extraction.grey_levels import discretise, noted, resegmented
from mammo_aln.radiomics.extraction.intensity import volume_histogram
from mammo_aln.radiomics.extraction.preprocess import prepare, resampled
from mammo_aln.radiomics.extraction.volumes import Volume
from mammo_aln.settings import RadiomicsConfig

RNG = np.random.default_rng(11)
PLAIN = RadiomicsConfig(filters=("original",), normalise="none")


@pytest.mark.parametrize(
    ("voxels", "own_mm", "new_mm", "expected"),
    [
        (33, 1.1, 3.3, 11),
        (49, 0.7, 4.9, 7),
        (33, float(np.float32(1.1)), 3.3, 11),  # a header's single precision
        (204, 0.9765625, 2.0, 100),  # IBSI's own CT phantom
        (201, 0.9765625, 2.0, 99),
        (60, 3.0, 2.0, 90),
    ],
)
def test_a_resampled_grid_covers_the_old_one_with_no_voxel_more(
    voxels: int, own_mm: float, new_mm: float, expected: int
) -> None:
    volume = Volume(np.zeros((3, 3, voxels), np.float32), np.ones((3, 3, voxels), bool), (1.0, 1.0, own_mm))
    assert resampled(volume, (1.0, 1.0, new_mm)).array.shape == (3, 3, expected)


def test_an_axis_of_0_keeps_its_own_spacing() -> None:
    volume = Volume(RNG.normal(size=(5, 20, 20)).astype(np.float32), np.ones((5, 20, 20), bool), (6.5, 1.0, 1.0))
    after = prepare(volume, "t2w", replace(PLAIN, spacing_mm=(0.0, 2.0, 2.0), interpolation="nearest"))
    assert after.spacing_mm == (6.5, 2.0, 2.0)
    assert after.array.shape == (5, 10, 10)
    assert set(after.array.ravel()) <= set(volume.array.ravel())


def test_whole_numbers_stay_whole() -> None:
    volume = Volume(RNG.integers(-900, 90, (4, 12, 12)).astype(np.float32), np.ones((4, 12, 12), bool), (3, 1, 1))
    after = prepare(volume, "ct", replace(PLAIN, spacing_mm=(1.3,), round_intensities=True))
    assert (after.array == np.rint(after.array)).all()


def test_excluded_intensities_leave_the_form_and_nothing_else() -> None:
    image, mask = RNG.normal(0, 100, (6, 14, 14)), np.zeros((6, 14, 14), dtype=bool)
    mask[1:5, 2:12, 2:12] = True
    settings = replace(PLAIN, resegment_range=(-50.0, 60.0), resegment_sigma=1.0)
    values = image[mask]
    left = values[(values >= -50) & (values <= 60) & (np.abs(values - values.mean()) <= values.std())]
    assert resegmented(image, mask, settings).sum() == left.size
    features, whole = (radiomic_features(image, mask, (2.0, 1.0, 1.0), one) for one in (settings, PLAIN))
    assert features["original_stat_mean"] == pytest.approx(left.mean())
    assert features["original_stat_min"] == left.min()
    for name in ("volume", "area_mesh", "diam"):
        assert features[f"shape_morph_{name}"] == whole[f"shape_morph_{name}"]
    with pytest.raises(InputError, match=r"no voxel of the region.*resegment_range = \[5000.0, 6000.0\]"):
        radiomic_features(image, mask, (2.0, 1.0, 1.0), replace(PLAIN, resegment_range=(5000.0, 6000.0)))


def test_bins_of_a_width_begin_where_all_regions_begin() -> None:
    before, after = np.array([-310.0, -301.0, 20.0]), np.array([-120.0, 20.0, 44.0])
    ranged = replace(PLAIN, bin_width=25.0, resegment_range=(-500.0, 400.0))
    assert discretise(before, ranged, is_original=True).tolist() == [8, 8, 21]
    assert discretise(after, ranged, is_original=True).tolist() == [16, 21, 22]
    own = replace(PLAIN, bin_width=25.0)
    assert discretise(after, own, is_original=True).tolist() == [1, 6, 7]
    assert discretise(after, replace(own, bin_origin=-1000.0), is_original=True).tolist() == [36, 41, 42]
    with pytest.raises(InputError, match=r"bin_origin = 0 .*smallest intensity -120"):
        discretise(after, replace(own, bin_origin=0.0), is_original=True)


def test_what_makes_levels_doubtful_is_noted() -> None:
    image, mask = RNG.normal(0, 3, (4, 9, 9)), np.zeros((4, 9, 9), dtype=bool)
    mask[1:3, 2:8, 2:8] = True
    assert noted(image, mask, PLAIN) == ()
    assert noted(image, np.ones_like(mask), PLAIN) == ("whole_image",)
    assert noted(image, mask, replace(PLAIN, bin_width=0.5)) == ("bins_from_own_minimum",)
    assert noted(image, mask, replace(PLAIN, bin_width=500.0)) == ("bins_from_own_minimum", "one_grey_level")
    assert noted(image, mask, replace(PLAIN, bin_width=0.5, bin_origin=-100.0)) == ()


def test_levels_of_the_volume_histogram() -> None:
    values = np.array([1.0, 2.0, 2.0, 4.0])
    of_levels = volume_histogram(values, bins=0)
    assert (of_levels["i10"], of_levels["i90"], of_levels["v90"]) == (5.0, 2.0, 0.25)
    assert volume_histogram(values, bins=0, limits=(0.0, 10.0))["v10"] == 1.0
    assert volume_histogram(values, bins=0, limits=(0.0, 10.0))["v90"] == 0.0
    assert volume_histogram(values, width=2.0, limits=(0.0, 10.0))["i90"] == 3.0
    with pytest.raises(InputError, match=r"expected whole numbers, got 2\.5"):
        volume_histogram(np.array([1.0, 2.5]), bins=0)


def test_a_sequence_has_its_own_bins(tmp_path: Path) -> None:
    """The same volume as two sequences: one with bins of its own width, one with the number of all others."""
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    array = RNG.normal(100, 40, (6, 16, 16)).astype(np.float32)
    mask = np.zeros(array.shape, np.uint8)
    mask[1:5, 3:13, 3:13] = 1
    for name, voxels in {"image": array, "mask": mask}.items():
        volume = sitk.GetImageFromArray(voxels)
        volume.SetSpacing((1.0, 1.0, 3.0))
        sitk.WriteImage(volume, str(cohort / f"{name}.nii.gz"))
    pd.DataFrame([{"patient_id": "P1", "center": "a", "aln_status": 1, "split": "train"}]).to_csv(
        cohort / "patients.csv", index=False
    )
    pd.DataFrame(
        [
            {
                "patient_id": "P1",
                "timepoint": "pre",
                "sequence": name,
                "image_path": "image.nii.gz",
                "mask_path": "mask.nii.gz",
            }
            for name in ("adc", "t2w")
        ]
    ).to_csv(cohort / "volumes.csv", index=False)
    settings = replace(PLAIN, families=("ih",), delta=False, bin_width_of={"adc": 10.0})
    row = pd.read_csv(extract_features(cohort, tmp_path / "f.csv", settings, workers=1)).iloc[0]
    inside = array[mask > 0]
    assert row["radiomics_pre_adc_lesion_original_ih_max"] == int((inside.max() - inside.min()) // 10) + 1
    assert row["radiomics_pre_t2w_lesion_original_ih_max"] == 32
    notes = pd.read_csv(tmp_path / "f.provenance.csv", keep_default_na=False).set_index("place")["notes"]
    assert notes.to_dict() == {"pre_adc": "bins_from_own_minimum", "pre_t2w": ""}
