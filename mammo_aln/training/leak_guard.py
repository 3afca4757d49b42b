"""Whom a pre-training or a training has seen, as hashes, so that none of them is taken for a test patient later."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.cohort.likeness.rows import are_copies, copies_between, rare_rows, written_rows
from mammo_aln.cohort.likeness.twins import fingerprints
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.model.origin import Seen
from mammo_aln.training.data.presence import TABLE_FEATURES
from mammo_aln.training.traces import Traces, alike_to, files_of, uids_of, written_sketches

TESTS = ("internal_test", "external_test")
DIGITS = 16
SHOWN = 3
MOST_IMAGES = 40
"""Images of one exam, at most."""


def salted_each(salt: str, *parts: str, last: Iterable[str]) -> list[str]:
    """16 hex digits of SHA-256 over salt, parts and each of many last parts, a line each, in the order of the last."""
    sha256 = hashlib.sha256
    prefix = "".join(f"{text}\n" for text in (salt, *parts)).encode()
    return [sha256(prefix + text.encode()).hexdigest()[:DIGITS] for text in last]


def seen_by(
    run_id: str, cohort: Cohort, crops: pd.DataFrame, contents: Mapping[str, str], traces: Traces | None = None
) -> Seen:
    """Hashes of the patients and images behind the crops that shaped the weights.

    Args:
        run_id: of the training.
        cohort: whose name is hashed with each patient.
        crops: `patient_id` and `image_id` of each crop.
        contents: SHA-256 of each image's file by `image_id` (`CropSet.contents`); empty where no image was read.
        traces: of these patients, see `traces_of`; without them they are known by names and files alone.
    """
    images, patients = (dict.fromkeys(crops[name].tolist()) for name in ("image_id", "patient_id"))
    files = {contents[image] for image in images} if contents else set()
    return Seen(
        run_id,
        frozenset(salted_each(run_id, cohort.name, last=patients)),
        frozenset(salted_each(run_id, last=files)),
        **({} if traces is None else _hashed(run_id, traces)),
    )


def _hashed(salt: str, traces: Traces) -> Mapping[str, Any]:
    images_of = Counter(uid for mark in traces.marks.values() for uid in mark.uids)
    uids = [uid for uid, count in images_of.items() if count <= MOST_IMAGES]  # more have what fills an empty tag
    matrices = {mark.matrix for mark in traces.marks.values() if mark.matrix}
    return {
        "pixels": frozenset(salted_each(salt, "pixels", last=matrices)),
        "uids": frozenset(salted_each(salt, "uid", last=uids)),
        "columns": traces.columns,
        "rows": tuple(sorted(salted_each(salt, "row", *traces.columns, last=filter(None, traces.rows)))),
        "sketches": written_sketches(traces.marks.values(), salt),
        "whole": True,
    }


@dataclass(frozen=True)
class Tested:
    """Rows of a cohort that count as a test, labelled or not, and what a run learnt from.

    Args:
        cohort: the cohort.
        patients: the rows.
        seen: whom the run learnt from.
        deed: what it did with them, such as `trained on`.
        remedy: what to do.
        accepted: patients who may be like others by `leaks_accepted`; one of the same name is none.
    """

    cohort: Cohort
    patients: pd.DataFrame
    seen: Sequence[Seen]
    deed: str
    remedy: str
    accepted: frozenset[str] = frozenset()

    def refuse_names(self) -> None:
        """Compare names, identifiers of exams and clinical values: nothing is decoded.

        Raises:
            InputError: a row is one of those that the run learnt from.
        """
        names = self.patients["patient_id"].tolist()
        for each in self.seen:
            digests = salted_each(each.salt, self.cohort.name, last=names)
            known = [name for name, digest in zip(names, digests, strict=True) if digest in each.patients]
            self._refuse(known, "patient", "same cohort name and patient_id")
        names = [name for name in names if name not in self.accepted]
        images = self.cohort.images[self.cohort.images["patient_id"].isin(names)]
        owner = dict(zip(images["image_id"].tolist(), images["patient_id"].tolist(), strict=True))
        if not owner or not any(each.uids for each in self.seen):
            return self._refuse_rows()
        of_images = uids_of(files_of(self.cohort, owner))
        images_of = Counter(uid for uids in of_images.values() for uid in uids)
        known = [
            owner[image]
            for image, every in of_images.items()
            for each in self.seen
            for uids in [[uid for uid in every if images_of[uid] <= MOST_IMAGES]]
            if not each.uids.isdisjoint(salted_each(each.salt, "uid", last=uids))
        ]
        self._refuse(known, "patient", "same StudyInstanceUID or SOPInstanceUID")
        return self._refuse_rows()

    def _refuse_rows(self) -> None:
        for each in self.seen:
            if not each.rows or not set(each.columns) <= set(self.patients):
                continue
            texts = written_rows(self.patients, each.columns)
            digests = salted_each(each.salt, "row", *each.columns, last=texts)
            known, names = set(each.rows), self.patients["patient_id"].tolist()
            equal = [bool(text) and digest in known for text, digest in zip(texts, digests, strict=True)]
            rare = rare_rows(self.patients, each.columns, len(each.rows))
            filled = [digest for text, digest in zip(texts, digests, strict=True) if text]
            if not are_copies(*copies_between(filled, each.rows)):
                equal = [both and alone for both, alone in zip(equal, rare, strict=True)]
            values = "image features" if each.columns[0].startswith(TABLE_FEATURES) else "clinical values"
            self._refuse(
                [name for name, is_equal in zip(names, equal, strict=True) if is_equal and name not in self.accepted],
                "patient",
                f"equal in all {len(each.columns)} {values}",
            )

    def refuse_images(self, crops: pd.DataFrame, contents: Mapping[str, str], kept_in: Path | None) -> None:
        """Compare files and decoded pixels.

        Raises:
            InputError: an image is one of those that the run learnt from, or a copy of it.
        """
        units = set(self.patients.loc[~self.patients["patient_id"].isin(self.accepted), "unit_id"])
        images = crops.loc[crops["unit_id"].isin(units), "image_id"].unique().tolist() if self.seen else []
        for each in self.seen:
            digests = salted_each(each.salt, last=[contents[image] for image in images])
            self._refuse(
                [i for i, digest in zip(images, digests, strict=True) if digest in each.files], "image", "same content"
            )
        self.refuse_pixels(images, kept_in)

    def refuse_pixels(self, images: Sequence[str], kept_in: Path | None) -> None:
        """Compare decoded pixels of some images.

        Raises:
            InputError: an image is one of those that the run learnt from, or a copy of it.
        """
        if self.accepted:
            owner = dict(zip(self.cohort.images["image_id"], self.cohort.images["patient_id"], strict=True))
            images = [image for image in images if owner[image] not in self.accepted]
        if not len(images) or not any(each.pixels for each in self.seen):
            return
        marks = fingerprints(files_of(self.cohort, images), kept_in or self.cohort.root / ".crops")
        for each in self.seen:
            digests = salted_each(each.salt, "pixels", last=[mark.matrix for mark in marks.values()])
            same = [image for image, digest in zip(marks, digests, strict=True) if digest in each.pixels]
            self._refuse(same, "image", "same decoded pixels")
            self._refuse(alike_to(each.sketches, each.salt, marks), "image", "a copy by its texture")

    def _refuse(self, names: Sequence[str], what: str, reason: str) -> None:
        every = sorted(set(map(str, names)))
        if every:
            shown = f"{', '.join(every[:SHOWN])}{', ...' if len(every) > SHOWN else ''}"
            subject = (
                f"{len(every)} {what}s ({shown})"
                if what == "image"
                else f"{len(every)} {what}{'s' * (len(every) > 1)} ({shown})"
            )
            whose = " of test patients" if what == "image" else " of the test"
            raise InputError(f"{self.cohort.name}: {subject}{whose} were {self.deed} ({reason}): {self.remedy}")


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
    tests = table[learnt & table["split"].isin(TESTS)]
    if len(tests):
        raise InputError(
            f"{cohort.name}: {_rows(tests['patient_id'])} of {' and '.join(sorted(tests['split'].unique()))} were"
            " pre-trained on (same cohort name and patient_id): their test would be no test. Pre-train without them;"
            " or, if they are other people, give the two cohorts different names in cohort.yaml"
        )


def refuse_seen_files(
    seen: Sequence[Seen],
    cohort: Cohort,
    crops: pd.DataFrame,
    contents: Mapping[str, str],
    accepted: frozenset[str] = frozenset(),
) -> None:
    """Compare the content of test patients' image files with those that a run, or its pre-trainings, learnt from.

    Args:
        seen: whom they learnt from.
        cohort: the test patients' cohort.
        crops: its crops.
        contents: SHA-256 of each image's file.
        accepted: patients who may be like others, see `Tested`.

    Raises:
        InputError: a test patient's file has the content of one that was trained on.
    """
    rows = cohort.patients[cohort.patients["split"].isin(TESTS) & ~cohort.patients["patient_id"].isin(accepted)]
    tests = set(rows["unit_id"])
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
