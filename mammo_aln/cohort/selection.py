"""The images that are read: before NAT, not set aside by the user, and one per patient, side and view.

Every command that reads images asks here: crops of any strategy, training, prediction, the proof sheet and the report.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo_aln.cohort.schemas import NAT_START_DAY, YES_NO, numbers
from mammo_aln.cohort.tables import Cohort
from mammo_aln.cohort.values.reasons import shared_reasons
from mammo_aln.dicom.mammogram import KIND_FLAGS, MODIFIER_FLAGS
from mammo_aln.dicom.views import MAGNIFICATION_VIEW_FROM
from mammo_aln.errors import InputError

PRIOR_DAYS = 180
"""An image more than half a year before NAT is a prior: the tumour may not have been there."""

MAGNIFIED = frozenset({"magnification"})
PARTIAL = ("magnification", "spot_compression", "cleavage", "axillary_tail", "tangential", "stereotactic")
"""Words of `kind` for views that show a part of the breast."""

NAT_WORDS = (
    "say what is before NAT: nat_start_day in patients.csv (on the scale of days in images.csv), or timepoint in "
    "images.csv (pre_nat, post_nat or prior), or eligible = 0 for the images that are not to be used"
)
NO_REASON = "eligible = 0, no reason stated"
SHOWN = 5


@dataclass(frozen=True)
class Selection:
    """A cohort's images in three groups, each in the order of `images.csv`.

    Args:
        used: images that are read.
        set_aside: the others, with `reason`.
        undecided: those of eligible patients that nothing puts before or after NAT, with `reason`.
    """

    used: pd.DataFrame
    set_aside: pd.DataFrame
    undecided: pd.DataFrame


def used_images(cohort: Cohort) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose the images that are read.

    Args:
        cohort: its images, regions (an image with a box is preferred) and `nat_start_day`.

    Returns:
        The images that are read, and the others with their `reason`.

    Raises:
        InputError: an eligible patient has several exams, and nothing says what is before NAT.
    """
    selection = select_images(cohort)
    if len(selection.undecided):
        raise InputError(undecided_words(selection.undecided))
    return selection.used, selection.set_aside


def undecided_words(undecided: pd.DataFrame) -> str:
    """Name the patients and what to type."""
    names = list(dict.fromkeys(undecided["patient_id"]))
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    reasons = " or ".join(dict.fromkeys(undecided["reason"]))
    return f"{len(names)} patient{'s' if len(names) > 1 else ''} with {reasons} ({shown}): {NAT_WORDS}"


def select_images(cohort: Cohort) -> Selection:
    """Sort a cohort's images by the rules of `used_images`, without judging what is undecided."""
    images = cohort.images
    if images.empty:
        return Selection(images, images.assign(reason=""), images.assign(reason=""))
    reason = pd.Series("", images.index, dtype=object)
    barred = barred_by_user(images)
    stated = shared_reasons(_column(images, "exclusion_reason"), images["patient_id"], "images.csv")
    reason = reason.mask(barred, stated.fillna(NO_REASON))
    open_question = _undecided(cohort, images[~barred]).reindex(images.index, fill_value="")
    timepoint = timepoints(cohort)
    reason = _where_empty(reason, timepoint == "post_nat", "after NAT")
    reason = _where_empty(reason, timepoint == "prior", f"a prior exam, more than {PRIOR_DAYS} days before NAT")
    words = kind_words(images)
    boxed = images["image_id"].isin(set(cohort.regions["image_id"]))
    for word in PARTIAL:
        named = {**MODIFIER_FLAGS, **KIND_FLAGS}[word]
        reason = _where_empty(reason, words.map(lambda of, word=word: word in of), f"{named}: a part of the breast")
    left = (reason == "") & (open_question == "")
    reason = reason.mask(left, _second_choice(cohort, images[left], words[left], boxed[left]))
    reason = reason.mask((reason != "") & boxed & ~barred, reason + " (regions.csv has a box on it)")
    undecided = (open_question != "") & (reason == "")
    return Selection(
        images[reason == ""],
        images.assign(reason=reason)[reason != ""],
        images.assign(reason=open_question)[undecided],
    )


def timepoints(cohort: Cohort) -> pd.Series:
    """`pre_nat`, `post_nat`, `prior` or empty for each image: what images.csv says, else by `nat_start_day`."""
    images = cohort.images
    stated = _column(images, "timepoint")
    before = _nat_start(cohort) - _days(images)
    derived = pd.Series(
        np.select([before.isna(), before < 0, before > PRIOR_DAYS], ["", "post_nat", "prior"], "pre_nat"), images.index
    )
    return stated.fillna(derived)


def undated_images(cohort: Cohort) -> int:
    """Number of images that are read though nothing says when they were taken."""
    read = select_images(cohort).used.index
    return int(((timepoints(cohort) == "") & _days(cohort.images).isna())[read].sum())


def exams_of(images: pd.DataFrame) -> pd.Series:
    """Word for an image's exam in time among those of its patient: its days, else its study, else one word."""
    days = _days(images)
    return days.map("{:g}".format).where(days.notna(), _column(images, "study").fillna("unknown"))


