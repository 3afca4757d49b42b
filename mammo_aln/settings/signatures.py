"""Settings of radiomic and deep features, and of the signatures fitted from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from mammo_aln.settings.limits import ABOVE_0_TO_1, FOLDS, RESAMPLES, SEED, SHARE, each, within

MOST_LEVELS = 4096
"""Grey levels of a texture matrix, whose memory grows with their square."""

WIDEST_BIN = 1_000_000


@dataclass(frozen=True)
class RadiomicsConfig:
    """Radiomic and deep features of volumes with masks, or of mammography crops.

    Args:
        families: features by IBSI's names: `stat` (first order), `ih` and `ivh` (histograms), `morph` (shape), `loc`
            (local peaks), `spatial` (Moran's I, Geary's C), `cm` (GLCM), `rlm` (GLRLM), `szm` (GLSZM), `dzm` (GLDZM),
            `ngt` (NGTDM), `ngl` (NGLDM).
        filters: images they are computed on: `original`, `log` (Laplacian of Gaussian), `wavelet`, `mean`, `laws`,
            `gabor`, `simoncelli`, `riesz`, `gradient`, `square`, `squareroot`, `logarithm`, `exponential`. Shape and
            local peaks come from the original alone.
        filter_boundary: what filters see beyond the image, in scipy.ndimage's words: `reflect` (d c b a | a b c d),
            `mirror` (d c b | a b c d), `nearest` (a a a | a b c d), `wrap` (the other end), `constant` (0);
            `simoncelli` and `riesz` have `reflect` and `wrap` alone.
        log_sigma_mm: scales of `log`.
        log_normalise: `scale` multiplies by the scale squared (derivatives per mm), so that scales can be compared;
            `ibsi` counts per squared voxel, as IBSI-2 does, and needs voxels with equal sides.
        wavelet: PyWavelets' name of the wavelet.
        wavelet_levels: undecimated levels; bands of the second are named `wavelet2_LLH`.
        mean_voxels: side of the square or cube of `mean`; an odd number.
        laws: kernels of `laws`, one name for each axis (slices, rows, columns; rows, columns of an image): `L5E5E5`.
        laws_rotation: `none`, or `average` or `max` over the kernels' right-angle rotations.
        laws_energy_voxels: mean absolute response of so many voxels to either side; 0 takes the response itself.
        gabor_sigma_mm: standard deviation of the Gaussian of `gabor`.
        gabor_wavelength_mm: wavelength of its wave.
        gabor_aspect: standard deviation along the wave over that across it.
        gabor_step_deg: directions over which its modulus is averaged are so far apart; 180 takes one.
        gabor_planes: `slices`, or `all` three planes, averaged.
        simoncelli_levels: bands of `simoncelli`: waves of 2 to 8 voxels, of 4 to 16, and so on; needs voxels with equal
            sides.
        riesz: orders of `riesz`, a digit for each axis (slices, rows, columns; rows, columns of an image), their sum to
            4: `100`; needs voxels with equal sides.
        riesz_of: images that `riesz` transforms: `original`, and those of `log` and of `simoncelli`.
        wavelet_rotation: `none`, or `average` over the filter's right-angle rotations (IBSI-2's rotation invariance).
        bins: grey levels of a fixed number of bins; the choice for intensities without a unit.
        bin_width: width of a bin in intensity units in place of `bins`; 0 means `bins`.
        bin_origin: where bins of `bin_width` begin on the original image; by default at the lower end of
            `resegment_range`, else at each region's own minimum, which is noted: other regions then have other levels.
        bin_width_of: width of a bin by sequence, in place of `bins` and `bin_width`: `{adc: 25}`.
        ivh_bins: levels of the intensity-volume histogram between a region's smallest and largest intensity; 0 takes
            whole numbers (CT) as levels as they are.
        ivh_bin_width: width of such a level in intensity units in place of `ivh_bins`; 0 means `ivh_bins`.
        resegment_range: two numbers: voxels of the region with another intensity are left out of everything but form.
        resegment_sigma: leave out voxels further from the region's mean than so many standard deviations; 0 none.
        aggregation: how texture matrices of several directions are joined: `avg` averages the features, `comb` merges
            the matrices; in space, or in the plane of an image that is one. `2D_`, `2_5D_` (matrices of all slices
            merged) and `3D_` before it say where.
        glcm_distance: voxels between the two of a pair of the GLCM.
        ngldm_alpha: levels by which a neighbour may differ and count as dependent in the NGLDM.
        spacing_mm: resample volumes to this spacing (slices, rows, columns; one number for all three; 0 keeps that
            axis); empty keeps the grid.
        interpolation: of intensities: `cubic` splines, `linear` or `nearest`.
        mask_interpolation: of masks: `linear`, of which at least one half is the region, or `nearest`.
        round_intensities: round intensities to whole numbers after resampling (CT).
        resample_masks: bring a mask whose geometry differs from its image's onto the image's grid; else it is refused.
        bias_correction: N4, on sequences that are not `quantitative`.
        normalise: `zscore` over the volume, `percentile` maps its 1st and 99th percentile to 0 and 1, or `none`; never
            on `quantitative` sequences.
        quantitative: sequences whose intensities have a physical unit.
        rings_mm: widths of peritumoral rings around each region, from its edge outwards.
        jitter_mm: shift each region, and grow or shrink it, at random by up to so many mm: a repeated measurement for
            `radiomics fit --repeats`; 0 leaves regions as drawn.
        jitter_seed: draws the jitter.
        delta: add post minus pre, and that over pre, of every feature that both time points have.
        deep_backbone: timm model whose pooled features become `deep_*` columns; empty for none.
        deep_regions: regions that get deep features.
        deep_pretrained: weights of `deep_backbone`, which must be named: `true` (timm's), a path of safetensors or a
            checkpoint, or `random` (drawn from `seed`: filters that learnt nothing).
        deep_slices: `2d` takes the slice where the region is largest, `2.5d` also those beside it (mean).
        deep_size_px: side of the square that the region's box with a margin is resized to.
        deep_runs: directories of trained runs that read the mammograms: `deep_run_*` are the fused inputs of one run's
            last layers, of patients it did not train on; the folds of one dealing give `deep_run_logit`, out of fold.
        seed: draws the weights of a backbone that is not pretrained.
    """

    families: tuple[
        Literal["stat", "ih", "ivh", "morph", "loc", "spatial", "cm", "rlm", "szm", "dzm", "ngt", "ngl"], ...
    ] = ("stat", "morph", "cm", "rlm", "szm", "dzm", "ngt", "ngl")
    filters: tuple[
        Literal[
            "original", "log", "wavelet", "mean", "laws", "gabor", "simoncelli", "riesz", "gradient", "square",
            "squareroot", "logarithm", "exponential",
        ],
        ...,
    ] = ("original", "log", "wavelet")  # fmt: skip
    filter_boundary: Literal["reflect", "mirror", "nearest", "wrap", "constant"] = "reflect"
    log_sigma_mm: Annotated[tuple[float, ...], each(within(0.1, 50, "mm"))] = (2.0,)
    log_normalise: Literal["scale", "ibsi"] = "scale"
    wavelet: str = "coif1"
    wavelet_levels: Annotated[int, within(1, 4)] = 1
    wavelet_rotation: Literal["none", "average"] = "none"
    mean_voxels: Annotated[int, within(1, 99)] = 3
    laws: tuple[str, ...] = ("L5E5E5",)
    laws_rotation: Literal["none", "average", "max"] = "none"
    laws_energy_voxels: Annotated[int, within(0, 99)] = 7
    gabor_sigma_mm: Annotated[float, within(0.1, 50, "mm")] = 2.0
    gabor_wavelength_mm: Annotated[float, within(0.1, 200, "mm")] = 4.0
    gabor_aspect: Annotated[float, within(0.1, 10)] = 1.0
    gabor_step_deg: Annotated[float, within(1, 180, "degrees")] = 45.0
    gabor_planes: Literal["slices", "all"] = "slices"
    simoncelli_levels: Annotated[int, within(1, 6)] = 2
    riesz: tuple[str, ...] = ("100", "010", "001")
    riesz_of: tuple[Literal["original", "log", "simoncelli"], ...] = ("original",)
    bins: Annotated[int, within(2, MOST_LEVELS)] = 32
    bin_width: Annotated[float, within(0, WIDEST_BIN)] = 0.0
    bin_origin: Annotated[float | None, within(-1e9, 1e9)] = None
    bin_width_of: dict[str, float] = field(default_factory=dict)
    ivh_bins: Annotated[int, within(0, 1_000_000)] = 1000
    ivh_bin_width: Annotated[float, within(0, 1_000_000)] = 0.0
    resegment_range: Annotated[tuple[float, ...], each(within(-1e9, 1e9))] = ()
    resegment_sigma: Annotated[float, within(0, 100)] = 0.0
    aggregation: Literal["avg", "comb", "2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb"] = "avg"
    glcm_distance: Annotated[int, within(1, 100)] = 1
    ngldm_alpha: Annotated[int, within(0, MOST_LEVELS)] = 0
    spacing_mm: Annotated[tuple[float, ...], each(within(0, 20, "mm"))] = ()
    interpolation: Literal["cubic", "linear", "nearest"] = "cubic"
    mask_interpolation: Literal["linear", "nearest"] = "linear"
    round_intensities: bool = False
    resample_masks: bool = False
    bias_correction: bool = False
    normalise: Literal["none", "zscore", "percentile"] = "zscore"
    quantitative: tuple[str, ...] = ("adc",)
    rings_mm: Annotated[tuple[float, ...], each(within(0.1, 100, "mm"))] = ()
    jitter_mm: Annotated[float, within(0, 50, "mm")] = 0.0
    jitter_seed: Annotated[int, SEED] = 0
    delta: bool = True
    deep_backbone: str = ""
    deep_regions: tuple[str, ...] = ("lesion", "primary")
    deep_pretrained: bool | str = ""
    deep_slices: Literal["2d", "2.5d"] = "2.5d"
    deep_size_px: Annotated[int, within(64, 2048)] = 96
    deep_runs: tuple[str, ...] = ()
    seed: Annotated[int, SEED] = 0


@dataclass(frozen=True)
class FitConfig:
    """Signatures from tables of features: selection, classifiers, cross-validation.

    Args:
        alpha: largest p of the Mann-Whitney U test that keeps a feature.
        fdr: adjust these p-values by Benjamini and Hochberg.
        rho_max: of two features with |Spearman's rho| of at least this, one stays.
        lasso_rule: `min` takes the penalty of least deviance, `1se` the largest within one standard error.
        lasso_folds: folds of the LASSO's own cross-validation.
        icc_min: smallest ICC(2,1) over repeated measurements (`--repeats`) that keeps a feature.
        combat: bring centres to one location and scale (ComBat), learnt on training patients.
        classifier: `auto` takes, of the eight, the simplest within one standard error of the best in inner folds; or
            the name of one.
        clinical: `all` declared features, or those that backward elimination by AIC leaves.
        imputations: odds ratios of the clinical features from so many completed tables too (chained equations, Rubin's
            rules), where values are missing; 0 for none. Scores fill gaps with medians all the same.
        fusion: DLR joins radiomic and deep features before the selection (`feature`), or the scores of the two models
            (`score`).
        dlr_clinical: the clinical features enter the DLR model too.
        folds: outer folds.
        inner_folds: inner folds, which choose the classifier and fit calibration and threshold.
        repeats: repetitions of the outer folds where the cohort has no split.
        stability_resamples: bootstrap samples of the selection's stability; 0 for none.
        allow_post_nat: accept clinical features known only after NAT (`known_at: post_nat`).
        bootstrap_resamples: of every interval and test in the evaluation.
    """

    alpha: Annotated[float, ABOVE_0_TO_1] = 0.05
    fdr: bool = False
    rho_max: Annotated[float, ABOVE_0_TO_1] = 0.9
    lasso_rule: Literal["min", "1se"] = "min"
    lasso_folds: Annotated[int, within(3, 1000)] = 10
    icc_min: Annotated[float, SHARE] = 0.75
    combat: bool = False
    classifier: Literal[
        "auto",
        "logistic",
        "linear_svm",
        "rbf_svm",
        "knn",
        "random_forest",
        "extra_trees",
        "boosting",
        "naive_bayes",
    ] = "auto"
    clinical: Literal["all", "backward_aic"] = "all"
    imputations: Annotated[int, within(0, 100)] = 0
    fusion: Literal["feature", "score"] = "feature"
    dlr_clinical: bool = False
    folds: Annotated[int, FOLDS] = 5
    inner_folds: Annotated[int, FOLDS] = 5
    repeats: Annotated[int, within(1, 1000)] = 3
    stability_resamples: Annotated[int, within(0, 1_000_000)] = 200
    allow_post_nat: bool = False
    bootstrap_resamples: Annotated[int, RESAMPLES] = 2000
