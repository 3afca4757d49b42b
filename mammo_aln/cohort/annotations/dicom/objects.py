"""Open the DICOM object that holds annotations: its kind by SOP class, its references to images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from mammo_aln.cohort.annotations.documents import read_bytes
from mammo_aln.cohort.annotations.record import Element, Listed
from mammo_aln.dicom.decode import refusing
from mammo_aln.dicom.deflate import (
    MOST_INFLATED_BYTES,
    PIXEL_TAGS,
    STEP_BYTES,
    HeaderEnd,
    deflated_from,
    inflated,
)
from mammo_aln.errors import UnreadableDicom, shortened

Regions = TypeVar("Regions")
MOST_DEFLATED_BYTES = 1 << 29
"""What a deflated object may grow to; masks of hundreds of slices stay below."""
SOP_CLASS_TAG, HEAD_BYTES = 0x00080016, 1 << 20
_STORAGE = "1.2.840.10008.5.1.4.1.1."
SR_CLASSES = {
    f"{_STORAGE}88.22": "Enhanced SR",
    f"{_STORAGE}88.33": "Comprehensive SR",
    f"{_STORAGE}88.34": "Comprehensive 3D SR",
    f"{_STORAGE}88.35": "Extensible SR",
    f"{_STORAGE}88.50": "Mammography CAD SR",
}
PR_CLASSES = {
    f"{_STORAGE}11.1": "Grayscale Softcopy Presentation State",
    f"{_STORAGE}11.2": "Color Softcopy Presentation State",
    f"{_STORAGE}11.3": "Pseudo-Color Softcopy Presentation State",
}
SEG_CLASSES = {f"{_STORAGE}66.4": "Segmentation", f"{_STORAGE}66.7": "Label Map Segmentation"}
RTSTRUCT_CLASSES = {f"{_STORAGE}481.3": "RT Structure Set"}
NOT_READ = {
    f"{_STORAGE}66.5": "a Surface Segmentation",
    f"{_STORAGE}88.11": "a Basic Text SR",
    f"{_STORAGE}88.65": "a Chest CAD SR",
    f"{_STORAGE}88.67": "an X-Ray Radiation Dose SR",
    f"{_STORAGE}11.4": "a Blending Presentation State",
    f"{_STORAGE}11.8": "an Advanced Blending Presentation State",
}
"""Kinds that are like those above and hold no region, or hold it in a way that is not read."""


def sop_class(path: Path) -> str:
    """SOPClassUID of a DICOM file.

    Raises:
        UnreadableDicom: no DICOM file.
    """
    with refusing(path, "reading the header"), path.open("rb") as file:
        if (start := deflated_from(file)) is None:
            # in memory: of a file, as many bytes are asked for at once as a broken element says that it has
            header = read_partial(BytesIO(file.read(HEAD_BYTES)), _behind(SOP_CLASS_TAG))
            stated = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
        else:
            head = BytesIO(inflated(file, start, STEP_BYTES))
            stated = read_dataset(head, False, True, stop_when=_behind(SOP_CLASS_TAG)).get("SOPClassUID")
        return str(stated or "")


def _behind(last: int) -> Callable[..., bool]:
    """Make what stops a parser behind a tag, and an endless row of tiny elements by an error."""
    end = HeaderEnd()

    def stop(tag: int, *_: object) -> bool:
        end(tag)  # counts
        return tag > last

    return stop


def whole_dataset(path: Path) -> FileDataset:
    """Parse an object up to its pixels; a deflated one is refused where it grows beyond what a mask can need.

    Raises:
        InputError: no regular file, or larger than any object of annotations.
        UnreadableDicom: no DICOM file, a broken one, or a deflated one that grows beyond all bounds.
    """
    content = BytesIO(read_bytes(path))
    with refusing(path, "reading"):
        if (start := deflated_from(content)) is not None:
            whole = inflated(content, start, MOST_DEFLATED_BYTES + 1)
            header = BytesIO(whole[:MOST_INFLATED_BYTES])
            read_dataset(header, False, True, stop_when=HeaderEnd())
            if len(whole) > MOST_DEFLATED_BYTES or header.tell() >= MOST_INFLATED_BYTES:
                raise UnreadableDicom(f"{path}: the deflated data set grows beyond what a header and a mask can need")
        content.seek(0)
        return read_partial(content, _behind(PIXEL_TAGS[-1]))


class BrokenElementError(Exception):
    """An element is absent or of another kind than its keyword says; the message does not name the file."""


def read_object(path: Path, classes: Mapping[str, str], regions: Callable[[FileDataset, Path], Regions]) -> Regions:
    """Read the regions of a DICOM object of one of these SOP classes (UID to name).

    Raises:
        InputError: no regular file, or larger than any object of annotations.
        UnreadableDicom: no DICOM file, a broken one or one with a broken element, or an object of another class.
    """
    dataset = whole_dataset(path)
    with refusing(path, "reading"):
        _settle(dataset)
        uid = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    if uid not in classes:
        name = NOT_READ.get(uid) or f"an object of SOP class {shortened(uid, 60)}"
        raise UnreadableDicom(f"{path}: holds {name}: expected {' or '.join(classes.values())}")
    with elements_of(path):
        return regions(dataset, path)


@contextmanager
def elements_of(path: Path) -> Iterator[None]:
    """Name the file where `items`, `floats`, `integers` or `integer` meet a broken element."""
    try:
        yield
    except BrokenElementError as error:
        raise UnreadableDicom(f"{path}: {error}") from error


def _settle(dataset: Dataset) -> None:
    """Parse every element, so that broken ones are refused here and not in the middle of the reading."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _settle(item)


