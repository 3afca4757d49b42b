"""The law that configurations' true mean squares have in common, told from measured ones of few degrees of freedom.

Smyth's model (2004, Stat Appl Genet Mol Biol 3:3): true mean squares follow scale * d / chi2(d), measured ones scatter
about them as chi2(df) / df does. How much true ones differ (d) is hardly known of twenty configurations of three seeds;
an estimate of it is often infinite where they do differ, and understates what the luckiest of them can reach. So d and
the scale are not estimated but drawn from their likelihood on a grid; before any data the standard deviation of the
logarithm of true mean squares is half a normal law of `SPREAD`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from mammo_aln.sweeps.choosing.cells import Floats

SPREAD = 0.7
"""A standard deviation of luck 1.4 times another one's is nothing to wonder at."""
DF_PRIOR = np.geomspace(1.0, 1e4, 40)
SD_OF_LOG = np.sqrt(special.polygamma(1, DF_PRIOR / 2))
STEPS = np.linspace(-3.0, 3.0, 25)
"""Scales of the grid, in standard errors about Smyth's estimate."""


@dataclass(frozen=True)
class CommonLaw:
    """Scaled inverse chi-square laws of the true mean squares, weighted by what was measured.

    Attributes:
        df_prior: degrees of freedom of each law, (laws,).
        scale: of each, (laws,).
        weight: (laws,), in all 1.
        sums: measured sums of squares, (recipes,).
        df: their degrees of freedom, (recipes,); 0 where a configuration shows none.
    """

    df_prior: Floats
    scale: Floats
    weight: Floats
    sums: Floats
    df: Floats

    @property
    def expected(self) -> Floats:
        """Mean squares drawn towards the common ones, (recipes,)."""
        laws = (self.df_prior * self.scale + self.sums[:, None]) / (self.df_prior + self.df[:, None])
        return np.asarray(laws @ self.weight)

    def drawn(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw true mean squares that the measured ones leave possible, (recipes, count)."""
        law = rng.choice(self.weight.size, count, p=self.weight)
        df_prior, scale = self.df_prior[law], self.scale[law]
        return np.asarray(
            (df_prior * scale + self.sums[:, None]) / rng.chisquare(df_prior + self.df[:, None]),
        )


def common_law(squares: Floats, sums: Floats, df: Floats) -> CommonLaw:
    """Weigh the laws by mean squares (all above 0) of those configurations that show any.

    Args:
        squares: of configurations with degrees of freedom, in order.
        sums: sums of squares of all, (recipes,).
        df: degrees of freedom of all, (recipes,).
    """
    own = df[df > 0]
    logs = np.log(squares) - special.digamma(own / 2) + np.log(own / 2)
    center = logs.mean() + special.digamma(DF_PRIOR / 2) - np.log(DF_PRIOR / 2)
    step = np.sqrt((special.polygamma(1, own / 2).mean() + SD_OF_LOG**2) / own.size)
    scale = np.exp(center[:, None] + step[:, None] * STEPS)
    df_prior = np.broadcast_to(DF_PRIOR[:, None], scale.shape)
    before = -0.5 * (SD_OF_LOG / SPREAD) ** 2 + np.log(-np.gradient(SD_OF_LOG)) + np.log(step)
    log_weight = before[:, None] + _log_likelihood(squares, own, df_prior[..., None], scale[..., None])
    weight = np.exp(log_weight - log_weight.max()).ravel()
    return CommonLaw(df_prior.ravel(), scale.ravel(), weight / weight.sum(), sums, df)


def _log_likelihood(squares: Floats, df: Floats, df_prior: Floats, scale: Floats) -> Floats:
    """Log density of squares / scale, F-distributed with df and df_prior, over configurations (the last axis)."""
    ratio = df * squares / (df_prior * scale)
    density = df / 2 * np.log(ratio) - (df + df_prior) / 2 * np.log1p(ratio)
    return np.asarray((density - special.betaln(df / 2, df_prior / 2)).sum(axis=-1))
