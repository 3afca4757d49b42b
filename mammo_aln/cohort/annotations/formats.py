"""Table of the annotation formats: how each is recognised, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

from mammo_aln.cohort.annotations.dicom.objects import (
    PR_CLASSES,
    RTSTRUCT_CLASSES,
    SEG_CLASSES,
    SR_CLASSES,
    sop_class,
)
from mammo_aln.cohort.annotations.dicom.presentation_state import read_presentation_state
from mammo_aln.cohort.annotations.dicom.segmentation import read_segmentation_object
from mammo_aln.cohort.annotations.dicom.structure_set import read_structure_set
from mammo_aln.cohort.annotations.dicom.structured_report import read_structured_report
from mammo_aln.cohort.annotations.documents import Json, parse_json, read_text, read_xml
from mammo_aln.cohort.annotations.masks import MASK_ENDINGS, read_mask
from mammo_aln.cohort.annotations.nifti import reading
from mammo_aln.cohort.annotations.record import Reading
from mammo_aln.cohort.annotations.text.box_table import read_box_table
from mammo_aln.cohort.annotations.text.coco import read_coco
from mammo_aln.cohort.annotations.text.cvat import read_cvat
from mammo_aln.cohort.annotations.text.inbreast import read_inbreast
from mammo_aln.cohort.annotations.text.label_studio import read_label_studio
from mammo_aln.cohort.annotations.text.labelme import read_labelme
from mammo_aln.cohort.annotations.text.slicer import read_slicer
from mammo_aln.cohort.annotations.text.via import read_via, read_via_csv
from mammo_aln.cohort.annotations.text.voc import read_voc
from mammo_aln.cohort.annotations.text.yolo import looks_like_yolo, read_yolo
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
        with reading(self.path) as stream:
            return stream.read(HEAD_BYTES)

    @cached_property
    def is_dicom(self) -> bool:
        """True for a DICOM file with its preamble."""
        return self.head[128:132] == b"DICM"

    @cached_property
    def sop_class(self) -> str:
        """SOPClassUID of a DICOM file, empty for others; `InputError` for a broken one."""
        return sop_class(self.path) if self.is_dicom else ""

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


TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
VIA_COLUMNS = (b"region_shape_attributes", b"spatial_coordinates")


def _is_via_table(file: Candidate) -> bool:
    return file.suffix == ".csv" and any(name in file.head.replace(b"\0", b"") for name in VIA_COLUMNS)


def _is_via(file: Candidate) -> bool:
    document = file.json
    if not isinstance(document, dict):
        return False
    images = document.get("_via_img_metadata", document)
    first = next(iter(images.values()), None) if isinstance(images, dict) else None
    version_2 = isinstance(first, dict) and {"filename", "regions"} <= set(first)
    return version_2 or "_via_img_metadata" in document or {"project", "file", "metadata", "view"} <= set(document)


def _is_label_studio(file: Candidate) -> bool:
    if not isinstance(file.json, list):
        return False
    short = "annotator" in file.keys or "annotation_id" in file.keys
    return short or ("data" in file.keys and bool({"annotations", "completions", "predictions"} & file.keys))


FORMATS: dict[str, AnnotationFormat] = {
    "csv": AnnotationFormat(
        "a table of boxes", lambda file: file.suffix in TABLE_SUFFIXES and not _is_via_table(file), read_box_table
    ),
    "coco": AnnotationFormat("COCO JSON", lambda file: {"images", "annotations"} <= file.keys, read_coco),
    "yolo": AnnotationFormat("YOLO", lambda file: file.suffix == ".txt" and looks_like_yolo(file.head), read_yolo),
    "labelme": AnnotationFormat("LabelMe JSON", lambda file: {"shapes", "imagePath"} <= file.keys, read_labelme),
    "via": AnnotationFormat("VGG Image Annotator JSON", _is_via, read_via),
    "via_csv": AnnotationFormat("VGG Image Annotator CSV", _is_via_table, read_via_csv),
    "cvat": AnnotationFormat("CVAT for images XML", lambda file: file.has_root("annotations"), read_cvat),
    "label_studio": AnnotationFormat("Label Studio JSON", _is_label_studio, read_label_studio),
    "voc": AnnotationFormat("Pascal VOC XML", lambda file: file.has_root("annotation"), read_voc),
    "slicer": AnnotationFormat("3D Slicer markups", lambda file: "markups" in file.keys, read_slicer),
    "inbreast": AnnotationFormat("INbreast XML", lambda file: file.has_root("plist"), read_inbreast),
    "sr": AnnotationFormat("DICOM SR", lambda file: file.sop_class in SR_CLASSES, read_structured_report),
    "pr": AnnotationFormat(
        "DICOM presentation state", lambda file: file.sop_class in PR_CLASSES, read_presentation_state
    ),
    "seg": AnnotationFormat("DICOM SEG", lambda file: file.sop_class in SEG_CLASSES, read_segmentation_object),
    "rtstruct": AnnotationFormat(
        "DICOM RT structure set", lambda file: file.sop_class in RTSTRUCT_CLASSES, read_structure_set
    ),
    "mask": AnnotationFormat(
        "a mask (PNG, TIFF, NIfTI, NRRD)", lambda file: file.path.name.lower().endswith(MASK_ENDINGS), read_mask, True
    ),
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
