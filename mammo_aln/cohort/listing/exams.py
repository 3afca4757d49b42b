"""Time of an exam: its number, and its days since the patient's first one; no date leaves this module."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from mammo_aln.dicom.fast_header import FastHeader

DATE_TAGS = ("StudyDate", "AcquisitionDate", "ContentDate")
"""The date of an exam is the first of these that can be read."""

YEARS = (1980, 2200)
"""Dates outside are what de-identification leaves behind (19000101, 00010101): unknown."""

DISAGREEMENT = "StudyDate and AcquisitionDate are more than a day apart: the first was taken"
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")


class DatedImage(NamedTuple):
    """One image of a patient.

    Args:
        day: ordinal of its date; None where no date can be read, or its file is not at hand.
        study_uid: StudyInstanceUID; empty where unknown.
        study: what `images.csv` says already, empty where nothing.
        days: likewise; None where nothing.
    """

    day: int | None
    study_uid: str
    study: str = ""
    days: int | None = None


def exam_day(header: FastHeader) -> int | None:
    """Ordinal of the exam's date (see `DATE_TAGS`); None where there is none that can be believed."""
    for tag in DATE_TAGS:
        day = _ordinal(header.text(tag))
        if day is not None:
            return day
    return None


def dates_disagree(header: FastHeader) -> bool:
    """Test that StudyDate and AcquisitionDate are more than a day apart."""
    study, acquisition = (_ordinal(header.text(tag)) for tag in DATE_TAGS[:2])
    return study is not None and acquisition is not None and abs(study - acquisition) > 1


@lru_cache(maxsize=20_000)
def _ordinal(text: str) -> int | None:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day = map(int, match.groups())
    try:
        return datetime.date(year, month, day).toordinal() if YEARS[0] <= year <= YEARS[1] else None
    except ValueError:
        return None


def number_exams(images: Sequence[DatedImage], *, anchored: bool = False) -> list[tuple[str, int | None]]:
    """Number one patient's exams, and count the days since the first.

    An exam is a StudyInstanceUID on one day; without a UID, a day. Dated exams are `s1`, `s2` ... by day, then by UID.
    Exams without a date have no order: `u1`, `u2` ... where the patient has several, else empty. Days that
    `images.csv` states already keep their scale where `anchored`: an exam before the first has negative days then.

    Args:
        images: all of the patient's.
        anchored: something else counts on the scale of the days that stand.

    Returns:
        `study` and `days` of each image.
    """
    origin = _origin(images, anchored)
    all_days = [image.days if image.day is None or origin is None else image.day - origin for image in images]
    uid_of = {image.study: image.study_uid for image in images if image.study and image.study_uid}
    uids = [image.study_uid or uid_of.get(image.study, f"~{image.study}" if image.study else "") for image in images]
    dated = sorted({(days, uid) for days, uid in zip(all_days, uids, strict=True) if days is not None})
    undated = sorted({uid for days, uid in zip(all_days, uids, strict=True) if days is None and uid})
    names: dict[tuple[int | None, str], str] = {key: f"s{number}" for number, key in enumerate(dated, 1)}
    if len(undated) + bool(dated) > 1:
        names |= {(None, uid): f"u{number}" for number, uid in enumerate(undated, 1)}
    return [(names.get((days, uid), ""), days) for days, uid in zip(all_days, uids, strict=True)]


def _origin(images: Sequence[DatedImage], anchored: bool) -> int | None:
    """The day that counts as 0; None where the days that stand are kept as they are: their files are not at hand, or
    `anchored` ones contradict the headers, which then may be what is wrong."""
    known = [image.day for image in images if image.day is not None]
    stated = {image.day - image.days for image in images if image.day is not None and image.days is not None}
    if anchored and len(stated) > 1:
        return None
    if len(stated) == 1 and (anchored or any(image.day is None and image.days is not None for image in images)):
        return stated.pop()
    if not stated and any(image.days is not None for image in images):
        return None
    return min(known, default=None)
