"""The cohort's patients: centres, factors, labels and splits, drawn before any image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.phantom.truth import CENTER_INTERCEPTS, Truth, draw_factors

OTHER_BREAST_SHARE = 0.15
LEAST_PATIENTS = 24
LEAST_PER_CLASS = 4
"""Patients of each class among the internal centres, so that train, val and internal_test can hold both classes."""
SHARES = {True: {"train": 0.64, "val": 0.16, "internal_test": 0.20}, False: {"train": 0.80, "val": 0.20}}


def center_sizes(patients: int, centers: int, external_patients: int | None) -> list[int]:
    """Patients of each centre; the last one is the external one, the others share the rest evenly.

    Raises:
        InputError: fewer than two centres, too few patients in all, or too few on either side.
    """
    if centers < 2 or centers > 26:
        raise InputError(f"centers = {centers}: expected 2 to 26, the last of which is the external test")
    if patients < LEAST_PATIENTS:
        raise InputError(
            f"patients = {patients}: expected at least {LEAST_PATIENTS}, so that every split holds both classes"
        )
    external = patients // centers if external_patients is None else external_patients
    internal = patients - external
    least_internal = max(3 * LEAST_PER_CLASS, centers - 1)
    if external < LEAST_PER_CLASS or internal < least_internal:
        raise InputError(
            f"{external} external and {internal} other patients: expected at least {LEAST_PER_CLASS} and"
            f" {least_internal}; change patients, centers or external_patients"
        )
    each, more = divmod(internal, centers - 1)
    return [each + (center < more) for center in range(centers - 1)] + [external]


def enrol(sizes: list[int]) -> pd.DataFrame:
    """Number the patients of each centre: columns `patient_id`, `center`, `center_index` and `external`."""
    index = np.repeat(np.arange(len(sizes)), sizes)
    letters = [chr(ord("a") + center) for center in index]
    numbers = np.concatenate([np.arange(1, size + 1) for size in sizes])
    return pd.DataFrame(
        {
            "patient_id": [f"{letter.upper()}{number:04d}" for letter, number in zip(letters, numbers, strict=True)],
            "center": [f"center_{letter}" for letter in letters],
            "center_index": index,
            "external": index == len(sizes) - 1,
        }
    )


def plan_patients(sizes: list[int], seed: int, truth: Truth, internal_test: bool) -> pd.DataFrame:
    """Draw every patient.

    Returns:
        One row per patient: identifiers, factors, `intercept`, `probability`, `aln_status`, `side`,
        `other_breast`, `split`.
    """
    rng = np.random.default_rng([seed, 0])
    table = enrol(sizes)
    table = table.join(draw_factors(table["center"].tolist(), rng).drop(columns="center"))
    table["intercept"] = np.array(CENTER_INTERCEPTS)[table["center_index"] % len(CENTER_INTERCEPTS)]
    table["probability"] = truth.probability(table, table["intercept"].to_numpy(float))
    table["side"] = np.where(rng.random(len(table)) < 0.5, "L", "R")
    table["other_breast"] = rng.random(len(table)) < OTHER_BREAST_SHARE
    external = table["external"].to_numpy(bool)
    table["aln_status"] = draw_labels(table["probability"].to_numpy(float), external, rng)
    table["split"] = _draw_splits(table, external, SHARES[internal_test], rng)
    return table


def draw_labels(probability: np.ndarray, external: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels by the patients' probabilities; drawn again, all of them, where a small cohort lacks a class somewhere."""
    while True:
        labels = (rng.random(probability.size) < probability).astype(int)
        enough = all(
            (labels[~external] == status).sum() >= LEAST_PER_CLASS and (labels[external] == status).any()
            for status in (0, 1)
        )
        if enough:
            return labels


def _draw_splits(
    table: pd.DataFrame, external: np.ndarray, shares: dict[str, float], rng: np.random.Generator
) -> np.ndarray:
    """Deal each class out by the shares, centre after centre, so that splits are alike in status and centre."""
    splits = np.full(len(table), "external_test", dtype=object)
    order = np.lexsort([rng.random(len(table)), table["center_index"].to_numpy()])
    for status in (0, 1):
        dealt = dict.fromkeys(shares, 0)
        mine = [row for row in order if not external[row] and table["aln_status"].iat[row] == status]
        for turn, row in enumerate(mine, start=1):
            split = max(shares, key=lambda name: shares[name] * turn - dealt[name])
            dealt[split] += 1
            splits[row] = split
    return splits
