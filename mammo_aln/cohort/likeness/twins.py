"""Images of one exposure among many, by their fingerprints; each file is decoded once and its fingerprint kept."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from mammo_aln.cohort.likeness.fingerprint import (
    FINGERPRINT_VERSION,
    LENGTH,
    Fingerprint,
    NoFingerprint,
    read_fingerprint,
)
from mammo_aln.cohort.likeness.scales import alike_pairs, patterns_of
from mammo_aln.dicom.archive import file_key
from mammo_aln.dicom.standing import standing_digest
from mammo_aln.errors import InputError
from mammo_aln.files import make_folder, write_json
from mammo_aln.machine.cage import caged
from mammo_aln.machine.code import code_digest
from mammo_aln.machine.deaths import Death
from mammo_aln.progress import Progress, say

KEPT_FILE = "fingerprints.jsonl"
COMPARED_FILE = "fingerprints.compared.json"
MOST_COMPARED = 32
"""Comparisons that are kept, the youngest."""
KEPT_AT_ONCE = 500
"""Fingerprints that a stop may cost: half a minute's."""
DIED, NOT_TRIED = NoFingerprint.DIED, NoFingerprint.NOT_TRIED
Marks: TypeAlias = dict[str, Fingerprint | NoFingerprint]


@dataclass(frozen=True)
class Twins:
    """Images of one exposure, sorted, and the words for their likeness."""

    images: tuple[str, ...]
    words: str


def twins_among(
    files: Mapping[str, str | Path],
    kept_in: Path,
    workers: int | None = None,
) -> list[Twins]:
    """Groups of images that show one exposure.

    What was compared once is not compared again as long as no file's state, and no code, has changed.

    Args:
        files: the file of each image.
        kept_in: folder of fingerprints from earlier calls, by the state of each file; it gets the new ones.
        workers: processes; by default one per core.
    """

    def compare() -> tuple[Any, bool]:
        paths = {image: Path(file) for image, file in files.items()}
        marks = _marks(paths, kept_in, workers)
        sound = _sound(marks)
        whole = all(marks.get(image, NOT_TRIED) != NOT_TRIED or not path.exists() for image, path in paths.items())
        twins = [[list(group.images), group.words] for group in groups_of(sound)]
        return {"unread": len(marks) - len(sound), "twins": twins}, whole

    compared, _ = kept_outcome(files, ("twins",), kept_in, compare)
    tell_unread(compared["unread"])
    return [Twins(tuple(images), words) for images, words in compared["twins"]]


def kept_outcome(
    files: Mapping[str, str | Path], about: Sequence[str], kept_in: Path, compare: Callable[[], tuple[Any, bool]]
) -> tuple[Any, bool]:
    """Outcome of a comparison, as JSON, and whether it was made now: it is kept for as long as no file changes.

    Args:
        files: the file of each image.
        about: further texts on which the outcome depends.
        kept_in: folder that keeps outcomes.
        compare: makes the outcome, and tells whether it is of all files.
    """
    state = _state(files, about)
    if (kept := _compared(kept_in / COMPARED_FILE).get(state)) is not None:
        return kept, False
    outcome, whole = compare()
    if whole and state == _state(files, about, anew=True):
        _keep_compared(kept_in / COMPARED_FILE, state, outcome)
    return outcome, True


def fingerprints(files: Mapping[str, Path], kept_in: Path, workers: int | None = None) -> dict[str, Fingerprint]:
    """Fingerprint of each image that can be decoded; see `twins_among`."""
    return _sound(_marks(files, kept_in, workers))


def died_before(files: Mapping[str, Path], kept_in: Path) -> set[str]:
    """Images whose decoding ended its process in an earlier call."""
    kept = _kept(kept_in / KEPT_FILE)
    return {image for image, key in _keys(files).items() if kept.get(key) == DIED}


def _sound(marks: Marks) -> dict[str, Fingerprint]:
    return {image: mark for image, mark in marks.items() if isinstance(mark, Fingerprint)}


def _marks(files: Mapping[str, Path], kept_in: Path, workers: int | None) -> Marks:
    """Fingerprint of each image whose file is there, or why it has none."""
    keys = _keys(files)
    kept = _kept(kept_in / KEPT_FILE)
    new = {keys[image]: files[image] for image in keys if keys[image] not in kept}
    if new:
        kept |= _measured(new, kept_in / KEPT_FILE, workers)
    return {image: kept[key] for image, key in keys.items()}


def _keys(files: Mapping[str, Path]) -> dict[str, str]:
    keys: dict[str, str] = {}
    folders: dict[str, str] = {}
    for image, path in files.items():
        try:
            keys[image] = file_key(path, folders)
        except OSError:
            continue  # `check` and `crop` say so of the file
    return keys


