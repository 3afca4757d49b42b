"""Table of the annotation formats: how each is recognised, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

from mammo_aln.cohort.annotations.coco import read_coco
from mammo_aln.cohort.annotations.documents import Json, parse_json, read_text, read_xml
from mammo_aln.cohort.annotations.labelme import read_labelme
from mammo_aln.cohort.annotations.record import Reading
from mammo_aln.cohort.annotations.voc import read_voc
from mammo_aln.errors import InputError, did_you_mean

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Candidate:
    """A file whose format is sought; it is opened no further than a format's test needs."""

    path: Path

    @cached_property
    def suffix(self) -> str:
        """The name's ending in lower case, `.nii.gz` and `.seg.nrrd` as `.gz` and `.nrrd`."""
        return self.path.suffix.lower()

    @cached_property
    def head(self) -> bytes:
        """First bytes of the file."""
        try:
            with self.path.open("rb") as stream:
                return stream.read(HEAD_BYTES)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error

    @cached_property
    def is_dicom(self) -> bool:
        """True for a DICOM file with its preamble."""
        return self.head[128:132] == b"DICM"

    @cached_property
    def json(self) -> Json:
        """The parsed file; None for a name that does not end in `.json`, `InputError` for a broken one."""
        return parse_json(read_text(self.path), self.path) if self.suffix == ".json" else None

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of a JSON file's object, or of the first object in its list."""
        document = self.json
        first = document[0] if isinstance(document, list) and document else document
        return frozenset(first) if isinstance(first, dict) else frozenset()

    @cached_property
    def xml(self) -> ElementTree.Element | None:
        """The root of an XML file; None for a name that does not end in `.xml`, `InputError` for a broken one."""
        return read_xml(self.path) if self.suffix == ".xml" else None

    def has_root(self, tag: str, *children: str) -> bool:
        """Test an XML file's root element, and that it holds these children."""
        root = self.xml
        return root is not None and root.tag == tag and all(root.find(child) is not None for child in children)


@dataclass(frozen=True)
class AnnotationFormat:
    """One row of the table.

    Attributes:
        title: the tool's or format's own name, for messages.
        recognises: tests a candidate; at most one format may say yes.
        read: reads one file.
        is_picture: the file is an image itself; in a folder that holds other annotations it is the annotated picture.
    """

    title: str
    recognises: Callable[[Candidate], bool]
    read: Callable[[Path], Reading]
    is_picture: bool = False


FORMATS: dict[str, AnnotationFormat] = {
    "coco": AnnotationFormat("COCO JSON", lambda file: {"images", "annotations"} <= file.keys, read_coco),
    "labelme": AnnotationFormat("LabelMe JSON", lambda file: {"shapes", "imagePath"} <= file.keys, read_labelme),
    "voc": AnnotationFormat("Pascal VOC XML", lambda file: file.has_root("annotation"), read_voc),
}


def format_of(path: Path) -> str | None:
    """Name of the one format that recognises a file; None where none does.

    Raises:
        InputError: a broken JSON or XML file, or one that several formats recognise.
    """
    candidate = Candidate(path)
    names = [name for name, row in FORMATS.items() if row.recognises(candidate)]
    if len(names) > 1:
        raise InputError(f"{path}: may be {' or '.join(names)}: state which by --format")
    return names[0] if names else None


def known_format(name: str) -> str:
    """The name, or `InputError` where the table has no such format."""
    if name not in FORMATS:
        raise InputError(f"--format {name}: expected auto, {', '.join(FORMATS)}{did_you_mean(name, FORMATS)}")
    return name
