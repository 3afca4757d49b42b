"""Structured reports: Mammography CAD SR (PS3.16 TID 4000) and measurement reports (TID 1500) with SCOORD items.

An outline is a SCOORD item named Outline or Image Region, or a nameless one that an area or perimeter was measured in
(as web viewers write it). Its label is the finding that it belongs to. Its image is the IMAGE item that it is selected
from, within it or by reference. Other coordinates (centres, paths of measurements) give no box and are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset

from mammo_aln.cohort.annotations.dicom import objects
from mammo_aln.cohort.annotations.dicom.shapes import shape_box
from mammo_aln.cohort.annotations.geometry import points_of_pairs
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Reading, Skipped
from mammo_aln.errors import InputError

OUTLINES = ("111041", "111030")
"""DCM codes of the concepts Outline and Image Region."""
MEASURES_OF_AN_OUTLINE = ("42798000", "G-A166", "131191004", "G-A197")
"""SCT and SRT codes of Area and Perimeter."""
CENTER = "111010"
SINGLE_IMAGE_FINDING = "111059"
FINDING = ("121071", "121069")
"""DCM codes of Finding and Previous Finding."""
TRACKING_IDENTIFIER = "112039"
RENDERING_INTENT, NOT_FOR_PRESENTATION = "111056", "111152"
REFERENCED_SEGMENT = ("121191", "121214")
"""DCM codes of Referenced Segment and Referenced Segmentation Frame."""
DEEPEST = 100

HIDDEN = "a finding that its report marks Not for Presentation"
VOLUME_COORDINATES = "SCOORD3D: coordinates in space, not in an image"
TOTAL_MATRIX = "coordinates of a total pixel matrix (PixelOriginInterpretation VOLUME)"
IN_SEGMENTATION = "a region drawn in a DICOM SEG: give that file as well"
WITHOUT_IMAGE = "coordinates that name no image"
CENTER_ALONE = "a center has no area"
OTHER_CONCEPT = "coordinates that are neither Outline nor Image Region (a measurement's path, for example)"


@dataclass(frozen=True)
class ContentItem:
    """One content item with those it stands under, the root first.

    Attributes:
        item: the data set of the item.
        above: items from the root to the parent.
        number: positions from the root on, from 1, e.g. 1.2.3; as ReferencedContentItemIdentifier has them.
    """

    item: Dataset
    above: tuple[Dataset, ...]
    number: tuple[int, ...]

    @property
    def label(self) -> str:
        """Position in words of a message."""
        return "item " + ".".join(map(str, self.number))


def read_structured_report(path: Path) -> Reading:
    """Read the outlines of a structured report.

    Raises:
        UnreadableDicom: no DICOM file, a broken one, or another object.
        InputError: coordinates that are none of a known shape, or a reference to an item that is not there.
    """
    return objects.read_object(path, objects.SR_CLASSES, _outlines)


def _outlines(report: Dataset, path: Path) -> Reading:
    tree = {entry.number: entry for entry in _content(report, (), (1,), path)}
    reading: list[Element] = []
    for entry in tree.values():
        source = f"{path.name} {entry.label}"
        value_type, concept = objects.words(entry.item, "ValueType"), _code(entry.item, "ConceptNameCodeSequence")
        if value_type == "SCOORD3D":
            reading.append(Skipped(VOLUME_COORDINATES, source))
        elif value_type == "IMAGE" and concept in REFERENCED_SEGMENT:
            reading.append(Skipped(IN_SEGMENTATION, source))
        elif value_type == "IMAGE":
            reading += objects.listed_images(objects.items(entry.item, "ReferencedSOPSequence"))
        elif value_type == "SCOORD":
            reading += _coordinates(entry, tree, concept, source)
    return _without_repeats(reading)


def _without_repeats(reading: list[Element]) -> list[Element]:
    """The reading without coordinates that stand once more, as under the area and the perimeter of one outline."""
    first: dict[Element, Element] = {}
    for entry in reading:
        first.setdefault(replace(entry, source="") if isinstance(entry, Annotation) else entry, entry)
    return list(first.values())


def _content(item: Dataset, above: tuple[Dataset, ...], number: tuple[int, ...], path: Path) -> Iterator[ContentItem]:
    if len(number) > DEEPEST:
        raise InputError(f"{path}: content items nest more than {DEEPEST} deep: expected a report of findings")
    yield ContentItem(item, above, number)
    for position, child in enumerate(objects.items(item, "ContentSequence"), 1):
        yield from _content(child, (*above, item), (*number, position), path)


def _coordinates(
    entry: ContentItem, tree: dict[tuple[int, ...], ContentItem], concept: str, source: str
) -> list[Annotation | Skipped]:
    measured = _code(entry.above[-1], "ConceptNameCodeSequence") if entry.above else ""
    if concept not in OUTLINES and (concept or measured not in MEASURES_OF_AN_OUTLINE):
        return [Skipped(CENTER_ALONE if concept == CENTER else OTHER_CONCEPT, source)]
    if any(_is_hidden(parent) for parent in entry.above):
        return [Skipped(HIDDEN, source)]
    if objects.words(entry.item, "PixelOriginInterpretation") == "VOLUME":
        return [Skipped(TOTAL_MATRIX, source)]
    points = points_of_pairs(objects.floats(entry.item, "GraphicData"), f"{source}, GraphicData")
    box = shape_box(objects.words(entry.item, "GraphicType"), points, source)
    if isinstance(box, str):
        return [Skipped(box, source)]
    region = _region(entry)
    images = [
        image
        for child in _selected(entry, tree, source)
        for image in objects.image_references(objects.items(child, "ReferencedSOPSequence"))
    ]
    if not images:
        return [Skipped(WITHOUT_IMAGE, source)]
    return [Annotation(uid, region, *box, frame=frame, source=source) for uid, frame in images]


def _selected(entry: ContentItem, tree: dict[tuple[int, ...], ContentItem], source: str) -> Iterator[Dataset]:
    """The IMAGE items below coordinates, or elsewhere in the tree where they are named by reference."""
    for child in objects.items(entry.item, "ContentSequence"):
        number = tuple(objects.integers(child, "ReferencedContentItemIdentifier"))
        if number and number not in tree:
            position = ".".join(map(str, number))
            raise InputError(f"{source} refers to item {position}, which is not in the report: expected an IMAGE item")
        item = tree[number].item if number else child
        if objects.words(item, "ValueType") == "IMAGE":
            yield item


def _region(entry: ContentItem) -> str:
    """The nearest finding above: a Single Image Finding, or the Finding or tracking identifier of its group."""
    for parent in reversed(entry.above):
        if _code(parent, "ConceptNameCodeSequence") == SINGLE_IMAGE_FINDING:
            return _meaning(parent)
        children = objects.items(parent, "ContentSequence")
        findings = [child for child in children if _code(child, "ConceptNameCodeSequence") in FINDING]
        if findings and objects.words(findings[0], "ValueType") == "CODE":
            return _meaning(findings[0])
        for child in children:
            if _code(child, "ConceptNameCodeSequence") == TRACKING_IDENTIFIER:
                return objects.words(child, "TextValue") or NO_REGION
    return NO_REGION


def _is_hidden(item: Dataset) -> bool:
    return any(
        _code(child, "ConceptNameCodeSequence") == RENDERING_INTENT
        and _code(child, "ConceptCodeSequence") == NOT_FOR_PRESENTATION
        for child in objects.items(item, "ContentSequence")
    )


def _code(item: Dataset, keyword: str) -> str:
    codes = objects.items(item, keyword)
    return objects.words(codes[0], "CodeValue") if codes else ""


def _meaning(item: Dataset) -> str:
    codes = objects.items(item, "ConceptCodeSequence")
    return objects.words(codes[0], "CodeMeaning") if codes else NO_REGION
