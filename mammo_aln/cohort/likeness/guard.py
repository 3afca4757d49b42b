"""Refuse a split or a training in which one person, exam or exposure stands on both sides, under whatever names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mammo_aln.cohort.likeness.people import Labelled, Shared, shared_identities, shared_names
from mammo_aln.cohort.likeness.rows import equal_rows
from mammo_aln.cohort.likeness.twins import kept_outcome, twins_among
from mammo_aln.cohort.listing.identity import identity_of
from mammo_aln.cohort.tables import Cohort, image_files
from mammo_aln.cohort.twins import identical_files
from mammo_aln.dicom.fast_header import FastHeader, read_headers
from mammo_aln.errors import InputError
from mammo_aln.progress import say, say_once

SHOWN = 5
OPT_OUT = "leaks_accepted in cohort.yaml, with the reason in words, goes on with them, and every report tells it"


@dataclass(frozen=True)
class AcceptedLeaks:
    """Leaks of a cohort that its owner accepted.

    Attributes:
        reason: the words of `leaks_accepted`.
        counts: number of cases of each kind.
        patients: those whom they concern.
    """

    reason: str
    counts: dict[str, int]
    patients: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, object]:
        """Plain values, as the JSON beside predictions keeps them."""
        return {"reason": self.reason, "counts": self.counts}


def refuse_leaks(
    cohort: Cohort, between: Literal["patient_id", "split"], kept_in: Path | None, *, pixels: bool = True
) -> AcceptedLeaks | None:
    """Compare eligible patients by names, headers, pixels and clinical values; labelled or not.

    Args:
        cohort: with a column `split`, if that is what is asked.
        between: patients, or splits, that must have nothing in common.
        kept_in: folder of earlier outcomes; by default `.crops` in the cohort folder, as for `check`.
        pixels: decode images; without it their headers alone are read.

    Returns:
        What was found and accepted by `leaks_accepted`; None where nothing was.

    Raises:
        InputError: two of them share a person, an exam or an exposure; patients, images and likeness are named.
    """
    eligible = cohort.patients[cohort.patients["eligible"]]
    owners = eligible.dropna(subset=[between]).groupby("patient_id")[between].first()
    splits = dict(zip(owners.index, owners, strict=True)) if between == "split" else None
    folder = kept_in or cohort.root / ".crops"
    shared = shared_among(cohort, owners.index.tolist(), folder, pixels=pixels, sides=splits)
    sides = [sorted({str(owners[name]) for name in each.patients}) for each in shared]
    several = [(each, names) for each, names in zip(shared, sides, strict=True) if len(names) > 1]
    for each, names in several:
        if not each.certain:
            say(f"{cohort.name}: {_line(each, names if between == 'split' else ())}: one person? It is not refused")
    faults = [(each, names) for each, names in several if each.certain]
    if not faults:
        return None
    if cohort.leaks_accepted:
        counts = Counter(
            each.words if between == "patient_id" else f"{each.words}, in {' and '.join(names)}"
            for each, names in faults
        )
        cases = f"{len(faults)} leak{'s go' if len(faults) > 1 else ' goes'}"
        say_once(f"{cohort.name}: {cases} on, as leaks_accepted in cohort.yaml says: {cohort.leaks_accepted}")
        patients = frozenset(name for each, _ in faults for name in each.patients)
        return AcceptedLeaks(cohort.leaks_accepted, dict(counts), patients)
    what = "patients share a person or" if between == "patient_id" else "a person or"
    stands = "an exposure" if between == "patient_id" else "an exposure stands in several splits"
    more = [f"  ... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    raise InputError(
        "\n".join(
            [
                f"{cohort.name}: {what} {stands}: their test would be no test. If they are one person, give all rows "
                f"one patient_id, else find which file is wrong (eligible = 0 leaves a patient out). {OPT_OUT}:",
                *(f"  {_line(each, names if between == 'split' else ())}" for each, names in faults[:SHOWN]),
                *more,
            ]
        )
    )


def accepted_patients(cohort: Cohort, kept_in: Path | None, *, pixels: bool) -> frozenset[str]:
    """Patients whose likeness in several splits `leaks_accepted` accepts, see `refuse_leaks`; none without it."""
    if not cohort.leaks_accepted:
        return frozenset()
    leaks = refuse_leaks(cohort, "split", kept_in, pixels=pixels)
    return frozenset() if leaks is None else leaks.patients


def _line(shared: Shared, splits: Sequence[str]) -> str:
    images = f"images {', '.join(shared.images[:SHOWN])}{', ...' * (len(shared.images) > SHOWN)} of " * bool(
        shared.images
    )
    names = ", ".join(shared.patients[:SHOWN]) + ", ..." * (len(shared.patients) > SHOWN)
    return f"{images}the patients {names}: {shared.words}" + (f", in {' and '.join(splits)}" if splits else "")


def shared_among(
    cohort: Cohort,
    patients: Sequence[str],
    kept_in: Path,
    *,
    pixels: bool = True,
    sides: Mapping[str, str] | None = None,
) -> list[Shared]:
    """Find what some patients of a cohort have in common, across and within splits; see `refuse_leaks`."""
    images = cohort.images[cohort.images["patient_id"].isin(patients)]
    rows = cohort.patients[cohort.patients["patient_id"].isin(patients)]
    shared: list[Shared] = []
    if len(images):
        files = image_files(cohort, images)
        owner = dict(zip(images["image_id"].tolist(), images["patient_id"].tolist(), strict=True))
        center = rows.groupby("patient_id")["center"].first()
        for twins in twins_among(files, kept_in) if pixels else ():
            of = tuple(sorted({owner[image] for image in twins.images}))
            if len(of) > 1:
                shared.append(Shared(twins.words, of, twins.images))
        shared += _by_headers(files, owner, dict(zip(center.index, center, strict=True)), kept_in)
    return once_each([*shared, *shared_names(patients), *shared_in_tables(cohort, patients, sides)])


def once_each(every: Iterable[Shared]) -> list[Shared]:
    """Leave one fact for each group of patients, the first that is certain."""
    first: dict[tuple[str, ...], Shared] = {}
    for shared in every:
        if shared.patients not in first or (shared.certain and not first[shared.patients].certain):
            first[shared.patients] = shared
    return list(first.values())


def shared_in_tables(cohort: Cohort, patients: Sequence[str], sides: Mapping[str, str] | None = None) -> list[Shared]:
    """Find what some patients share by their clinical values and the files of their volumes.

    Args:
        cohort: the tables.
        patients: those that are compared.
        sides: the split of each, where splits are compared.
    """
    rows = cohort.patients[cohort.patients["patient_id"].isin(patients)]
    equal = equal_rows(rows, rows["patient_id"], list(cohort.clinical), "clinical values", sides)
    return [*_same_volumes(cohort, patients), *equal]


def _by_headers(files: dict[str, str], patient: dict[str, str], center: dict[str, str], kept_in: Path) -> list[Shared]:
    """Compare headers; only names of patients and images are kept of it, no identifier."""

    def compare() -> tuple[object, bool]:
        headers = list(read_headers(map(Path, files.values())))
        images = [
            Labelled(
                image, patient[image], str(center[patient[image]]), header.text("SOPInstanceUID"), identity_of(header)
            )
            for image, header in zip(files, headers, strict=True)
            if isinstance(header, FastHeader)
        ]
        return [[one.words, one.patients, one.images, one.certain] for one in shared_identities(images)], True

    about = ("headers", *(f"{patient[image]}\n{center[patient[image]]}" for image in files))
    outcome, _ = kept_outcome(files, about, kept_in, compare)
    return [
        Shared(words, tuple(names), tuple(images), certain)
        for words, names, images, certain in json.loads(json.dumps(outcome))
    ]


def _same_volumes(cohort: Cohort, patients: Sequence[str]) -> list[Shared]:
    """Volumes of several patients whose files hold the same bytes."""
    volumes = cohort.volumes[cohort.volumes["patient_id"].isin(patients)]
    owners = {str(path): set(rows) for path, rows in volumes.groupby("image_path")["patient_id"]}
    groups = [*identical_files({path: cohort.root / path for path in owners}), *([path] for path in owners)]
    people = dict.fromkeys(tuple(sorted(set().union(*(owners[path] for path in group)))) for group in groups)
    return [Shared("the same volume", names) for names in people if len(names) > 1]
