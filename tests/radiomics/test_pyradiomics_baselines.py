"""Features of three real volumes against the values that pyradiomics keeps of them as its own baselines."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.extraction.volumes import read_volume
from mammo_aln.settings import RadiomicsConfig

WIDTH, SHIFT = 25.0, 2000.0
"""Bins' width of the baselines, and what they add to intensities before squares (`voxelArrayShift`)."""
FAMILIES = {
    "firstorder": (
        "stat",
        "InterquartileRange iqr Skewness skew Median median MeanAbsoluteDeviation mad RobustMeanAbsoluteDeviation rmad"
        " Maximum max Minimum min 90Percentile p90 10Percentile p10 Range range Variance var Mean mean Kurtosis kurt"
        " Energy energy RootMeanSquared rms",
    ),
    "glcm": (
        "cm",
        "JointAverage joint_avg SumAverage sum_avg JointEntropy joint_entr ClusterShade clust_shade"
        " MaximumProbability joint_max Idmn inv_diff_mom_norm JointEnergy energy Contrast contrast"
        " DifferenceEntropy diff_entr InverseVariance inv_var DifferenceVariance diff_var Idn inv_diff_norm"
        " Idm inv_diff_mom Correlation corr Autocorrelation auto_corr SumEntropy sum_entr SumSquares joint_var"
        " ClusterProminence clust_prom Imc2 info_corr2 Imc1 info_corr1 DifferenceAverage diff_avg Id inv_diff"
        " ClusterTendency clust_tend",
    ),
    "glrlm": (
        "rlm",
        "ShortRunEmphasis sre LongRunEmphasis lre LowGrayLevelRunEmphasis lgre HighGrayLevelRunEmphasis hgre"
        " ShortRunLowGrayLevelEmphasis srlge ShortRunHighGrayLevelEmphasis srhge LongRunLowGrayLevelEmphasis lrlge"
        " LongRunHighGrayLevelEmphasis lrhge GrayLevelNonUniformity glnu GrayLevelNonUniformityNormalized glnu_norm"
        " RunLengthNonUniformity rlnu RunLengthNonUniformityNormalized rlnu_norm RunPercentage r_perc"
        " GrayLevelVariance gl_var RunVariance rl_var RunEntropy rl_entr",
    ),
    "glszm": (
        "szm",
        "SmallAreaEmphasis sze LargeAreaEmphasis lze LowGrayLevelZoneEmphasis lgze HighGrayLevelZoneEmphasis hgze"
        " SmallAreaLowGrayLevelEmphasis szlge SmallAreaHighGrayLevelEmphasis szhge LargeAreaLowGrayLevelEmphasis lzlge"
        " LargeAreaHighGrayLevelEmphasis lzhge GrayLevelNonUniformity glnu GrayLevelNonUniformityNormalized glnu_norm"
        " SizeZoneNonUniformity zsnu SizeZoneNonUniformityNormalized zsnu_norm ZonePercentage z_perc"
        " GrayLevelVariance gl_var ZoneVariance zs_var ZoneEntropy zs_entr",
    ),
    "gldm": (
        "ngl",
        "SmallDependenceEmphasis lde LargeDependenceEmphasis hde LowGrayLevelEmphasis lgce HighGrayLevelEmphasis hgce"
        " SmallDependenceLowGrayLevelEmphasis ldlge SmallDependenceHighGrayLevelEmphasis ldhge"
        " LargeDependenceLowGrayLevelEmphasis hdlge LargeDependenceHighGrayLevelEmphasis hdhge"
        " GrayLevelNonUniformity glnu DependenceNonUniformity dcnu DependenceNonUniformityNormalized dcnu_norm"
        " GrayLevelVariance gl_var DependenceVariance dc_var DependenceEntropy dc_entr",
    ),
    "ngtdm": (
        "ngt",
        "Coarseness coarseness Contrast contrast Busyness busyness Complexity complexity Strength strength",
    ),
}
"""Of each family of the baselines, ours, and pairs of names."""
BY_FIRST_LEVEL = re.compile(
    "glcm_(Autocorrelation|Idm?n|JointAverage|SumAverage)|ngtdm_Busyness|gl[a-z]*_.*(High|Low)GrayLevel"
)
"""Features that ask which level is the first; all others ask how levels differ."""


def baseline(folder: Path, case: str) -> dict[str, float]:
    values = {}
    for family in FAMILIES:
        with (folder / f"baseline/baseline_{family}.csv").open() as stream:
            rows = csv.DictReader(stream)
            values |= {
                row["featureName"]: float(row[case]) for row in rows if row["featureName"].startswith("original")
            }
    return values


@pytest.mark.parametrize("case", ["breast1", "brain1", "brain2"])
@pytest.mark.parametrize("from_region", [True, False])
def test_values_are_pyradiomics_where_definitions_are(shared: Path, case: str, from_region: bool) -> None:
    """Its bins lie on multiples of the width, the first one the region's; or, of all regions, the first is at 0."""
    folder = shared / "data/mri_masks/pyradiomics"
    volume = read_volume(folder / f"{case}_image.nrrd", folder / f"{case}_label.nrrd")
    values = volume.array[volume.mask].astype(float)
    settings = RadiomicsConfig(
        filters=("original",),
        families=("stat", "ih", "cm", "rlm", "szm", "ngt", "ngl"),
        bin_width=WIDTH,
        bin_origin=float(WIDTH * np.floor(values.min() / WIDTH)) if from_region else 0.0,
    )
    ours = radiomic_features(volume.array, volume.mask, volume.spacing_mm, settings)
    shifted = radiomic_features(volume.array + SHIFT, volume.mask, volume.spacing_mm, settings)
    theirs = baseline(folder, case)
    pairs = {
        f"original_{family}_{name}": ours[f"original_{tag}_{mine}"]
        for family, (tag, names) in FAMILIES.items()
        for name, mine in zip(names.split()[::2], names.split()[1::2], strict=True)
    }
    pairs |= {
        "original_firstorder_Energy": shifted["original_stat_energy"],
        "original_firstorder_TotalEnergy": shifted["original_stat_energy"] * float(np.prod(volume.spacing_mm)),
        "original_firstorder_RootMeanSquared": shifted["original_stat_rms"],
        "original_firstorder_Kurtosis": ours["original_stat_kurt"] + 3.0,  # not in excess of a normal's
        "original_firstorder_Entropy": ours["original_ih_entropy"],
        "original_firstorder_Uniformity": ours["original_ih_uniformity"],
    }
    assert set(theirs) - set(pairs) == {"original_glcm_MCC"}  # IBSI has none
    if not from_region:
        pairs = {name: value for name, value in pairs.items() if not BY_FIRST_LEVEL.search(name)}
    differ = {n: (v, theirs[n]) for n, v in pairs.items() if not np.isclose(v, theirs[n], rtol=1e-6, atol=1e-12)}
    assert differ == {}
    assert len(pairs) == (92 if from_region else 68)
