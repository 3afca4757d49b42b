"""The few header fields that cohorts need, read from the first bytes of a DICOM file.

A walk over the raw bytes costs a fraction of building a pydicom data set, and `index` reads tens of thousands of
headers. What the walk does not know (big endian, deflated, odd encodings) goes to pydicom; what the values mean is
decided by the rules that full headers use too. This module imports little, so that the processes of a pool start at
once. Identifying fields tell patients apart and are written to no file of a cohort.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar

from mammo_aln.dicom.archive import START, ArchiveError, open_image
from mammo_aln.dicom.deflate import MOST_INFLATED_BYTES, HeaderEnd, deflated_from, inflated
from mammo_aln.dicom.image_tags import ImageTags, read_image_tags
from mammo_aln.dicom.tags import TagReader
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.pool import SpawnPool

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Fields: TypeAlias = "dict[str, str | int | list[Fields]]"
"""One level of a header: text, numbers or items by keyword."""

TEXTS = {
    0x00020010: "TransferSyntaxUID",
    0x00080008: "ImageType",
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x00080020: "StudyDate",
    0x00080022: "AcquisitionDate",
    0x00080023: "ContentDate",
    0x00080050: "AccessionNumber",
    0x00080060: "Modality",
    0x00080068: "PresentationIntentType",
    0x00080070: "Manufacturer",
    0x00080100: "CodeValue",
    0x00080104: "CodeMeaning",
    0x00081030: "StudyDescription",
    0x0008103E: "SeriesDescription",
    0x00081090: "ManufacturerModelName",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
    0x00100030: "PatientBirthDate",
    0x00100040: "PatientSex",
    0x00180010: "ContrastBolusAgent",
    0x00180015: "BodyPartExamined",
    0x00180060: "KVP",
    0x00181110: "DistanceSourceToDetector",
    0x00181111: "DistanceSourceToPatient",
    0x00181114: "EstimatedRadiographicMagnificationFactor",
    0x00181164: "ImagerPixelSpacing",
    0x00181400: "AcquisitionDeviceProcessingDescription",
    0x00181508: "PositionerType",
    0x00185101: "ViewPosition",
    0x0020000D: "StudyInstanceUID",
    0x00200020: "PatientOrientation",
    0x00200060: "Laterality",
    0x00200062: "ImageLaterality",
    0x00209072: "FrameLaterality",
    0x00280004: "PhotometricInterpretation",
    0x00280008: "NumberOfFrames",
    0x00280030: "PixelSpacing",
    0x00280300: "QualityControlImage",
    0x00280301: "BurnedInAnnotation",
    0x00280A02: "PixelSpacingCalibrationType",
    0x00281051: "WindowWidth",
    0x00281056: "VOILUTFunction",
    0x00400318: "OrganExposed",
}
UNSIGNED = {
    0x00280002: "SamplesPerPixel",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
}
SEQUENCES = {
    0x00082218: "AnatomicRegionSequence",
    0x00189507: "XRay3DAcquisitionSequence",
    0x00209071: "FrameAnatomySequence",
    0x00283010: "VOILUTSequence",
    0x00289110: "PixelMeasuresSequence",
    0x00540220: "ViewCodeSequence",
    0x00540222: "ViewModifierCodeSequence",
    0x52009229: "SharedFunctionalGroupsSequence",
    0x52009230: "PerFrameFunctionalGroupsSequence",
}
KEYWORDS = {**TEXTS, **UNSIGNED, **SEQUENCES}
EACH_FRAME, LAST_TAG = 0x52009230, max(KEYWORDS)
IDENTITIES = {0x00100020, 0x00100021, 0x0020000D, 0x00080018, 0x00080050}

# below this many files one process is done before a pool has started
POOL_FROM_FILES = 2000
FIRST_READ_BYTES, SECOND_READ_BYTES = 1 << 16, 1 << 20
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
BINARY_VRS = frozenset(b"AT FD FL OB OD OF OL OV OW SL SQ SS SV UL US UV".split())
IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
FILE_META_START = b"\x02\x00"
DEEPEST = 64
"""Levels of sequences in sequences; a mammogram has up to six."""
TOO_DEEP = f"its sequences are nested deeper than {DEEPEST} levels, as no image's are"
NO_MARKER = "not DICOM (no DICM marker after 128 bytes)"
_EXPLICIT_HEAD = struct.Struct("<HH2sH").unpack_from
_IMPLICIT_HEAD = struct.Struct("<HHI").unpack_from
_LENGTH = struct.Struct("<I").unpack_from
_SHORT = struct.Struct("<H").unpack_from


@dataclass(frozen=True)
class FastHeader(ImageTags):
    """The shared tags of an image, and the text of those that cohorts need beside them.

    Attributes:
        fields: text and items of the tags in `KEYWORDS`. Identifiers, dates of exams and of birth tell files apart;
            only the key that `index --key` puts outside the cohort holds them.
    """

    fields: Fields

    def text(self, keyword: str) -> str:
        """A tag's text as it stands; empty where the file says nothing."""
        value = self.fields.get(keyword, "")
        return value if isinstance(value, str) else ""

    def code(self, sequence: str, *keywords: str) -> str:
        """The first of these texts that the first item of a sequence of codes holds."""
        tags = TagReader(self.fields)
        return next(
            (text for item in tags.items(sequence)[:1] for word in keywords if (text := tags.text(word, item))), ""
        )


