"""Refusals before any work begins: too few patients for the folds, features without values, too few repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.radiomics.signatures.learn import LEAST_INNER, rarer_patients
from mammo_aln.radiomics.signatures.nested import Rows
from mammo_aln.radiomics.signatures.selection import LEAST_FOR_ICC
from mammo_aln.settings import FitConfig

Names = Mapping[str, Sequence[str]]


def refuse_few(rows: Mapping[str, Rows], settings: FitConfig) -> None:
    """Refuse folds that the rarer outcome cannot fill.

    Raises:
        InputError: fewer patients of an outcome than outer folds, or so few that an outer fold leaves less than two; or
            one imputation, which tells nothing of what is unsure.
    """
    if settings.imputations == 1:
        raise InputError(
            "fit.imputations = 1: one completed table cannot say how unsure it is; expected 0, or 2 to 100"
        )

    def left(fewest: int, folds: int) -> int:
        return fewest - math.ceil(fewest / folds)

    for name, training in rows.items():
        fewest = rarer_patients(training.labels, training.groups)
        if fewest < settings.folds or left(fewest, settings.folds) < LEAST_INNER:
            most = max((folds for folds in range(2, fewest + 1) if left(fewest, folds) >= LEAST_INNER), default=0)
            remedy = f"set fit.folds to {most}" if most else "that is too few to cross-validate"
            raise InputError(
                f"{name}: the rarer outcome has {fewest} training patients, too few for"
                f" fit.folds={settings.folds}; {remedy}"
            )


def refuse_unfilled(rows: Mapping[str, Rows], names: Names) -> None:
    """Refuse declared clinical features that no training patient has.

    Raises:
        InputError: names them all.
    """
    if "clinical" not in rows:
        return
    table = rows["clinical"].table[list(names["clinical"])]
    empty = [str(name) for name in table.columns if table[name].isna().all()]
    if empty:
        raise InputError(
            f"clinical features without a value in any training patient: {', '.join(empty)}; fill them in"
            " patients.csv, or take them out of cohort.yaml"
        )


def refuse_few_repeats(
    rows: Mapping[str, Rows], names: Names, repeats: Sequence[pd.DataFrame], settings: FitConfig
) -> None:
    """Refuse repeated measurements of too few training patients for an ICC; say where folds may lack them.

    Raises:
        InputError: fewer than five training rows have a feature in all tables.
    """
    if not repeats:
        return
    counts = {
        name: _repeated(rows[name].table[list(names[name])], repeats) for name in ("radiomics", "deep") if name in rows
    }
    for name, count in counts.items():
        if count == 0 < max(counts.values()):
            say(f"--repeats: no {name} features of training patients in the tables; the ICC filter leaves them alone")
        elif count < LEAST_FOR_ICC:
            raise InputError(
                f"--repeats: {count} training patients have {name} features in all tables; the ICC filter needs at"
                f" least {LEAST_FOR_ICC}: measure more patients again, or leave --repeats out"
            )
        elif count * (1 - 1 / settings.folds) * (1 - 1 / settings.inner_folds) < 2 * LEAST_FOR_ICC:
            say(
                f"--repeats: {count} training patients have repeated {name} features; folds with fewer than"
                f" {LEAST_FOR_ICC} of them skip the ICC filter"
            )


def _repeated(table: pd.DataFrame, repeats: Sequence[pd.DataFrame]) -> int:
    """Rows that have a feature in the table and all its repeats."""
    tables = [table, *(again.reindex(index=table.index, columns=table.columns) for again in repeats)]
    return int(np.logical_and.reduce([table.notna().to_numpy() for table in tables]).any(axis=1).sum())
