"""Features of texture matrices, by the formulas of the IBSI-1 reference manual; names are its tags.

Every function takes a stack of matrices (n, ...) and returns each feature's n values; a matrix without any count gives
NaN, which the averages leave out.
"""

from __future__ import annotations

import numpy as np

from mammo_aln.radiomics.extraction.roi import Floats

Features = dict[str, Floats]


def _entropy(share: Floats, axes: tuple[int, ...]) -> Floats:
    return -np.sum(share * np.log2(share, out=np.zeros_like(share), where=share > 0), axis=axes)


def co_occurrence_features(counts: Floats) -> Features:
    """25 features of co-occurrence matrices (n, levels, levels)."""
    with np.errstate(invalid="ignore"):
        p = counts / counts.sum(axis=(1, 2), keepdims=True)
    levels = p.shape[1]
    i = np.arange(1, levels + 1, dtype=float)
    marginal = p.sum(axis=2)
    mean = marginal @ i
    variance = marginal @ i**2 - mean**2
    row, column = np.indices((levels, levels))
    stack = p.reshape(len(p), -1)
    k_difference, k_sum = np.arange(levels, dtype=float), np.arange(2, 2 * levels + 1, dtype=float)
    difference = stack @ np.eye(levels)[np.abs(row - column).ravel()]
    sums = stack @ np.eye(2 * levels - 1)[(row + column).ravel()]
    difference_mean, sum_mean = difference @ k_difference, sums @ k_sum
    centred = k_sum - 2.0 * mean[:, None]
    joint_entropy = _entropy(p, (1, 2))
    marginal_entropy = _entropy(marginal, (1,))
    independent = marginal[:, :, None] * marginal[:, None, :]
    logs = np.log2(independent, out=np.zeros_like(independent), where=independent > 0)
    cross, own = -(p * logs).sum(axis=(1, 2)), -(independent * logs).sum(axis=(1, 2))
    auto = np.einsum("nij,i,j->n", p, i, i, optimize=True)
    flat = variance < 1e-12  # one grey level: every pair agrees
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(flat, 1.0, (auto - mean**2) / variance)
        info_1 = np.where(marginal_entropy < 1e-12, 0.0, (joint_entropy - cross) / marginal_entropy)
    empty = np.isnan(mean)
    correlation[empty] = info_1[empty] = np.nan
    return {
        "joint_max": p.max(axis=(1, 2)),
        "joint_avg": mean,
        "joint_var": variance,
        "joint_entr": joint_entropy,
        "diff_avg": difference_mean,
        "diff_var": difference @ k_difference**2 - difference_mean**2,
        "diff_entr": _entropy(difference, (1,)),
        "sum_avg": sum_mean,
        "sum_var": sums @ k_sum**2 - sum_mean**2,
        "sum_entr": _entropy(sums, (1,)),
        "energy": (stack**2).sum(axis=1),
        "contrast": difference @ k_difference**2,
        "dissimilarity": difference_mean,
        "inv_diff": difference @ (1.0 / (1.0 + k_difference)),
        "inv_diff_norm": difference @ (1.0 / (1.0 + k_difference / levels)),
        "inv_diff_mom": difference @ (1.0 / (1.0 + k_difference**2)),
        "inv_diff_mom_norm": difference @ (1.0 / (1.0 + (k_difference / levels) ** 2)),
        "inv_var": difference[:, 1:] @ (1.0 / k_difference[1:] ** 2) if levels > 1 else np.where(empty, np.nan, 0.0),
        "corr": correlation,
        "auto_corr": auto,
        "clust_tend": (sums * centred**2).sum(axis=1),
        "clust_shade": (sums * centred**3).sum(axis=1),
        "clust_prom": (sums * centred**4).sum(axis=1),
        "info_corr1": info_1,
        "info_corr2": np.sqrt(np.maximum(1.0 - np.exp(-2.0 * (own - joint_entropy)), 0.0)),
    }