def _state(files: Mapping[str, str | Path], about: Sequence[str], *, anew: bool = False) -> str:
    texts = [code_digest(("cohort", "dicom")), *files, "", *about]
    names = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    return names + standing_digest(map(str, files.values()), anew=anew)


def _compared(path: Path) -> Any:
    """Outcomes of earlier comparisons by state; none where the file cannot be read whole."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _keep_compared(path: Path, state: str, outcome: Any) -> None:
    kept = dict(list(_compared(path).items())[1 - MOST_COMPARED :])
    try:
        write_json(path, {**kept, state: outcome})
    except (OSError, InputError) as error:
        say(f"the comparison of exposures is not kept, it will be made again ({error})")


def groups_of(marks: Mapping[str, Fingerprint]) -> list[Twins]:
    """Group images by equal matrices and by likeness, directly or through others."""
    first: dict[str, str] = {}
    leader = {image: image for image in marks}
    likeness: dict[str, float] = {}

    def root(image: str) -> str:
        while leader[image] != image:
            image = leader[image]
        return image

    for image, mark in marks.items():
        if mark.matrix:
            leader[root(image)] = root(first.setdefault(mark.matrix, image))
    textured = [image for image in dict.fromkeys(first.values()) if marks[image].texture]  # one of equal matrices
    for nth, other_nth, alike in alike_pairs(patterns_of([marks[image].texture for image in textured])):
        one, other = textured[nth], textured[other_nth]
        for image in (one, other):
            likeness[image] = max(alike, likeness.get(image, 0.0))
        leader[root(one)] = root(other)
    groups: dict[str, list[str]] = {}
    for image in marks:
        groups.setdefault(root(image), []).append(image)
    twins = []
    for images in groups.values():
        if len(images) > 1:
            lowest = min((likeness[image] for image in images if image in likeness), default=None)
            words = "the same pixels" if lowest is None else f"copies of one exposure (likeness {lowest:.2f})"
            twins.append(Twins(tuple(sorted(images)), words))
    return sorted(twins, key=lambda group: group.images)


def _measured(files: Mapping[str, Path], journal: Path, workers: int | None) -> Marks:
    """Decode files and keep their fingerprints, by key."""
    waiting = list(files)
    marks: Marks = {}
    kept = 0
    progress = Progress(total=len(waiting), what="fingerprints", unit="image")
    try:
        for number, mark in caged(read_fingerprint, [files[key] for key in waiting], workers):
            if isinstance(mark, Death):
                mark = NOT_TRIED if mark.from_outside else DIED
            marks[waiting[number]] = mark
            progress.advance()
            if len(marks) - kept >= KEPT_AT_ONCE:
                _keep(dict(islice(marks.items(), kept, None)), journal)
                kept = len(marks)
    finally:
        _keep(dict(islice(marks.items(), kept, None)), journal)
    progress.end()
    return marks


def tell_unread(count: int) -> None:
    """Say how many images are not compared."""
    if count:
        say(f"{count} images cannot be decoded and are not compared by their pixels; `crop` says why")


def _keep(marks: Marks, journal: Path) -> None:
    """Append fingerprints, and deaths, which would cost their time again; what is refused in words is tried again."""
    lines = [
        json.dumps({"version": FINGERPRINT_VERSION, "key": key, **_entry(mark)}) + "\n"
        for key, mark in marks.items()
        if mark == DIED or isinstance(mark, Fingerprint)
    ]
    try:
        make_folder(journal.parent)
        with journal.open("a", encoding="ascii") as file:
            file.write("".join(lines))
    except (OSError, InputError) as error:
        say(f"fingerprints are not kept, they will be made again ({error})")


def _entry(mark: Fingerprint | NoFingerprint) -> Mapping[str, object]:
    if not isinstance(mark, Fingerprint):
        return {"died": True}
    texture = base64.b64encode(mark.texture).decode("ascii")
    return {"matrix": mark.matrix, "negative": mark.negative, "uids": mark.uids, "texture": texture}


def _kept(journal: Path) -> Marks:
    """Fingerprints of earlier calls; a line that a stop cut off, or of another version, counts for nothing."""
    kept: Marks = {}
    if not journal.is_file():
        return kept
    with journal.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["version"] != FINGERPRINT_VERSION:
                    continue
                if entry.get("died") is True:
                    kept[entry["key"]] = DIED
                    continue
                texture = base64.b64decode(entry["texture"], validate=True)
                uids = tuple(map(str, entry["uids"]))
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
                continue
            if len(texture) in (0, LENGTH):
                kept[entry["key"]] = Fingerprint(entry["matrix"], texture, entry["negative"] is True, uids)
    return kept