@dataclass(frozen=True, slots=True)
class Excluded:
    """Why a file is left out, in words that quote no identifying field."""

    reason: str


class _NotPlainError(Exception):
    """The walk met an encoding that it leaves to pydicom."""


class _TooDeepError(Exception):
    """Sequences stand in sequences, deeper than in any image."""


NOT_PLAIN = (_NotPlainError, struct.error)

Result = TypeVar("Result")


def read_headers(paths: Iterable[Path], workers: int | None = None) -> Iterator[FastHeader | Excluded]:
    """Headers of files, in their order.

    Args:
        paths: the files.
        workers: processes; by default one per core this process may use, and none for a few files.
    """
    return map_files(read_header, paths, workers)


def map_files(read: Callable[[Path], Result], paths: Iterable[Path], workers: int | None = None) -> Iterator[Result]:
    """Apply a function to each file, in the files' order; many files are shared out to a pool of processes.

    Args:
        read: a function of a module that imports quickly, as each process of the pool imports it anew.
        paths: the files.
        workers: processes; by default one per core this process may use, and none for a few files.
    """
    paths = list(paths)
    workers = workers or usable_cores()
    if workers == 1 or len(paths) < POOL_FROM_FILES:
        yield from map(read, paths)
        return
    with SpawnPool(workers) as pool:
        yield from pool.map(read, paths, chunksize=100)


def read_header(path: Path) -> FastHeader | Excluded:
    """Read one header; whatever a file holds, it ends in a value, not in an exception."""
    try:
        with open_image(path) as file:
            data = file.read(FIRST_READ_BYTES)
            if not data:
                return Excluded("the file is empty")
            if data[:4] == START:
                return Excluded("a ZIP file that is not called .zip: rename it, or unpack it")
            if data[128:132] != b"DICM":
                # Exports without the marker and the 128 bytes before it exist; they begin with the file meta group.
                return _with_pydicom(path, force=True) if data[:2] == FILE_META_START else Excluded(NO_MARKER)
            try:
                return _header(_plain_fields(data))
            except NOT_PLAIN:
                pass
            try:
                return _header(_plain_fields(data + file.read(SECOND_READ_BYTES)))
            except NOT_PLAIN:
                pass
    except _TooDeepError:
        return Excluded(TOO_DEEP)
    except ArchiveError as error:
        return Excluded(str(error.strerror))
    except OSError as error:
        return Excluded(f"cannot be opened ({error.strerror})")
    return _with_pydicom(path)


def _with_pydicom(path: Path, *, force: bool = False) -> FastHeader | Excluded:
    import pydicom
    from pydicom.filereader import read_partial

    tags: list[Any] = [*sorted(KEYWORDS)]
    try:
        # pydicom's warnings, and their copies in its log, quote values of the header
        with warnings.catch_warnings(), pydicom.config.disable_value_validation(), open_image(path) as file:
            warnings.simplefilter("ignore")
            start = deflated_from(file)
            if start is not None:
                return _deflated(file, start, tags)
            dataset = read_partial(file, HeaderEnd(), specific_tags=tags, force=force)
            if force and "Rows" not in dataset and "SOPClassUID" not in dataset:
                return Excluded(NO_MARKER)
            fields = _dataset_fields(dataset)
            fields["TransferSyntaxUID"] = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            return _header(fields)
    except (_TooDeepError, RecursionError):
        return Excluded(TOO_DEEP)
    except Exception as error:  # noqa: BLE001 - broken files raise any type in pydicom; the type becomes the reason
        # the type alone: messages may quote values of the header
        return Excluded(f"unreadable DICOM header ({type(error).__name__})")


