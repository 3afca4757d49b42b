"""features.csv: any table of `radiomics_*` and `deep_*` columns, one row per patient (or per treated axilla)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.reading import read_text_table
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.progress import say
from mammo_aln.spreadsheet.missing import is_missing_word, without_missing_words
from mammo_aln.spreadsheet.written_numbers import numbers

PREFIXES = ("radiomics_", "deep_")
AFTER_NAT = re.compile(r"(radiomics|deep)_(relative_|(.*_)?(post|delta)(_|$))", re.IGNORECASE)
GONE_VOLUME = re.compile(r"(radiomics_post_.+)_shape_morph_volume$")
OF_AFTER = re.compile(r"(radiomics|deep)_(.*_)?post(_|$)", re.IGNORECASE)
MOST_CELLS_NAMED = 50
KEYS = ("patient_id", "side")


def read_features(path: str | Path, patients: pd.DataFrame) -> pd.DataFrame:
    """Read a feature table and bring it to the cohort's treated axillae.

    Columns that begin with neither prefix are left aside with a message; so are patients that only one table holds.
    Without a column `side`, both axillae of a patient get the same features. Words for a missing value are those of
    every table (`spreadsheet.missing`).

    Args:
        path: CSV file or workbook with `patient_id`, optionally `side`, and the features.
        patients: `Cohort.patients`.

    Returns:
        float columns, index `unit_id`; a unit without features is missing from it.

    Raises:
        InputError: unreadable; a cell that is no finite number; a patient twice; no feature, or no patient in common.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a table of features")
    faults: list[BadCell] = []
    table = read_text_table(path, faults, KEYS)
    raise_bad_cells(faults[:MOST_CELLS_NAMED])
    if table is None:
        raise InputError(f"{path}: not a readable table")
    if "patient_id" not in table:
        raise InputError(f"{path.name}: the column patient_id is missing")
    names = [name for name in table.columns if str(name).startswith(PREFIXES)]
    if not names:
        raise InputError(f"{path.name}: no column begins with radiomics_ or deep_, so there is no feature to use")
    aside = [str(name) for name in table.columns if name not in names and name not in KEYS]
    if aside:
        shown = ", ".join(aside[:8]) + (f" and {len(aside) - 8} more" if len(aside) > 8 else "")
        say(f"{path.name}: columns that begin with neither radiomics_ nor deep_ are left aside: {shown}")
    keys = [key for key in KEYS if key in table]
    # one long column: thousands of short ones take pandas many times as long
    cells = pd.Series(table[names].to_numpy(dtype=object).ravel())
    values_read = pd.to_numeric(cells, errors="coerce").astype(float)
    strange = cells[values_read.isna() & cells.notna()]
    cells[strange.index[strange.map(is_missing_word).astype(bool)]] = np.nan
    table = pd.concat([without_missing_words(table[keys]), _framed(cells, table, names)], axis=1)
    values = _framed(values_read, table, names)
    for name in values.columns[(values.isna() & table[names].notna()).any()]:
        values[name] = numbers(table[name])  # a column with decimal commas, read by what its other cells tell
    raise_bad_cells(_faults(table, values, keys, names, path.name))
    return _for_units(values.assign(**{key: table[key] for key in keys}), keys, patients, path.name)