def kind_words(images: pd.DataFrame) -> pd.Series:
    """Words of `kind` for each image; of a table without it, the same words by its flags and intent."""
    flags = _column(images, "flags").fillna("").astype(str)
    intent = _column(images, "presentation_intent").fillna("").astype(str).str.upper()
    of_flags = {**MODIFIER_FLAGS, **KIND_FLAGS}
    pairs = list(zip(flags, intent, strict=True))
    words_of = {
        (text, meant): frozenset(word for word, named in of_flags.items() if named in text.split("; "))
        | (frozenset({"for_processing"}) if meant == "FOR PROCESSING" else frozenset())
        for text, meant in set(pairs)
    }
    by_flags = [words_of[pair] for pair in pairs]
    magnified = numbers(_column(images, "magnification")) >= MAGNIFICATION_VIEW_FROM
    kinds = _column(images, "kind")
    words = [
        (frozenset(str(kind).split()) if stated else old) | (MAGNIFIED if enlarged else frozenset())
        for kind, stated, old, enlarged in zip(kinds, kinds.notna(), by_flags, magnified, strict=True)
    ]
    return pd.Series(words, images.index, dtype=object)


def _undecided(cohort: Cohort, images: pd.DataFrame) -> pd.Series:
    """Why nothing puts an image before or after NAT; empty where something does, or where there is one exam alone."""
    eligible = set(cohort.patients.loc[cohort.patients["eligible"], "patient_id"])
    asked = images["patient_id"].isin(eligible) if len(cohort.patients) else pd.Series(True, images.index)
    timepoint = timepoints(cohort)[images.index]
    several = exams_of(images).groupby(images["patient_id"]).transform("nunique") > 1
    started = _nat_start(cohort)[images.index]
    reason = pd.Series("", images.index, dtype=object)
    reason = reason.mask(several & (timepoint == ""), "several exams and no word which are before NAT")
    lost = started.notna() & (timepoint == "")
    reason = reason.mask(lost, "a nat_start_day and images whose days are unknown")
    late = (timepoint == "pre_nat") & (_days(images) > started)
    reason = reason.mask(late, "images called pre_nat in images.csv, but later than nat_start_day")
    return reason.where(asked, "")


def _second_choice(cohort: Cohort, images: pd.DataFrame, words: pd.Series, boxed: pd.Series) -> pd.Series:
    """Why an image yields to another one of its patient, side and view; empty for the first choice of each."""
    days = _nat_start(cohort)[images.index] - _days(images)
    days = days.fillna(-_days(images)).fillna(0.0)  # without a day of NAT the latest of those called pre_nat

    def lacks(*unwanted: str) -> pd.Series:
        return words.map(lambda of: not of.isdisjoint(unwanted)).astype(int)

    size = numbers(_column(images, "rows")) * numbers(_column(images, "columns"))
    preference = pd.DataFrame(
        {
            "its exam is nearer to NAT": days,
            "it is For Presentation": lacks("for_processing"),
            "it is an ordinary mammogram": lacks("synthetic_2d", "secondary_capture", "contrast_low_energy"),
            "nothing is displaced in it": lacks("implant_displaced", "rolled"),
            "regions.csv has a box on it": (~boxed).astype(int),
            "it has more pixels": -size.fillna(0.0),
            "its path comes first": _rank(images),
        }
    )
    key = [images["patient_id"], images["laterality"], images["view"]]
    known = images["laterality"].notna() & images["view"].notna()
    ordered = preference[known].sort_values(list(preference.columns), kind="stable")
    first = ordered.groupby([column[known].reindex(ordered.index) for column in key], sort=False).transform("first")
    reason = pd.Series("", images.index, dtype=object)
    for column in preference.columns:
        worse = (preference[column][known] > first[column].reindex(preference.index[known])).reindex(
            images.index, fill_value=False
        )
        reason = reason.mask((reason == "") & worse, f"another image of this side and view is used: {column}")
    return reason


def _rank(images: pd.DataFrame) -> pd.Series:
    ordered = images.sort_values(["path", "image_id"], kind="stable").index
    return pd.Series(np.arange(len(images)), ordered).reindex(images.index)


def barred_by_user(images: pd.DataFrame) -> pd.Series:
    """True for each image whose `eligible` is 0."""
    return _column(images, "eligible").map(lambda cell: pd.notna(cell) and not YES_NO.get(str(cell).lower(), True))


def _nat_start(cohort: Cohort) -> pd.Series:
    if NAT_START_DAY not in cohort.patients:
        return pd.Series(np.nan, cohort.images.index, dtype=float)
    stated = cohort.patients.dropna(subset=[NAT_START_DAY]).drop_duplicates("patient_id")
    return (
        cohort.images["patient_id"]
        .map(dict(zip(stated["patient_id"], stated[NAT_START_DAY], strict=True)))
        .astype(float)
    )


def _days(images: pd.DataFrame) -> pd.Series:
    return numbers(_column(images, "days"))


def _column(images: pd.DataFrame, name: str) -> pd.Series:
    return images[name] if name in images else pd.Series(np.nan, images.index, dtype=object)


def _where_empty(reason: pd.Series, holds: pd.Series, words: str) -> pd.Series:
    return reason.mask((reason == "") & holds, words)
