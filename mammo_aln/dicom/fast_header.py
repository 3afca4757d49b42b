"""The few header fields that cohorts need, read from the first bytes of a DICOM file.

A walk over the raw bytes costs a fraction of building a pydicom data set, and `index` reads tens of thousands of
headers. What the walk does not know (big endian, deflated, odd encodings) goes to pydicom. This module imports little,
so that the processes of a pool start at once. Identifying fields tell patients apart and are never written.
"""

from __future__ import annotations

import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mammo_aln.machine.pool import end_with_parent, script_hidden

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Fields: TypeAlias = "dict[int, str | list[Fields]]"

TEXT = {
    "image_type": 0x00080008,
    "sop_class": 0x00080016,
    "sop_instance": 0x00080018,
    "modality": 0x00080060,
    "presentation_intent": 0x00080068,
    "manufacturer": 0x00080070,
    "study_description": 0x00081030,
    "series_description": 0x0008103E,
    "model": 0x00081090,
    "patient": 0x00100020,
    "body_part": 0x00180015,
    "magnification": 0x00181114,
    "processing": 0x00181400,
    "imager_spacing_mm": 0x00181164,
    "positioner": 0x00181508,
    "view_position": 0x00185101,
    "study": 0x0020000D,
    "laterality": 0x00200060,
    "image_laterality": 0x00200062,
    "photometric": 0x00280004,
    "frames": 0x00280008,
    "spacing_mm": 0x00280030,
    "window_width": 0x00281051,
    "voi_function": 0x00281056,
    "quality_control": 0x00280300,
    "organ_exposed": 0x00400318,
}
UNSIGNED = {"samples": 0x00280002, "rows": 0x00280010, "columns": 0x00280011, "bits_stored": 0x00280101}
TRANSFER_SYNTAX = 0x00020010
VIEW_CODES, VIEW_MODIFIERS, ANATOMIC_REGION = 0x00540220, 0x00540222, 0x00082218
VOI_LUTS = 0x00283010
SHARED_GROUPS, FRAME_ANATOMY, FRAME_LATERALITY = 0x52009229, 0x00209071, 0x00209072
CODE_VALUE, CODE_MEANING = 0x00080100, 0x00080104
SEQUENCES = {VOI_LUTS, VIEW_CODES, VIEW_MODIFIERS, ANATOMIC_REGION, SHARED_GROUPS, FRAME_ANATOMY}
WANTED = {*TEXT.values(), *UNSIGNED.values(), *SEQUENCES, TRANSFER_SYNTAX, CODE_VALUE, CODE_MEANING, FRAME_LATERALITY}
LAST_WANTED = max(WANTED)
IDENTITIES = {TEXT["patient"], TEXT["study"], TEXT["sop_instance"]}
_UNSIGNED_TAGS = frozenset(UNSIGNED.values())

