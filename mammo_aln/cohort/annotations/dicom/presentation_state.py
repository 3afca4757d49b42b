"""Presentation states: graphic objects that a reader drew in a viewer (PS3.3 C.10.4 to C.10.6).

PIXEL units are edges of the stored matrix, whatever the state's rotation and flip. DISPLAY units are shares of the
displayed area, as it is seen after rotation and flip; its corners, pixels counted from 1, lead back to the matrix.
"""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from mammo_aln.cohort.annotations.dicom import objects
from mammo_aln.cohort.annotations.dicom.shapes import Point, shape_box
from mammo_aln.cohort.annotations.geometry import points_of_pairs
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Reading, Skipped
from mammo_aln.errors import InputError

TEXT = "a text beside the picture is no outline"
COMPOUND = "a compound graphic: its simple objects are read where the state has them"
MATRIX = "MATRIX units: coordinates of a tiled image's total pixel matrix"
WITHOUT_IMAGE = "a graphic whose presentation state names no image"
ROTATIONS = (0, 90, 180, 270)


def read_presentation_state(path: Path) -> Reading:
    """Read the closed shapes of a softcopy presentation state; the label is the graphic layer's name.

    Raises:
        UnreadableDicom: no DICOM file, a broken one, or another object.
        InputError: an unknown shape or unit, or a displayed area that contradicts the state's rotation and flip.
    """
    return objects.read_object(path, objects.PR_CLASSES, _graphics)


def _graphics(state: Dataset, path: Path) -> Reading:
    references = objects.items(state, "ReferencedSeriesSequence", "ReferencedImageSequence")
    every_image = list(objects.image_references(references))
    reading = objects.listed_images(references)
    for number, annotation in enumerate(objects.items(state, "GraphicAnnotationSequence"), 1):
        source = f"{path.name} annotation {number}"
        images = list(objects.image_references(objects.items(annotation, "ReferencedImageSequence"))) or every_image
        region = objects.words(annotation, "GraphicLayer") or NO_REGION
        reading += [Skipped(TEXT, source) for _ in objects.items(annotation, "TextObjectSequence")]
        reading += [Skipped(COMPOUND, source) for _ in objects.items(annotation, "CompoundGraphicSequence")]
        for index, graphic in enumerate(objects.items(annotation, "GraphicObjectSequence"), 1):
            element = f"{source} object {index}"
            if not images:
                reading.append(Skipped(WITHOUT_IMAGE, element))
            reading += [_annotation(graphic, state, image, region, element) for image in images]
    return reading


def _annotation(
    graphic: Dataset, state: Dataset, image: tuple[str, int | None], region: str, source: str
) -> Annotation | Skipped:
    units = objects.words(graphic, "GraphicAnnotationUnits")
    if units == "MATRIX":
        return Skipped(MATRIX, source)
    if units not in ("PIXEL", "DISPLAY"):
        raise InputError(f"{source}, GraphicAnnotationUnits = {units!r}: expected PIXEL or DISPLAY")
    if objects.integers(graphic, "GraphicDimensions") not in ([], [2]):
        raise InputError(f"{source}, GraphicDimensions = {graphic.GraphicDimensions}: expected 2")
    points = points_of_pairs(objects.floats(graphic, "GraphicData"), f"{source}, GraphicData")
    stated = objects.integers(graphic, "NumberOfGraphicPoints")
    if stated and stated[0] != len(points):
        raise InputError(f"{source}: GraphicData holds {len(points)} points, NumberOfGraphicPoints says {stated[0]}")
    if units == "DISPLAY":
        points = [_stored_point(point, *_displayed_area(state, image, source)) for point in points]
    kind = objects.words(graphic, "GraphicType")
    box = shape_box(kind, points, source, closed=objects.words(graphic, "GraphicFilled") != "Y")
    if isinstance(box, str):
        return Skipped(box, source)
    return Annotation(image[0], region, *box, frame=image[1], source=source)


def _displayed_area(state: Dataset, image: tuple[str, int | None], source: str) -> tuple[Point, Point, bool]:
    """The displayed area's seen upper left and lower right corner in the stored matrix, as edges.

    Returns:
        Both corners (column, row), and True where a turn by 90 or 270 degrees lays columns along rows.

    Raises:
        InputError: no area for the image, no such rotation, or corners in an order that the rotation and flip exclude.
    """
    areas = [area for area in objects.items(state, "DisplayedAreaSelectionSequence") if _applies(area, image)]
    corners = [
        objects.integers(area, f"DisplayedArea{corner}HandCorner")
        for area in areas
        for corner in ("TopLeft", "BottomRight")
    ]
    if len(areas) != 1 or [len(corner) for corner in corners] != [2, 2]:
        raise InputError(f"{source}: DISPLAY units and {len(areas)} displayed areas of its image: expected one")
    rotation = (objects.integers(state, "ImageRotation") or [0])[0]
    flip = objects.words(state, "ImageHorizontalFlip") or "N"
    if rotation not in ROTATIONS or flip not in ("Y", "N"):
        raise InputError(
            f"{source}: ImageRotation = {rotation}, ImageHorizontalFlip = {flip!r}: expected 0, 90, 180 or 270, Y or N"
        )
    backwards = _backwards(rotation, flip == "Y")
    edges = []
    for first, last, reversed_ in zip(*corners, backwards, strict=True):
        if first != last and (first > last) != reversed_:
            raise InputError(
                f"{source}: DisplayedAreaTopLeftHandCorner and BottomRightHandCorner {corners} contradict a rotation "
                f"by {rotation} degrees and flip {flip}: expected them as they are seen after both"
            )
        edges.append((first, last - 1) if reversed_ else (first - 1, last))
    (left, right), (top, bottom) = edges
    return (left, top), (right, bottom), rotation in (90, 270)


def _applies(area: Dataset, image: tuple[str, int | None]) -> bool:
    references = list(objects.image_references(objects.items(area, "ReferencedImageSequence")))
    return not references or image in references or (image[0], None) in references


def _backwards(rotation: int, flip: bool) -> tuple[bool, bool]:
    """Test that stored columns, and stored rows, run against the screen after a clockwise rotation and then a flip.

    Rotated by 90 degrees, stored rows run to the screen's left and stored columns down.
    """
    columns, rows = {0: (False, False), 90: (False, True), 180: (True, True), 270: (True, False)}[rotation]
    if flip:
        return (columns, not rows) if rotation in (90, 270) else (not columns, rows)
    return columns, rows


def _stored_point(point: Point, seen_first: Point, seen_last: Point, exchanged: bool) -> Point:
    """A point in shares of the displayed area, as (column, row) of the stored matrix."""
    share_x, share_y = (point[1], point[0]) if exchanged else point
    return (
        seen_first[0] + share_x * (seen_last[0] - seen_first[0]),
        seen_first[1] + share_y * (seen_last[1] - seen_first[1]),
    )
