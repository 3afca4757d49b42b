"""Fall of the AUC from training to the other splits, tested by DeLong and by the bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mammo_aln.evaluation.samples import Sample, seed_of
from mammo_aln.evaluation.statistics.tests import Test, unpaired_bootstrap, unpaired_delong


@dataclass(frozen=True)
class Gap:
    """AUC of one split minus that of another.

    Attributes:
        source: the split learnt from.
        target: the other split.
        resamples: bootstrap resamples of each.
        clustered: patients have several rows, so that patients are clusters.
        delong: unpaired DeLong test, or None where it is unknown.
        bootstrap: unpaired bootstrap test, or None.
        reason: why both are unknown.
    """

    source: str
    target: str
    resamples: int
    clustered: bool = False
    delong: Test | None = None
    bootstrap: Test | None = None
    reason: str = ""

    @property
    def p_percentile(self) -> float | None:
        """The bootstrap's p-value that its percentile limits go with; None without a test or with few resamples."""
        p = math.nan if self.bootstrap is None else self.bootstrap.p_percentile
        return None if math.isnan(p) else p

    def to_json(self) -> dict[str, str | float | None]:
        """The gap as an entry of `auc_gap` in metrics.json."""
        names: dict[str, str | float | None] = {"from": self.source, "to": self.target}
        if self.delong is None or self.bootstrap is None:
            blank = dict.fromkeys(("difference", "ci_low", "ci_high", "delong_p", "bootstrap_p"))
            return names | blank | {"resamples": self.resamples, "reason": self.reason}
        variance = "Obuchowski, patients as clusters" if self.clustered else "DeLong"
        return names | {
            "difference": self.delong.difference,
            "ci_low": self.delong.low,
            "ci_high": self.delong.high,
            "method": f"{variance}, unpaired, normal limits",
            "delong_t": self.delong.statistic,
            "delong_df": self.delong.df,
            "delong_p": self.delong.p_value,
            **dict(zip(("delong_t_ci_low", "delong_t_ci_high"), self.delong.t_limits(), strict=True)),
            "bootstrap_p": self.p_percentile,
            "bootstrap_p_normal": self.bootstrap.p_value,
            "bootstrap_ci_low": self.bootstrap.low,
            "bootstrap_ci_high": self.bootstrap.high,
            "bootstrap_sd": self.bootstrap.se,
            "resamples": self.resamples,
        }


def auc_gaps(samples: dict[str, Sample], *, resamples: int = 2000, seed: int = 0) -> list[Gap]:
    """Gap from training to every other split; unknown, with a reason, where one has one class only."""
    train = samples.get("train")
    if train is None:
        return []
    return [_gap(train, other, resamples, seed) for name, other in samples.items() if name != "train"]


def _gap(train: Sample, other: Sample, resamples: int, seed: int) -> Gap:
    unusable = next((sample for sample in (train, other) if sample.one_class), None)
    if unusable is not None:
        return Gap(train.name, other.name, resamples, reason=f"{unusable.name}: {unusable.one_class}")
    both = (train.scores, train.labels, other.scores, other.labels)
    clusters1, clusters2 = train.clusters, other.clusters
    seeds = seed_of(seed, f"gap:{train.name}:{train.name}"), seed_of(seed, f"gap:{train.name}:{other.name}")
    return Gap(
        train.name,
        other.name,
        resamples,
        clustered=clusters1 is not None or clusters2 is not None,
        delong=unpaired_delong(*both, clusters1=clusters1, clusters2=clusters2),
        bootstrap=unpaired_bootstrap(*both, resamples=resamples, seeds=seeds, clusters1=clusters1, clusters2=clusters2),
    )
