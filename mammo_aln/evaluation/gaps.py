"""How much the AUC falls from training to the other splits, tested by DeLong and by the bootstrap."""

from __future__ import annotations

from scipy import stats

from mammo_aln.evaluation.samples import Metric, Sample, seed_of
from mammo_aln.evaluation.statistics import operating as op
from mammo_aln.evaluation.statistics.resampling import bootstrap_auc_joint, percentile_interval
from mammo_aln.evaluation.statistics.tests import unpaired_delong


def auc_gaps(samples: dict[str, Sample], *, resamples: int = 2000, seed: int = 0) -> list[Metric]:
    """How much the AUC falls from training to every other split; null with a reason where one has one class only."""
    train = samples.get("train")
    if train is None:
        return []
    return [_gap(train, other, resamples, seed) for name, other in samples.items() if name != "train"]


def _gap(train: Sample, other: Sample, resamples: int, seed: int) -> Metric:
    unusable = next((part for part in (train, other) if part.one_class), None)
    if unusable is not None:
        blank = dict.fromkeys(("difference", "ci_low", "ci_high", "delong_p", "bootstrap_p"))
        reason = f"{unusable.name}: {unusable.one_class}"
        return {"from": train.name, "to": other.name, **blank, "resamples": resamples, "reason": reason}
    both = (train, other)
    known = [argument for part in both for argument in (part.scores, part.labels)]
    test = unpaired_delong(*known, clusters1=train.clusters, clusters2=other.clusters)
    drawn = [
        bootstrap_auc_joint(
            part.scores,
            part.labels,
            resamples=resamples,
            seed=seed_of(seed, f"gap:{train.name}:{part.name}"),
            clusters=part.clusters,
        )[0]
        for part in both
    ]
    clustered = any(part.clusters is not None for part in both)
    gaps = drawn[0] - drawn[1]
    sd = float(gaps.std(ddof=1))
    d = op.ratio(abs(test.difference), sd) if sd or test.difference else 0.0
    low, high = percentile_interval(gaps)
    return {
        "from": train.name,
        "to": other.name,
        "difference": test.difference,
        "ci_low": test.low,
        "ci_high": test.high,
        "method": f"{'Obuchowski, patients as clusters' if clustered else 'DeLong'}, unpaired, normal limits",
        "delong_t": test.statistic,
        "delong_df": test.df,
        "delong_p": test.p_value,
        "bootstrap_p": float(2 * stats.norm.sf(d)),
        "bootstrap_ci_low": low,
        "bootstrap_ci_high": high,
        "bootstrap_sd": sd,
        "resamples": resamples,
    }
