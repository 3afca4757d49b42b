"""Splits by patient: stratified by outcome and centre, the same for a seed whatever the order of the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.likeness.guard import refuse_leaks
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.cohort.values.table_files import write_patients_column
from mammo_aln.errors import InputError, did_you_mean
from mammo_aln.progress import say
from mammo_aln.spreadsheet.characters import as_listed, tidy

SHOWN = 3
"""Splits or folds that a message tells of; of more it tells the number."""


def split_cohort(
    root: str | Path,
    *,
    external_center: str | None = None,
    val_share: float = 0.2,
    internal_test_share: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write the `split` column of `patients.csv`.

    Args:
        root: the cohort folder.
        external_center: this centre's patients become `external_test`; the others are dealt out.
        val_share: share of the other patients for `val`.
        internal_test_share: share of the other patients for `internal_test`.
        seed: another seed deals the patients out differently.
        overwrite: replace a split that stands.

    Returns:
        `patients.csv`. Patients that are not eligible get an empty cell.

    Raises:
        InputError: a setting is out of range, a split stands already, a split would hold one class only, or two
            patients are one person or share an exposure.
    """
    shares = _shares(val_share, internal_test_share)
    cohort = read_cohort(root, need=("patients",))
    if "split" in cohort.patients and not overwrite:
        raise InputError(f"{cohort.root / 'patients.csv'} has a split column already; --overwrite replaces it")
    eligible = cohort.patients[cohort.patients["eligible"]]
    split = assign_splits(eligible, shares, seed=seed, external_center=external_center)
    refuse_leaks(cohort, "patient_id", None)
    _say_counts(eligible, split)
    by_patient = dict(zip(eligible["patient_id"], split, strict=True))
    return write_patients_column(cohort.root, "split", by_patient)


def assign_splits(
    patients: pd.DataFrame, shares: Mapping[str, float], *, seed: int, external_center: str | None = None
) -> pd.Series:
    """Split of each row; all rows of a patient share one.

    Args:
        patients: `patient_id`, `center`, `aln_status` (1, 0, NaN).
        shares: share of each split among the patients outside the external centre; they sum to 1.
        seed: seed of the dealing.
        external_center: its patients become `external_test`.

    Returns:
        Names of splits, indexed as `patients`.

    Raises:
        InputError: no such centre, or a split would hold one class only.
    """
    people = _people(patients, seed)
    if external_center is not None:
        external_center = as_listed(tidy(external_center), sorted(people["center"].unique()))
    split = pd.Series("external_test", index=people.index, dtype=object)
    if external_center is not None and external_center not in set(people["center"]):
        centers = ", ".join(sorted(people["center"].unique()))
        raise InputError(
            f"external_center = {external_center!r}: no eligible patient is from there (centres: {centers})"
            f"{did_you_mean(external_center, people['center'])}"
        )
    dealt = people if external_center is None else people[people["center"] != external_center]
    split.loc[dealt.index] = np.array(_deal(len(dealt), shares), dtype=object)
    _refuse_one_class(people["status"], split, [*shares, *(["external_test"] if external_center else [])])
    return patients["patient_id"].map(split)


def fold_assignments(patients: pd.DataFrame, folds: int, seed: int) -> pd.Series:
    """Fold (0 to `folds` - 1) of each row, by patient, stratified as the splits are.

    Args:
        patients: `patient_id`, `center`, `aln_status` of the patients to be dealt out (no test patients).
        folds: number of folds, at least 2.
        seed: seed of the dealing.

    Raises:
        InputError: fewer than 2 folds, or a fold would hold one class only.
    """
    if folds < 2:
        raise InputError(f"folds = {folds}: expected at least 2")
    people = _people(patients, seed)
    names = [f"fold {number}" for number in range(folds)]
    fold = pd.Series(_deal(len(people), dict.fromkeys(names, 1 / folds)), index=people.index, dtype=object)
    rarer = min(int((people["status"] == status).sum()) for status in (0, 1))
    fewer = f"choose fewer than {folds} folds (the rarer outcome has {rarer} patients), or gather more patients"
    _refuse_one_class(people["status"], fold, names, fewer)
    return patients["patient_id"].map(fold.map({name: number for number, name in enumerate(names)}))