def _deflated(file: BinaryIO, start: int, tags: list[Any]) -> FastHeader | Excluded:
    from pydicom.filereader import read_dataset

    for most_bytes in (SECOND_READ_BYTES, MOST_INFLATED_BYTES):
        data = io.BytesIO(inflated(file, start, most_bytes))
        dataset = read_dataset(data, False, True, stop_when=HeaderEnd(), specific_tags=tags)
        if data.tell() < most_bytes:
            fields = _dataset_fields(dataset)
            fields["TransferSyntaxUID"] = DEFLATED
            return _header(fields)
    return Excluded(f"its deflated header grows beyond {MOST_INFLATED_BYTES} bytes, as no image's does")


def _plain_fields(data: bytes) -> Fields:
    meta: Fields = {}
    start = _walk(data, 132, len(data), False, 0x0002FFFF, meta)
    syntax = meta.get("TransferSyntaxUID", "")
    if syntax in ("", BIG_ENDIAN, DEFLATED):
        raise _NotPlainError
    fields: Fields = {"TransferSyntaxUID": syntax}
    _walk(data, start, len(data), syntax == IMPLICIT, LAST_TAG, fields)
    return fields


def _walk(data: bytes, at: int, end: int, implicit: bool, last: int, fields: Fields, depth: int = 0) -> int:
    """Collect the elements of `data[at:end]` that have a keyword, up to tag `last`; returns where the walk stopped."""
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
            if tag == EACH_FRAME and fields.get("NumberOfFrames", "") not in ("", "1"):
                return at  # no image that is read has several frames, and their groups are long
            items, at = _items(data, at, length, implicit, depth + 1)
            if tag in SEQUENCES:
                fields[SEQUENCES[tag]] = items
            continue
        if length == UNDEFINED:
            raise _NotPlainError
        value_end = at + length
        if value_end > end:
            raise _NotPlainError
        if tag not in KEYWORDS:
            pass
        elif tag in TEXTS:
            if not implicit and vr in BINARY_VRS:
                raise _NotPlainError
            # identifiers that only tell files apart must stay different whatever their character set
            text = data[at:value_end]
            decoded = text.decode("latin-1") if tag in IDENTITIES else text.decode("ascii", "replace")
            fields[TEXTS[tag]] = decoded.strip(" \0")
        elif tag in UNSIGNED and (implicit or vr == b"US"):
            fields[UNSIGNED[tag]] = _SHORT(data, at)[0] if length >= 2 else ""
        else:
            raise _NotPlainError
        at = value_end
    return at


def _items(data: bytes, at: int, length: int, implicit: bool, depth: int) -> tuple[list[Fields], int]:
    if depth > DEEPEST:
        raise _TooDeepError
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
        stopped = _walk(data, at, item_end, implicit, 0xFFFDFFFF, item, depth)
        at = stopped if item_length == UNDEFINED else item_end
        items.append(item)
    return items, at


def _dataset_fields(dataset: Dataset, depth: int = 0) -> Fields:
    if depth > DEEPEST:
        raise _TooDeepError
    fields: Fields = {}
    for element in dataset:
        keyword = KEYWORDS.get(element.tag)
        if keyword is None or element.value is None:
            continue
        if element.VR == "SQ":
            fields[keyword] = [
                _dataset_fields(item, depth + 1) for item in element.value[: 1 if element.tag == EACH_FRAME else None]
            ]
        else:
            values = element.value if element.VM > 1 else [element.value]
            fields[keyword] = "\\".join(str(value) for value in values).strip(" \0")
    return fields


def _header(fields: Fields) -> FastHeader:
    tags = TagReader(fields)
    return read_image_tags(tags, tags.text("TransferSyntaxUID"), FastHeader, fields=fields)
