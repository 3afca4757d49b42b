"""Identity of a file's patient by its header, and what in the headers contradicts it; identifiers are never quoted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from mammo_aln.dicom.fast_header import FastHeader

NO_PATIENT = (
    "its header names no patient (PatientID is empty or a placeholder) and no study, nor does a subfolder: "
    "put each patient's files into a folder of their own"
)
_PLACEHOLDERS = re.compile(
    # one word or several: `Anonymized Patient`, `ID removed`; German, French, Italian and Spanish too
    "(pseudonym|anon(ym(ous|i[sz](ed|ation)|e|is\u00e9e?|is(iert|ierung)|ous(user|patient))?|imo)?|no|user|id|name"
    "|patients?|subject|mrn|phi|removed|deleted|redacted|hidden|masked|blank|empty|none|null|nil|nan|na|notavailable"
    "|notapplicable|unknown|unk|undefined|unspecified|de?identified|deid|test|dummy|demo|sample|default|private"
    "|confidential|unbekannte?r?|entfernt|gel\u00f6scht|leer|kein[er]?|inconnue?|supprim\u00e9e?|sconosciuto|rimosso"
    "|desconocid[oa])+"
)
LONGEST = 64
"""Characters of a PatientID (DICOM PS3.5, LO)."""
_FILLER = re.compile(r"0+|9{4,}|x+|123456(7(8(90?)?)?)?")


MIXED = "several PatientIDs"


class Identity(NamedTuple):
    """Patient and exam by a header, as it stands."""

    issuer: str
    patient: str
    study: str
    birth_date: str
    sex: str

    @property
    def trusted(self) -> bool:
        """True where PatientID can tell patients apart: it is neither empty nor a placeholder."""
        return not is_placeholder(self.patient)


def identity_of(header: FastHeader) -> Identity:
    """Read who the patient is."""
    return Identity(
        header.text("IssuerOfPatientID"),
        header.text("PatientID"),
        header.text("StudyInstanceUID"),
        header.text("PatientBirthDate"),
        header.text("PatientSex"),
    )


@lru_cache(maxsize=100_000)
def is_placeholder(patient: str) -> bool:
    """Test that a PatientID is empty or a filler (`removed`, `anonymous`, `none`, `0`, `xxx`, `99999` ...)."""
    word = re.sub(r"[\W_]", "", patient).casefold()
    if not word:  # signs alone; what a rare character set leaves of letters is an identifier
        return patient.isascii()
    return len(word) <= LONGEST and any(words.fullmatch(word) for words in (_PLACEHOLDERS, _FILLER))


class Mark(NamedTuple):
    """Mark that the files of one patient share: a `folder`, an issuer and id (`patient`), or a `study`."""

    kind: str
    value: str
    issuer: str = ""


def mark_of(folder: str, identity: Identity) -> Mark | None:
    """Name what tells a file's patient: the folder, else issuer and PatientID, else the study; None where nothing does.

    Args:
        folder: first folder below the indexed one; empty for a file that lies directly in it.
        identity: of its header.
    """
    if folder:
        return Mark("folder", folder)
    if identity.trusted:
        return Mark("patient", identity.patient, identity.issuer)
    return Mark("study", identity.study) if identity.study else None


def contradictions(people: Iterable[tuple[str, Identity]]) -> Iterator[tuple[str, list[str]]]:
    """Yield facts of headers that do not fit the patients, each with the `patient_id`s concerned.

    Args:
        people: `patient_id` and header of each image.
    """
    known = set(people)
    ids = {(name, f"{of.issuer}\n{of.patient}") for name, of in known if of.trusted}
    inside = {
        "several dates of birth": {(name, of.birth_date) for name, of in known if of.birth_date},
        "several sexes": {(name, of.sex) for name, of in known if of.sex},
        MIXED: ids,
    }
    for fact, pairs in inside.items():
        if names := _repeated(name for name, _ in pairs):
            yield f"{fact} in one patient", names
    across = {
        "one issuer and PatientID": {(key, name) for name, key in ids},
        "one StudyInstanceUID": {(of.study, name) for name, of in known if of.study},
        "one PatientID, with and without IssuerOfPatientID": _half_issued(known),
    }
    for fact, pairs in across.items():
        keys = _repeated(key for key, _ in pairs)
        if names := sorted({name for key, name in pairs if key in keys}):
            yield f"{fact} in several patients", names


def _half_issued(known: set[tuple[str, Identity]]) -> set[tuple[str, str]]:
    without = {of.patient for _, of in known if of.trusted and not of.issuer}
    issued = {of.patient for _, of in known if of.trusted and of.issuer}
    return {(of.patient, name) for name, of in known if of.patient in without & issued}


def _repeated(keys: Iterable[str]) -> list[str]:
    return sorted(key for key, count in Counter(keys).items() if count > 1)
