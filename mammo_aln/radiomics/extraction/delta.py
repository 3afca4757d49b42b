"""What changed between the scans before and after NAT."""

from __future__ import annotations

import numpy as np
import pandas as pd


def with_delta(features: pd.DataFrame) -> pd.DataFrame:
    """Add `KIND_delta_REST` (post minus pre) and, for radiomics, `KIND_relative_REST` ((post - pre) / |pre|).

    Args:
        features: columns `radiomics_pre_REST`, `radiomics_post_REST`, and the same with `deep`; a REST with both time
            points gets its change. Where pre is 0 the relative change is not defined and stays empty.
    """
    added = {}
    for column in features.columns:
        kind, _, rest = column.partition("_pre_")
        after = f"{kind}_post_{rest}"
        if kind not in ("radiomics", "deep") or after not in features:
            continue
        change = features[after] - features[column]
        added[f"{kind}_delta_{rest}"] = change
        if kind == "radiomics":
            base = features[column].abs().to_numpy(dtype=float)
            added[f"{kind}_relative_{rest}"] = change / np.where(base > 0, base, np.nan)
    return pd.concat([features, pd.DataFrame(added, index=features.index)], axis=1)
