"""Words of `index` on exams and patients, once the rows are written."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from mammo_aln.cohort.listing.identity import MIXED, contradictions
from mammo_aln.cohort.listing.image_rows import Surveyed, marks, mixed_folders
from mammo_aln.cohort.selection import NAT_WORDS, barred_by_user, exams_of
from mammo_aln.progress import say

SHOWN = 3


def tell_exams(images: pd.DataFrame, anchored: Collection[str]) -> None:
    """Count the images without a date, and the patients whose several exams nothing puts before NAT yet."""
    undated = int(images["days"].isna().sum())
    if undated:
        say(f"{undated} images have no date of their exam in the header: nothing says that they are before NAT")
    images = images[~barred_by_user(images)]
    counts = exams_of(images).groupby(images["patient_id"]).nunique()
    open_ones = images.loc[images["timepoint"].isna(), "patient_id"]
    several = sorted(set(counts.index[counts > 1]) & set(open_ones) - set(anchored))
    if several:
        count = f"{len(several)} patient{'s have' if len(several) > 1 else ' has'} several exams ({_listed(several)})"
        say(f"{count}: {NAT_WORDS}")


def tell_patients(mammograms: list[Surveyed], patient_of: Mapping[str, str], before: str) -> None:
    """Name the patients whose headers contradict their `patient_id`, and count those that no PatientID tells apart."""
    by_study = sum(of is not None and of.kind == "study" for of in marks(mammograms))
    if by_study:
        say(
            f"{by_study} images bear no PatientID or one that names nobody (removed, anonymous, 0 ...): told apart by "
            "StudyInstanceUID, so that a patient of several exams counts as several; correct patient_id in images.csv"
        )
    _tell_mixed_folders(mammograms)
    people = {
        (patient_of[before + relative], mammogram.identity)
        for relative, mammogram in mammograms
        if before + relative in patient_of
    }
    for fact, names in contradictions(people):
        if not fact.startswith(MIXED):
            say(f"{fact}: {_listed(names)}; correct patient_id in images.csv where they are wrong, then index again")


def _tell_mixed_folders(mammograms: list[Surveyed]) -> None:
    mixed = sorted(mixed_folders(mammograms))
    if mixed:
        say(
            f"{len(mixed)} folder{'s' if len(mixed) > 1 else ''} of several patients by their headers "
            f"({_listed(mixed)}): not taken as patients; PatientID tells their files apart, and patients are numbered"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
