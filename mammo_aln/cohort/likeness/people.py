"""One person, exam or exposure under several `patient_id`s, by what the headers of their files say.

An identifier is believed where it can only be one person's: the UID of an exposure or an exam, or a PatientID of one
hospital. Short numbers that two centres both give, and UIDs that a whole export shares, are told and not believed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from mammo_aln.cohort.listing.identity import Identity

MOST_SHARING = 10
"""Patients; a UID that more of them have was written into the files by whoever made them anonymous."""
_RUNNING_NUMBER = re.compile(r"\D*0*\d{1,4}\D*")
_OF_CBIS_DDSM = re.compile(
    r"(?:calc|mass)-(?:training|test)_(p_\d{5})(?:_(?:left|right)(?:_(?:cc|mlo))?)?(?:_\d+)?", re.I
)


@dataclass(frozen=True)
class Shared:
    """Something that several patients have in common.

    Attributes:
        words: what it is.
        patients: two at least, sorted.
        images: those concerned, sorted; none where a table says it.
        certain: it belongs to one person; otherwise it is told and nothing is refused.
    """

    words: str
    patients: tuple[str, ...]
    images: tuple[str, ...] = ()
    certain: bool = True


@dataclass(frozen=True)
class Labelled:
    """An image's patient and centre by the tables, and what its header says."""

    image: str
    patient: str
    center: str
    instance: str
    identity: Identity


def shared_identities(images: Sequence[Labelled]) -> list[Shared]:
    """Find exposures, exams and persons that stand under several patients, each at most once."""
    shared = [*_by_uid(images, "the same SOPInstanceUID", lambda image: image.instance)]
    shared += _by_uid(images, "the same StudyInstanceUID", lambda image: image.identity.study)
    of_number: dict[Hashable, list[Labelled]] = defaultdict(list)
    for image in images:
        if image.identity.trusted:
            of_number[image.identity.patient].append(image)
    for alike in of_number.values():
        shared += _persons(alike)
    return shared


def shared_names(patients: Iterable[str]) -> list[Shared]:
    """Find the parts of CBIS-DDSM that are one patient's: its folders and PatientIDs name table, side and view too."""
    alike: dict[str, set[str]] = defaultdict(set)
    for patient in patients:
        if name := _OF_CBIS_DDSM.fullmatch(patient.strip()):
            alike[name[1].upper()].add(patient)
    return [
        Shared(f"folders of patient {name} of CBIS-DDSM", tuple(sorted(folders)))
        for name, folders in alike.items()
        if len(folders) > 1
    ]


def _by_uid(images: Sequence[Labelled], words: str, uid_of: Callable[[Labelled], str]) -> list[Shared]:
    alike: dict[str, list[Labelled]] = defaultdict(list)
    for image in images:
        if uid := uid_of(image):
            alike[uid].append(image)
    shared = []
    for group in alike.values():
        if (count := len({image.patient for image in group})) > 1:
            filler = "" if count <= MOST_SHARING else ", as a filler would be"
            shared.append(_of(words + filler, group, not filler))
    return shared


def _persons(images: Sequence[Labelled]) -> list[Shared]:
    """Tell what one PatientID in several patients means, by issuer, dates of birth, sex and centre."""
    if len({image.patient for image in images}) < 2:
        return []
    issuers = {image.identity.issuer for image in images} - {""}
    if len(issuers) > 1:
        by_issuer = ([image for image in images if image.identity.issuer == issuer] for issuer in sorted(issuers))
        return [shared for alike in by_issuer for shared in _persons(alike)]
    births = {image.identity.birth_date for image in images}
    sexes = {image.identity.sex for image in images} - {""}
    words = "the same PatientID"
    if len(births - {""}) > 1 or len(sexes) > 1:
        return [_of(f"{words}, other dates of birth or sex", images, False)]
    if births and "" not in births:
        return [_of(f"{words} and date of birth", images, True)]
    centers = {image.center for image in images}
    numbered = _RUNNING_NUMBER.fullmatch(images[0].identity.patient) is not None
    if len(centers) > 1 and numbered and not (issuers and all(image.identity.issuer for image in images)):
        return [_of(f"{words} in several centres, no date of birth kept: each may number its own", images, False)]
    return [_of(words, images, True)]


def _of(words: str, images: Sequence[Labelled], certain: bool) -> Shared:
    return Shared(
        words,
        tuple(sorted({image.patient for image in images})),
        tuple(sorted(image.image for image in images)),
        certain,
    )