EMPHASES = {
    # family: names of the 16 features that all "level by extent" matrices share, in the order computed below
    "rlm": "sre lre lgre hgre srlge srhge lrlge lrhge glnu glnu_norm rlnu rlnu_norm r_perc gl_var rl_var rl_entr",
    "szm": "sze lze lgze hgze szlge szhge lzlge lzhge glnu glnu_norm zsnu zsnu_norm z_perc gl_var zs_var zs_entr",
    "dzm": "sde lde lgze hgze sdlge sdhge ldlge ldhge glnu glnu_norm zdnu zdnu_norm z_perc gl_var zd_var zd_entr",
    "ngl": "lde hde lgce hgce ldlge ldhge hdlge hdhge glnu glnu_norm dcnu dcnu_norm dc_perc gl_var dc_var dc_entr",
}


def emphasis_features(family: str, counts: Floats, voxels: Floats) -> Features:
    """16 features (17 for `ngl`) of matrices of grey level by extent (n, levels, extents).

    Args:
        family: `rlm`, `szm`, `dzm` or `ngl`.
        counts: the matrices.
        voxels: how many voxels each matrix was counted over (n,), times the matrices merged into it.
    """
    _, levels, extents = counts.shape
    i, j = np.arange(1, levels + 1, dtype=float), np.arange(1, extents + 1, dtype=float)
    total = counts.sum(axis=(1, 2))
    by_level, by_extent = counts.sum(axis=2), counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = counts / total[:, None, None]
        level, extent = by_level / total[:, None], by_extent / total[:, None]
        percent = np.where(total > 0, total / voxels, np.nan)
    values = [
        extent @ j**-2.0,
        extent @ j**2,
        level @ i**-2.0,
        level @ i**2,
        *(np.einsum("nij,i,j->n", p, a, b, optimize=True) for b in (j**-2.0, j**2) for a in (i**-2.0, i**2)),
        level**2 @ np.ones(levels) * total,
        level**2 @ np.ones(levels),
        extent**2 @ np.ones(extents) * total,
        extent**2 @ np.ones(extents),
        percent,
        level @ i**2 - (level @ i) ** 2,
        extent @ j**2 - (extent @ j) ** 2,
        _entropy(p, (1, 2)),
    ]
    features = dict(zip(EMPHASES[family].split(), values, strict=True))
    if family == "ngl":
        features["dc_energy"] = (p**2).sum(axis=(1, 2))
    return features


def grey_tone_features(tones: Floats) -> Features:
    """5 features of grey tone difference matrices (n, levels, 2: voxels counted, summed difference)."""
    number, s = tones[..., 0], tones[..., 1]
    total = number.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = number / total[:, None]
        i = np.arange(1, tones.shape[1] + 1, dtype=float)
        present = p > 0
        both = present[:, :, None] & present[:, None, :]
        levels = present.sum(axis=1)
        gap = i[:, None] - i[None, :]
        pairs = (p[:, :, None] * p[:, None, :] * gap**2).sum(axis=(1, 2))
        weighted = np.abs(p[:, :, None] * i[:, None] - p[:, None, :] * i[None, :])
        mixed = p[:, :, None] * s[:, :, None] + p[:, None, :] * s[:, None, :]
        sum_p = p[:, :, None] + p[:, None, :]
        coarse, busy = (p * s).sum(axis=1), np.where(both, weighted, 0.0).sum(axis=(1, 2))
        complexity = np.where(both, np.abs(gap) * mixed / sum_p, 0.0).sum(axis=(1, 2)) / total
        strength = np.where(both, sum_p * gap**2, 0.0).sum(axis=(1, 2))
        features = {
            "coarseness": np.where(coarse > 0, 1.0 / coarse, 1e6),
            "contrast": np.where(levels > 1, pairs / (levels * (levels - 1)) * s.sum(axis=1) / total, 0.0),
            "busyness": np.where((levels > 1) & (busy > 0), coarse / busy, 0.0),
            "complexity": complexity,
            "strength": np.where(s.sum(axis=1) > 0, strength / s.sum(axis=1), 0.0),
        }
    return {name: np.where(total > 0, value, np.nan) for name, value in features.items()}