def _framed(cells: pd.Series, table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(cells.to_numpy().reshape(len(table), len(names)), index=table.index, columns=names)


def _faults(table: pd.DataFrame, values: pd.DataFrame, keys: list[str], names: list[str], file: str) -> list[BadCell]:
    faults = [
        BadCell(file, int(row), "patient_id", "", "an identifier") for row in table.index[table["patient_id"].isna()]
    ]
    if "side" in keys:
        strange = table["side"].notna() & ~table["side"].isin(["L", "R"])
        faults += [
            BadCell(file, int(row), "side", table.at[row, "side"], "L, R or empty") for row in table.index[strange]
        ]
    twice = table.duplicated(keys, keep="first") & table["patient_id"].notna()
    faults += [
        BadCell(file, int(row), "patient_id", table.at[row, "patient_id"], "each patient (and side) once")
        for row in table.index[twice]
    ]
    bad = table[names].notna().to_numpy() & ~np.isfinite(values.to_numpy())
    faults += [
        BadCell(file, int(table.index[row]), names[column], table[names[column]].iloc[row], "a finite number or empty")
        for row, column in np.argwhere(bad)
    ]
    faults = sorted(faults, key=lambda fault: (fault.row or 0, fault.column))
    if len(faults) > MOST_CELLS_NAMED:
        more = BadCell(file, None, "further faults", len(faults) - MOST_CELLS_NAMED, "none")
        return [*faults[:MOST_CELLS_NAMED], more]
    return faults


def _for_units(values: pd.DataFrame, keys: list[str], patients: pd.DataFrame, file: str) -> pd.DataFrame:
    if "side" in keys and patients["side"].isna().all():
        keys, values = ["patient_id"], _without_sides(values, patients, file)
    units = patients[["unit_id", *keys]].astype(object)
    if "side" in keys:
        units["side"], values["side"] = units["side"].fillna(""), values["side"].fillna("")
    joined = units.merge(values, on=keys, how="inner", validate="many_to_one")
    if joined.empty:
        raise InputError(f"{file} and patients.csv have no patient_id in common")
    strangers = set(values["patient_id"]) - set(patients["patient_id"])
    without = len(units) - len(joined)
    if strangers or without:
        say(f"{file}: {without} rows of patients.csv have no features; {len(strangers)} patients are not in that table")
    table = with_absent_regions(joined.set_index("unit_id").drop(columns=keys))
    gaps = int(table.isna().to_numpy().sum())
    if gaps:
        say(f"{file}: {gaps} empty cells, filled with the training median of their column")
    return table


def _without_sides(values: pd.DataFrame, patients: pd.DataFrame, file: str) -> pd.DataFrame:
    """Features of sides for a cohort that states none: usable where each of its patients has one row."""
    ours = values[values["patient_id"].isin(patients["patient_id"])]
    twice = ours.loc[ours["patient_id"].duplicated(), "patient_id"]
    if len(twice):
        raise InputError(
            f"{file}: patient {twice.iloc[0]} has features of both sides, but patients.csv has no column side; add it"
        )
    return values.drop_duplicates("patient_id").drop(columns="side")


def with_absent_regions(table: pd.DataFrame) -> pd.DataFrame:
    """Add `..._shape_absent` where a table has a region's volume after NAT and not that: 1 for a volume of 0.

    The volume of a region that is gone is known; a median in its other features would pass for a lesion's.
    """
    added = {
        f"{region[1]}_shape_absent": table[name].eq(0).astype(float).where(table[name].notna())
        for name in table.columns
        if (region := GONE_VOLUME.match(str(name)))
    }
    new = {name: values for name, values in added.items() if name not in table}
    return pd.concat([table, pd.DataFrame(new, index=table.index)], axis=1) if new else table


def without_any_after(table: pd.DataFrame) -> int:
    """Count rows that have features of images before NAT and none at all of those after it."""
    after = np.array([bool(OF_AFTER.match(str(name))) for name in table.columns])
    if not after.any() or after.all():
        return 0
    known = table.notna().to_numpy()
    return int((known[:, ~after].any(axis=1) & ~known[:, after].any(axis=1)).sum())


def without_late(table: pd.DataFrame, allow_post_nat: bool) -> tuple[pd.DataFrame, int]:
    """The table without features that hold images taken after NAT, unless allowed; and how many were left out.

    They are known by a word `post` or `delta` between underscores anywhere, or `relative` in the first place.
    """
    late = [name for name in table.columns if AFTER_NAT.match(name)]
    if allow_post_nat or not late:
        return table, 0
    if len(late) == table.shape[1]:
        raise InputError("all features are of images taken after NAT; set fit.allow_post_nat to true to use them")
    say(
        f"{len(late)} features of images taken after NAT ({late[0]}, ...) are left out; "
        "--fit.allow_post_nat=true uses them"
    )
    return table.drop(columns=late), len(late)


def features_content(tables: list[pd.DataFrame]) -> str:
    """SHA-256 of feature tables: what enters the identity of a fit."""
    digest = hashlib.sha256()
    for table in tables:
        ordered = table.sort_index().sort_index(axis=1)
        digest.update("\n".join([*map(str, ordered.index), *map(str, ordered.columns)]).encode())
        digest.update(np.ascontiguousarray(ordered.to_numpy(float)).tobytes())
    return digest.hexdigest()