def with_fold(cohort: Cohort, folds: int, fold: int, seed: int) -> Cohort:
    """The cohort with `val` = one fold of its `train` and `val` patients and `train` = the others; tests untouched.

    Patients who are not eligible or whose status is unknown are not dealt out: they neither train nor validate.

    Args:
        cohort: has a split column.
        folds: number of folds; 0 leaves the split column as it is.
        fold: which one validates, 0 to `folds` - 1.
        seed: seed of the dealing.

    Raises:
        InputError: no such fold, or one that would hold one class only.
    """
    if not folds:
        if fold:
            raise InputError(f"data.fold = {fold}: expected 0 without data.folds, the number of folds")
        return cohort
    if not 0 <= fold < folds:
        raise InputError(f"data.fold = {fold}: expected 0 to {folds - 1} with data.folds = {folds}")
    patients = cohort.patients
    dealt = patients["split"].isin(["train", "val"]) & patients["eligible"] & patients["aln_status"].notna()
    number = fold_assignments(patients[dealt], folds, seed)
    split = patients["split"].copy()
    split.loc[number.index] = np.where(number == fold, "val", "train")
    return replace(cohort, patients=patients.assign(split=split))


def _shares(val: float, internal_test: float) -> dict[str, float]:
    if not 0 < val < 1:
        raise InputError(f"val_share = {val}: expected more than 0 and less than 1 (validation chooses the checkpoint)")
    if not 0 <= internal_test < 1:
        raise InputError(f"internal_test_share = {internal_test}: expected at least 0 and less than 1")
    if val + internal_test >= 1:
        raise InputError(
            f"val_share + internal_test_share = {val + internal_test:g}: expected less than 1; train gets the rest"
        )
    shares = {"train": 1 - val - internal_test, "val": val}
    return {**shares, "internal_test": internal_test} if internal_test else shares


def _people(patients: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One row per patient (`center`, `status`), status by status, centre by centre, shuffled within.

    A patient with residual disease in either axilla counts as 1. The shuffle is a hash of seed and identifier, so that
    the rows' order does not matter.
    """
    groups = patients.groupby("patient_id")
    people = pd.DataFrame({"center": groups["center"].min(), "status": groups["aln_status"].max()})
    key = [hashlib.sha256(f"{seed}/{patient}".encode()).hexdigest() for patient in people.index]
    return people.assign(key=key).sort_values(["status", "center", "key"])


def _deal(count: int, shares: Mapping[str, float]) -> list[str]:
    """Deal `count` patients out so that every run of neighbours (a stratum) gets nearly the shares."""
    names = list(shares)
    share = np.array([shares[name] for name in names])
    given = np.zeros(len(names))
    dealt = []
    for number in range(1, count + 1):
        # rounding, so that equal debts are settled in the order of the names on every machine
        owed = np.round(share * number - given, 9)
        chosen = int(owed.argmax())
        given[chosen] += 1
        dealt.append(names[chosen])
    return dealt


def _refuse_one_class(
    status: pd.Series,
    split: pd.Series,
    expected: list[str],
    remedy: str = "change the shares or gather more patients",
) -> None:
    faults = []
    if set(split) == {"external_test"} and len(expected) > 1:
        raise InputError("external_center: every eligible patient is from there, so that none is left to train on")
    for name in expected:
        inside = status[split == name]
        positive, negative = int((inside == 1).sum()), int((inside == 0).sum())
        # an external centre whose outcomes are all unknown can still be predicted
        unlabelled = name == "external_test" and len(inside) > 0 and positive + negative == 0
        if not unlabelled and (positive == 0 or negative == 0):
            faults.append(f"{name} would hold {positive} patients with status 1 and {negative} with status 0")
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise InputError(f"{'; '.join(faults[:SHOWN])}{more}: expected both classes in each; {remedy}")


def _say_counts(patients: pd.DataFrame, split: pd.Series) -> None:
    for name, rows in patients.groupby(split):
        positive, labelled = int((rows["aln_status"] == 1).sum()), int(rows["aln_status"].notna().sum())
        say(f"{name}: {rows['patient_id'].nunique()} patients, {positive} of {labelled} known outcomes positive")
