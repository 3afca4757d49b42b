"""Whom a pre-training or a training has seen, as hashes, so that none of them is taken for a test patient later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.model.origin import Seen
from mammo_aln.progress import say

TESTS = ("internal_test", "external_test")
DIGITS = 16
SHOWN = 3


def salted_each(salt: str, *parts: str, last: Iterable[str]) -> list[str]:
    """16 hex digits of SHA-256 over salt, parts and each of many last parts, a line each, in the order of the last."""
    sha256 = hashlib.sha256
    prefix = "".join(f"{text}\n" for text in (salt, *parts)).encode()
    return [sha256(prefix + text.encode()).hexdigest()[:DIGITS] for text in last]


def seen_by(run_id: str, cohort: Cohort, crops: pd.DataFrame, contents: Mapping[str, str]) -> Seen:
    """Hashes of the patients and files behind the crops that shaped the weights.

    Args:
        run_id: of the training.
        cohort: whose name is hashed with each patient.
        crops: `patient_id` and `image_id` of each crop.
        contents: SHA-256 of each image's file by `image_id` (`CropSet.contents`); empty where no image was read.
    """
    images, patients = (dict.fromkeys(crops[name].tolist()) for name in ("image_id", "patient_id"))
    files = {contents[image] for image in images} if contents else set()
    return Seen(
        run_id,
        frozenset(salted_each(run_id, cohort.name, last=patients)),
        frozenset(salted_each(run_id, last=files)),
    )


def refuse_seen_patients(seen: Sequence[Seen], cohort: Cohort) -> None:
    """Compare a cohort's patients, by cohort name and patient_id, with those that a run's pre-trainings have seen.

    Raises:
        InputError: patients of a test split were pre-trained on.
    """
    table = cohort.patients
    names = table["patient_id"].tolist()
    learnt = np.zeros(len(names), bool)
    for each in seen:
        learnt |= [digest in each.patients for digest in salted_each(each.salt, cohort.name, last=names)]
    seen_rows = table[learnt]
    tests = seen_rows[seen_rows["split"].isin(TESTS)]
    if len(tests):
        raise InputError(
            f"{cohort.name}: {_rows(tests['patient_id'])} of {' and '.join(sorted(tests['split'].unique()))} were"
            " pre-trained on (same cohort name and patient_id): their test would be no test. Pre-train without them;"
            " or, if they are other people, give the two cohorts different names in cohort.yaml"
        )
    validating = seen_rows[seen_rows["split"] == "val"]
    if len(validating):
        say(f"note: {_rows(validating['patient_id'])} of val were pre-trained on; validation may be too kind")


def refuse_seen_files(seen: Sequence[Seen], cohort: Cohort, crops: pd.DataFrame, contents: Mapping[str, str]) -> None:
    """Compare the content of test patients' image files with those that a run, or its pre-trainings, learnt from.

    Raises:
        InputError: a test patient's file has the content of one that was trained on.
    """
    tests = set(cohort.patients.loc[cohort.patients["split"].isin(TESTS), "unit_id"])
    tested = crops.loc[crops["unit_id"].isin(tests), "image_id"].unique().tolist() if seen else []
    opened = [contents[image] for image in tested]
    learnt = {
        str(image)
        for each in seen
        for image, digest in zip(tested, salted_each(each.salt, last=opened), strict=True)
        if digest in each.files
    }
    if learnt:
        images = f"{len(learnt)} images ({', '.join(sorted(learnt)[:SHOWN])}{', ...' if len(learnt) > SHOWN else ''})"
        raise InputError(f"{cohort.name}: {images} of test patients were trained or pre-trained on (same content)")


def _rows(patients: pd.Series) -> str:
    count = patients.nunique()
    return f"{count} patient{'' if count == 1 else 's'}"
