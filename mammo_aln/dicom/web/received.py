"""A received file is positively whole: its header parses, and every byte that it announces is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from mammo_aln.dicom.decode import refusing
from mammo_aln.errors import UnreadableDicom

PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
UNDEFINED = 0xFFFFFFFF
ITEM, SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
LONG_HEAD_BYTES, SHORT_HEAD_BYTES = 12, 8


@dataclass(frozen=True)
class ReceivedFile:
    """Identity of a received instance; never written but for the UIDs."""

    instance: str
    study: str
    series: str
    patient: str
    issuer: str


def read_received(path: Path) -> ReceivedFile:
    """Read the identity of a file and test that it is whole; pixel data is measured, not read.

    Raises:
        UnreadableDicom: not a DICOM file, cut off, or without UIDs.
    """
    with refusing(path, "reading what was received"), path.open("rb") as file:
        dataset = dcmread(file, stop_before_pixels=True)
        if dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            file.seek(0)
            dataset = dcmread(file, defer_size=1 << 20)  # inflates to its end
        else:
            _refuse_cut_off(file, dataset, path)
        uids = [
            str(dataset.get(word, "") or "") for word in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        ]
        if not all(uids):
            raise UnreadableDicom(f"{path}: lacks SOPInstanceUID, StudyInstanceUID or SeriesInstanceUID")
        patient, issuer = (str(dataset.get(word, "") or "").strip() for word in ("PatientID", "IssuerOfPatientID"))
        instance, study, series = uids
        return ReceivedFile(instance, study, series, patient, issuer)


def _refuse_cut_off(file: BinaryIO, dataset: FileDataset, path: Path) -> None:
    """Walk over the pixel data by its lengths; the file must reach to their end."""
    at, size = file.tell(), path.stat().st_size
    if at >= size:
        # A cut before Rows leaves a sound header: the class says that an image was meant.
        if "Rows" in dataset or "Image Storage" in UID(str(dataset.get("SOPClassUID", ""))).name:
            raise UnreadableDicom(f"{path}: an image without its pixel data: cut off")
        return
    implicit, little = dataset.original_encoding
    order = "little" if little else "big"
    head_bytes = SHORT_HEAD_BYTES if implicit else LONG_HEAD_BYTES
    head = file.read(head_bytes)
    tag = _tag(head, order)
    if len(head) < head_bytes or tag not in PIXEL_TAGS:
        raise UnreadableDicom(f"{path}: ends within its header: cut off")
    length = int.from_bytes(head[-4:], order)  # type: ignore[arg-type]
    at += head_bytes
    if length != UNDEFINED:
        if at + length > size:
            raise UnreadableDicom(f"{path}: {size - at} of {length} bytes of pixel data: cut off")
        return
    while True:
        file.seek(at)
        item = file.read(8)
        if len(item) < 8:
            raise UnreadableDicom(f"{path}: its compressed pixel data has no end: cut off")
        tag, at = _tag(item, order), at + 8
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise UnreadableDicom(f"{path}: its compressed pixel data is broken")
        at += int.from_bytes(item[4:], order)  # type: ignore[arg-type]


def _tag(head: bytes, order: str) -> int:
    group, element = (int.from_bytes(head[i : i + 2], order) for i in (0, 2))  # type: ignore[arg-type]
    return group << 16 | element
