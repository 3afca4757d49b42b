"""Images, exams and persons that stand in several rows of a cohort, as `check` tells them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.checks.finding import Finding
from mammo_aln.cohort.likeness.people import Shared
from mammo_aln.cohort.likeness.twins import fingerprints, groups_of, tell_unread
from mammo_aln.cohort.tables import Cohort, with_split
from mammo_aln.cohort.twins import identical_files
from mammo_aln.dicom.fast_header import Excluded, FastHeader

SHOWN = 50
NEGATIVE = "polarity unlikely: as displayed, air is bright and tissue dark (pixels inverted, the tag left as it was?)"


def copies(
    cohort: Cohort,
    paths: dict[str, Path],
    headers: list[FastHeader | Excluded],
    kept_in: Path | None,
    workers: int | None,
) -> Iterator[tuple[Finding, set[str]]]:
    """The same bytes, SOPInstanceUID or exposure in several rows, each with its patients: a problem between them.

    Negatives, which the same look at the pixels finds, are flags; no pixel is looked at without a folder that keeps
    fingerprints.
    """
    patient = dict(zip(cohort.images["image_id"], cohort.images["patient_id"], strict=True))
    split = with_split(cohort).patients.groupby("patient_id")["split"].first()
    instances: dict[str, list[str]] = {}
    for image, header in zip(paths, headers, strict=True):
        if isinstance(header, FastHeader):
            instances.setdefault(header.text("SOPInstanceUID") or image, []).append(image)
    readable = [image for images in instances.values() for image in images]
    copies = {tuple(group): "identical files" for group in identical_files({image: paths[image] for image in readable})}
    for images in instances.values():
        if len(images) > 1:
            copies.setdefault(tuple(sorted(images)), "the same SOPInstanceUID")
    marks = fingerprints({image: paths[image] for image in readable}, kept_in, workers) if kept_in is not None else {}
    tell_unread(len(readable) - len(marks) if kept_in is not None else 0)
    for image in (image for image, mark in marks.items() if mark.negative):
        yield Finding(NEGATIVE, f"image {image}", False), set()
    for twins in groups_of(marks):
        copies.setdefault(twins.images, twins.words)
    for group, likeness in sorted(copies.items()):
        patients = sorted({patient[image] for image in group})
        splits = sorted({str(split[name]) for name in patients if pd.notna(split[name])})
        subject = f"images {', '.join(group)}"
        if len(splits) > 1:
            fact = f"{likeness} in the splits {', '.join(splits)}"
            yield Finding(f"{fact}{_accepted(cohort)}", subject, not cohort.leaks_accepted), set(patients)
        elif len(patients) > 1:
            fact = f"{likeness} of the patients {', '.join(patients)}"
            yield Finding(f"{fact}{_accepted(cohort)}", subject, not cohort.leaks_accepted), set(patients)
        else:
            yield Finding(f"{likeness} of one patient", subject, False), set(patients)


def shared_findings(cohort: Cohort, every: Iterable[Shared]) -> Iterator[Finding]:
    """Persons and exams that stand under several patients."""
    split = with_split(cohort).patients.groupby("patient_id")["split"].first()
    for shared in every:
        splits = sorted({str(split[name]) for name in shared.patients if pd.notna(split[name])})
        fact = shared.words + (f", in the splits {', '.join(splits)}" if len(splits) > 1 else "")
        subject = f"patients {', '.join(shared.patients[:SHOWN])}"
        problem = shared.certain and not cohort.leaks_accepted
        yield Finding(fact + (_accepted(cohort) if shared.certain else ": one person?"), subject, problem)


def _accepted(cohort: Cohort) -> str:
    return f"; leaks_accepted: {cohort.leaks_accepted}" if cohort.leaks_accepted else ""
