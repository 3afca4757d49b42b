"""Exams and patients as `check` sees them: the tables' word for what is before NAT, and the headers against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from mammo_aln.cohort.checks.finding import Finding
from mammo_aln.cohort.listing.exams import exam_day
from mammo_aln.cohort.listing.identity import contradictions, identity_of
from mammo_aln.cohort.schemas import NAT_START_DAY, numbers
from mammo_aln.cohort.selection import NAT_WORDS, Selection
from mammo_aln.cohort.tables import Cohort
from mammo_aln.dicom.fast_header import Excluded, FastHeader

NO_DATE = "no date of the exam: nothing says that it is before NAT"


def exam_findings(selection: Selection) -> Iterator[Finding]:
    """Images that nothing puts before NAT, and those that are set aside, with the reason."""
    for (patient, reason), _ in selection.undecided.groupby(["patient_id", "reason"]):
        yield Finding(f"{reason}: {NAT_WORDS}", f"patient {patient}", True)
    for image, reason in selection.set_aside[["image_id", "reason"]].itertuples(index=False):
        yield Finding(f"set aside: {reason}", f"image {image}", False)


def patients_without_image(cohort: Cohort, selection: Selection) -> Iterator[Finding]:
    """Eligible patients of whom no image is read: there is none, or all are set aside."""
    read = set(selection.used["patient_id"]) | set(selection.undecided["patient_id"])
    aside = dict(iter(selection.set_aside.groupby("patient_id")["reason"]))
    eligible = cohort.patients[cohort.patients["eligible"]].drop_duplicates("patient_id")
    for _, row in eligible[~eligible["patient_id"].isin(read)].iterrows():
        reasons = aside.get(row["patient_id"], pd.Series(dtype=object)).value_counts()
        fact = "no image of this eligible patient"
        if len(reasons):
            words = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
            start = row.get(NAT_START_DAY, np.nan)
            year = "" if pd.isna(start) else f"; {NAT_START_DAY} is {start:g}: is the year of NAT's start right?"
            fact = f"{fact} is read: {words}{year}"
        yield Finding(fact, f"patient {row['patient_id']}", True)


def header_findings(
    images: pd.DataFrame, headers: Sequence[FastHeader | Excluded], timepoint: pd.Series
) -> Iterator[Finding]:
    """Dates and patients of the headers against the tables.

    Args:
        images: rows whose files were read.
        headers: of these files.
        timepoint: of these images, empty where nothing says it.
    """
    days = numbers(images["days"]) if "days" in images else pd.Series(np.nan, images.index)
    origins: dict[str, set[int]] = {}
    open_days: dict[str, set[int]] = {}
    people = []
    for (_, image), stated, word, header in zip(images.iterrows(), days, timepoint, headers, strict=True):
        if isinstance(header, Excluded):
            continue
        patient, day = str(image["patient_id"]), exam_day(header)
        people.append((patient, identity_of(header)))
        if day is not None and not np.isnan(stated):
            origins.setdefault(patient, set()).add(day - int(stated))
        elif day is not None and not word:
            open_days.setdefault(patient, set()).add(day)
        elif np.isnan(stated) and not word:
            yield Finding(NO_DATE, f"image {image['image_id']}", False)
    for patient in (name for name, starts in origins.items() if len(starts) > 1):
        fact = "days in images.csv do not fit the dates in the files: empty those that are wrong, then index again"
        yield Finding(fact, f"patient {patient}", True)
    for patient in (name for name, dates in open_days.items() if len(dates) > 1):
        fact = "the files are of several days, which images.csv does not state: index again"
        yield Finding(fact, f"patient {patient}", True)
    for fact, names in contradictions(people):
        for name in names:
            yield Finding(f"{fact}, by the headers", f"patient {name}", False)
