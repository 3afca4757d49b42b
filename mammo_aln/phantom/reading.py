"""A radiologist's report of each phantom lesion: margin and BI-RADS category, with a reader's errors."""

from __future__ import annotations

import numpy as np
import pandas as pd

MARGINS = ("circumscribed", "spiculated")
MISREAD_MARGIN_SHARE = 0.05
UNREPORTED_SHARE = 0.08
BIRADS = ("4A", "4B", "4C", "5")
BIRADS_CUTS = (-0.8, 0.0, 0.8)


def read_lesions(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the columns `margin` and `birads` of the patients table; empty where the report says nothing.

    BI-RADS rises with size and spiculation as suspicion does, and with the reader's mood; it does not know the outcome.

    Args:
        table: `size_mm` and `spiculated` of each patient.
        rng: draws the reader's errors.
    """
    count = len(table)
    spiculated = table["spiculated"].to_numpy(int)
    misread = rng.random(count) < MISREAD_MARGIN_SHARE
    margin = np.array(MARGINS, dtype=object)[np.where(misread, 1 - spiculated, spiculated)]
    suspicion = 0.9 * np.tanh((table["size_mm"].to_numpy(float) - 21.0) / 6.0) + 0.7 * (2 * spiculated - 1)
    birads = np.array(BIRADS, dtype=object)[np.digitize(suspicion + rng.normal(0.0, 0.5, count), BIRADS_CUTS)]
    reported = rng.random((2, count)) >= UNREPORTED_SHARE
    return pd.DataFrame(
        {"margin": np.where(reported[0], margin, ""), "birads": np.where(reported[1], birads, "")}, index=table.index
    )