# below this many files one process is done before a pool has started
POOL_FROM_FILES = 2000
FIRST_READ_BYTES, SECOND_READ_BYTES = 1 << 16, 1 << 20
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
FILE_META_START = b"\x02\x00"
NO_MARKER = "not DICOM (no DICM marker after 128 bytes)"
_EXPLICIT_HEAD = struct.Struct("<HH2sH").unpack_from
_IMPLICIT_HEAD = struct.Struct("<HHI").unpack_from
_LENGTH = struct.Struct("<I").unpack_from
_SHORT = struct.Struct("<H").unpack_from


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself; empty text and 0 where it says nothing. Spacings are (row, column) as in the tag."""

    transfer_syntax: str
    image_type: tuple[str, ...]
    sop_class: str
    sop_instance: str
    modality: str
    presentation_intent: str
    manufacturer: str
    model: str
    study_description: str
    series_description: str
    body_part: str
    organ_exposed: str
    positioner: str
    view_position: str
    view_code: str
    view_meaning: str
    view_modifiers: tuple[str, ...]
    region_code: str
    laterality: str
    image_laterality: str
    magnification: str
    processing: str
    imager_spacing_mm: str
    spacing_mm: str
    photometric: str
    window_width: str
    voi_function: str
    voi_luts: int
    quality_control: str
    rows: int
    columns: int
    samples: int
    bits_stored: int
    frames: int
    patient: str
    study: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """Why a file is left out, in words that quote no identifying field."""

    reason: str


class _NotPlainError(Exception):
    """The walk met an encoding that it leaves to pydicom."""


Told = TypeVar("Told")


def read_headers(paths: Iterable[Path], workers: int | None = None) -> Iterator[Header | Excluded]:
    """Headers of files, in their order.

    Args:
        paths: the files.
        workers: processes; by default one per core this process may use, and none for a few files.
    """
    return over_files(read_header, paths, workers)


def over_files(tell: Callable[[Path], Told], paths: Iterable[Path], workers: int | None = None) -> Iterator[Told]:
    """What a function of a module that is quick to import tells of each file, in the files' order."""
    paths = list(paths)
    # a job's share of the cores, where the system tells it
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if workers == 1 or len(paths) < POOL_FROM_FILES:
        yield from map(tell, paths)
        return
    # spawned, not forked: the caller may hold threads (torch), and such a module is quick to import
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=end_with_parent) as pool:
        with script_hidden():
            told = pool.map(tell, paths, chunksize=100)
        yield from told


