"""Results of the images joined to tables: features by treated axilla, their change under NAT, and the provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.tables import Cohort
from mammo_aln.files import json_ready, read_object
from mammo_aln.radiomics.extraction.cases import CALCULATION_VERSION, Case
from mammo_aln.settings import RadiomicsConfig

Cell = str | int | float
PROVENANCE_COLUMNS = (
    *("patient_id", "side", "place", "region", "voxels", "volume_mm3", "spacing_mm", "shape", "notes", "image_sha256"),
    *("mask_sha256", "settings_key"),
)
GRID_TOLERANCE = 0.01
"""Share by which voxels of two time points may differ and be called equal."""
EMPTY = "empty_mask"
OTHER_GRID = "other_grid_than_pre"


def feature_table(cohort: Cohort, cases: Sequence[Case], results: Sequence[Path], *, delta: bool) -> pd.DataFrame:
    """Join results to one row per treated axilla in the order of patients.csv (index: unit).

    Images of one axilla and acquisition (two of one view) are averaged; a volume counts for all axillae of its patient.

    Args:
        cohort: names the axillae.
        cases: the images.
        results: each case's result file; they are read one at a time.
        delta: add the features' change between the scans before and after NAT.
    """
    columns: dict[str, int] = {}
    for features in _features_of(results):
        for name in features:
            columns.setdefault(name, len(columns))
    units = cohort.patients[cohort.patients["eligible"]].assign(side=lambda table: table["side"].fillna(""))
    owners = [(case.patient_id, case.side) for case in cases]
    with_any = units["patient_id"].isin([patient for patient, side in owners if not side])
    with_any |= pd.Series(list(zip(units["patient_id"], units["side"], strict=True)), units.index).isin(owners)
    units = units[with_any].set_index("unit_id")[["patient_id", "side"]]
    rows_of: dict[tuple[str, str], list[int]] = {}
    for number, (patient, side) in enumerate(units.itertuples(index=False, name=None)):
        for owner in {(patient, side), (patient, "")}:
            rows_of.setdefault(owner, []).append(number)
    total, count = (np.zeros((len(units), len(columns))) for _ in range(2))
    for owner, features in zip(owners, _features_of(results), strict=True):
        at = np.ix_(rows_of[owner], [columns[name] for name in features])
        total[at] += np.array([float(value) for value in features.values()])
        count[at] += 1
    table = pd.DataFrame(total / np.where(count > 0, count, np.nan), index=units.index, columns=list(columns))
    table = with_absent(with_delta(table) if delta else table, units, cases, results)
    table = table[sorted(table.columns, key=lambda name: not str(name).startswith("radiomics_"))]
    if units["patient_id"].duplicated().any():
        table.insert(0, "side", units["side"])
    table.insert(0, "patient_id", units["patient_id"])
    return table


def with_absent(
    table: pd.DataFrame, units: pd.DataFrame, cases: Sequence[Case], results: Sequence[Path]
) -> pd.DataFrame:
    """Add `radiomics_post_SEQUENCE_REGION_shape_absent` to features of shape: 1 where the region is gone, else 0.

    Its volume is 0 there and its other features are empty; filled with a median they would pass for those of a lesion
    of ordinary size. A region that is empty by resampling alone is not gone.
    """
    if not any("_shape_morph_" in name for name in table.columns):
        return table
    absent: dict[str, dict[str, float]] = {}
    for case, file in zip(cases, results, strict=True):
        for row in read_object(file, "provenance")["provenance"]:
            if str(row["place"]).startswith("post_"):
                gone = EMPTY in str(row["notes"]).split(";")
                absent.setdefault(f"radiomics_{row['place']}_{row['region']}_shape_absent", {})[case.patient_id] = (
                    float(gone)
                )
    added = {name: units["patient_id"].map(of_patient) for name, of_patient in absent.items() if "-ring" not in name}
    return pd.concat([table, pd.DataFrame(added, index=table.index)], axis=1)


def _features_of(results: Sequence[Path]) -> Iterator[dict[str, float]]:
    for file in results:
        yield read_object(file, "features")["features"]


def settings_key(settings: RadiomicsConfig) -> str:
    """Hash what a feature is computed by, whosever images they are, wherever they lie."""
    plain = json_ready([CALCULATION_VERSION, asdict(settings)])
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:24]


def provenance_table(results: Sequence[Path], key: str) -> pd.DataFrame:
    """Join the provenance of all results, one row per region, with the key of the settings."""
    rows = [row for file in results for row in read_object(file, "provenance")["provenance"]]
    return pd.DataFrame(rows, columns=list(PROVENANCE_COLUMNS)).assign(settings_key=key)


def with_other_grids(provenance: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Note regions whose voxels differ from those of their other time point, and describe each pair in words.

    Args:
        provenance: rows of regions as prepared; `place` is `pre_` or `post_` and a sequence.
    """
    names = [str(acquisition).partition("_") for acquisition in provenance["place"]]
    regions = list(zip(provenance["patient_id"], (name[2] for name in names), provenance["region"], strict=True))
    spacings = provenance["spacing_mm"].astype(str)
    before = {key: mm for key, name, mm in zip(regions, names, spacings, strict=True) if name[0] == "pre"}
    notes, lines = [], []
    for key, name, after, note in zip(regions, names, spacings, provenance["notes"].fillna(""), strict=True):
        pair = [np.array(mm.split(), dtype=float) for mm in (before.get(key, after), after)]
        differ = name[0] == "post" and not np.allclose(pair[0], pair[1], rtol=GRID_TOLERANCE, atol=0.0)
        notes.append(";".join(filter(None, (str(note), OTHER_GRID * differ))))
        if differ:
            pre, post = (" x ".join(mm.split()) for mm in (before[key], after))
            lines.append(f"patient {', '.join(key)}: voxels of {pre} mm before NAT, of {post} mm after it")
    return provenance.assign(notes=notes), lines


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