def items(dataset: Dataset, keyword: str, *below: str) -> list[Dataset]:
    """Items of a sequence, or of the sequences below its items; none where it is absent or empty."""
    if below:
        return [child for one in items(dataset, keyword) for child in items(one, *below)]
    value = dataset.get(keyword)
    if not value:
        return []
    if not isinstance(value, Sequence):
        raise BrokenElementError(f"{keyword} is no sequence of items")
    return list(value)


def floats(dataset: Dataset, keyword: str) -> list[float]:
    """Values of a numeric element of any multiplicity, none where it is absent or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    try:
        return [float(one) for one in (value if isinstance(value, MultiValue | list | tuple) else [value])]
    except (TypeError, ValueError) as error:
        raise BrokenElementError(f"{keyword}: expected numbers") from error


def integers(dataset: Dataset, keyword: str) -> list[int]:
    """Whole numbers of an element of any multiplicity, none where it is absent or empty."""
    values = floats(dataset, keyword)
    if not all(value.is_integer() for value in values):
        raise BrokenElementError(f"{keyword}: expected whole numbers")
    return [int(value) for value in values]


def integer(dataset: Dataset, keyword: str) -> int:
    """The one whole number of an element that must stand."""
    values = integers(dataset, keyword)
    if len(values) != 1:
        raise BrokenElementError(f"{keyword}: expected one whole number")
    return values[0]


def words(dataset: Dataset, keyword: str) -> str:
    """Text of an element without spaces around it, empty where it is absent."""
    return str(dataset.get(keyword) or "").strip()


def listed_images(references: list[Dataset]) -> list[Element]:
    """The images that an object lists, each once."""
    return [Listed(uid) for uid in dict.fromkeys(uid for uid, _ in image_references(references))]


def image_references(references: list[Dataset]) -> Iterator[tuple[str, int | None]]:
    """SOPInstanceUID and frame (from 1, None for the whole image) of each referenced image and frame."""
    for reference in references:
        uid = words(reference, "ReferencedSOPInstanceUID")
        frames = integers(reference, "ReferencedFrameNumber")
        yield from ((uid, frame) for frame in frames or (None,) if uid)