def read_header(path: Path) -> Header | Excluded:
    """Read one header; whatever a file holds, it ends in a value, not in an exception."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Excluded("not a regular file")
        if status.st_size == 0:
            return Excluded("the file is empty")
        with path.open("rb", buffering=0) as file:
            data = file.read(FIRST_READ_BYTES)
            if data[128:132] != b"DICM":
                # Exports without the marker and the 128 bytes before it exist; they begin with the file meta group.
                return _with_pydicom(path, force=True) if data[:2] == FILE_META_START else Excluded(NO_MARKER)
            try:
                return _header(_plain_fields(data))
            except (_NotPlainError, struct.error):
                pass
            try:
                return _header(_plain_fields(data + file.read(SECOND_READ_BYTES)))
            except (_NotPlainError, struct.error):
                pass
    except OSError as error:
        return Excluded(f"cannot be opened ({error.strerror})")
    return _with_pydicom(path)


def _with_pydicom(path: Path, *, force: bool = False) -> Header | Excluded:
    import pydicom

    tags: list[Any] = [*sorted(WANTED)]
    try:
        # pydicom's warnings, and their copies in its log, quote values of the header
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=force)
            if force and "Rows" not in dataset and "SOPClassUID" not in dataset:
                return Excluded(NO_MARKER)
            fields = _dataset_fields(dataset)
            fields[TRANSFER_SYNTAX] = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            return _header(fields)
    except Exception as error:  # noqa: BLE001 - broken files raise any type in pydicom; the type becomes the reason
        # the type alone: messages may quote values of the header
        return Excluded(f"unreadable DICOM header ({type(error).__name__})")


def _plain_fields(data: bytes) -> Fields:
    meta: Fields = {}
    start = _walk(data, 132, len(data), False, 0x0002FFFF, meta)
    syntax = meta.get(TRANSFER_SYNTAX, "")
    if syntax in ("", BIG_ENDIAN, DEFLATED):
        raise _NotPlainError
    fields: Fields = {TRANSFER_SYNTAX: syntax}
    _walk(data, start, len(data), syntax == IMPLICIT, LAST_WANTED, fields)
    return fields


def _walk(data: bytes, at: int, end: int, implicit: bool, last: int, found: Fields) -> int:
    """Collect wanted elements of `data[at:end]` up to tag `last`; returns where the walk stopped."""
    while at < end:
        if implicit:
            group, element, length = _IMPLICIT_HEAD(data, at)
            tag = group << 16 | element
            if tag > last:
                return at + 8 if tag == ITEM_END else at
            is_sequence = tag in SEQUENCES or length == UNDEFINED
            at += 8
        else:
            group, element, vr, length = _EXPLICIT_HEAD(data, at)
            tag = group << 16 | element
            if tag > last:
                return at + 8 if tag == ITEM_END else at
            at += 8
            if vr in LONG_VRS:
                (length,) = _LENGTH(data, at)
                at += 4
            elif vr not in SHORT_VRS:
                raise _NotPlainError
            is_sequence = vr == b"SQ"
        if is_sequence and (length == UNDEFINED or tag in SEQUENCES):
            items, at = _items(data, at, length, implicit)
            if tag in SEQUENCES:
                found[tag] = items
            continue
        if length == UNDEFINED:
            raise _NotPlainError
        value_end = at + length
        if value_end > end:
            raise _NotPlainError
        if tag in WANTED:
            if tag in _UNSIGNED_TAGS:
                found[tag] = str(_SHORT(data, at)[0]) if length >= 2 else ""
            else:
                # identifiers that only tell files apart must stay different whatever their character set
                text = data[at:value_end]
                decoded = text.decode("latin-1") if tag in IDENTITIES else text.decode("ascii", "replace")
                found[tag] = decoded.strip(" \0")
        at = value_end
    return at


def _items(data: bytes, at: int, length: int, implicit: bool) -> tuple[list[Fields], int]:
    end = len(data) if length == UNDEFINED else at + length
    if end > len(data):
        raise _NotPlainError
    items: list[Fields] = []
    while at < end:
        group, element, item_length = _IMPLICIT_HEAD(data, at)
        tag = group << 16 | element
        at += 8
        if tag == SEQUENCE_END:
            return items, at
        if tag != ITEM:
            raise _NotPlainError
        item: Fields = {}
        item_end = end if item_length == UNDEFINED else at + item_length
        stopped = _walk(data, at, item_end, implicit, 0xFFFDFFFF, item)
        at = stopped if item_length == UNDEFINED else item_end
        items.append(item)
    return items, at


def _dataset_fields(dataset: Dataset) -> Fields:
    fields: Fields = {}
    for element in dataset:
        if element.tag not in WANTED or element.value is None:
            continue
        if element.VR == "SQ":
            fields[element.tag] = [_dataset_fields(item) for item in element.value]
        else:
            values = element.value if element.VM > 1 else [element.value]
            fields[element.tag] = "\\".join(str(value) for value in values).strip(" \0")
    return fields


def _header(fields: Fields) -> Header:
    known: dict[str, Any] = {name: _text(fields, tag) for name, tag in TEXT.items()}
    known |= {name: _whole(_text(fields, tag)) for name, tag in UNSIGNED.items()}
    view = _first(fields, VIEW_CODES)
    at_top = fields.get(VIEW_MODIFIERS, [])
    shared = _first(_first(fields, SHARED_GROUPS), FRAME_ANATOMY)
    within = view.get(VIEW_MODIFIERS, [])
    modifiers = [*(at_top if isinstance(at_top, list) else []), *(within if isinstance(within, list) else [])]
    return Header(
        transfer_syntax=_text(fields, TRANSFER_SYNTAX),
        image_type=tuple(part.strip() for part in known.pop("image_type").split("\\")),
        frames=_whole(known.pop("frames")),
        image_laterality=known.pop("image_laterality") or _text(shared, FRAME_LATERALITY),
        view_code=_text(view, CODE_VALUE),
        view_meaning=_text(view, CODE_MEANING),
        view_modifiers=tuple(_text(item, CODE_MEANING) for item in modifiers),
        voi_luts=len(fields.get(VOI_LUTS, "")),
        region_code=_text(_first(fields, ANATOMIC_REGION), CODE_VALUE),
        **known,
    )


def _text(fields: Fields, tag: int) -> str:
    value = fields.get(tag, "")
    return value if isinstance(value, str) else ""


def _first(fields: Fields, tag: int) -> Fields:
    value = fields.get(tag)
    return value[0] if isinstance(value, list) and value else {}


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
