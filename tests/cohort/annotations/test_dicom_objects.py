"""Objects that highdicom writes (SR TID 1500, GSPS, SEG): planted shapes come back as boxes of the right image."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from highdicom import pr, seg, sr
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from mammo_aln.cohort.annotations.dicom.presentation_state import read_presentation_state
from mammo_aln.cohort.annotations.dicom.segmentation import read_segmentation_object
from mammo_aln.cohort.annotations.dicom.structured_report import read_structured_report
from mammo_aln.errors import InputError
from tests.cohort.annotations.dicom_images import (
    COLUMNS,
    DEVICE,
    ROWS,
    SERIES,
    Box,
    boxes,
    plane,
    reasons,
    stored_mammogram,
)

TILT = math.radians(30)
MAJOR, MINOR = (16 * math.cos(TILT), 16 * math.sin(TILT)), (-8 * math.sin(TILT), 8 * math.cos(TILT))
HALF_WIDTH, HALF_HEIGHT = math.hypot(MAJOR[0], MINOR[0]), math.hypot(MAJOR[1], MINOR[1])
SHAPES: dict[str, tuple[list[tuple[float, float]], Box | None]] = {
    "POLYLINE": ([(10, 20), (30, 25.5), (22, 60), (10, 20)], (10, 20, 30, 60)),
    "CIRCLE": ([(40, 50), (46, 58)], (30, 40, 50, 60)),
    "ELLIPSE": (
        [
            (40 - MAJOR[0], 60 - MAJOR[1]),
            (40 + MAJOR[0], 60 + MAJOR[1]),
            (40 - MINOR[0], 60 - MINOR[1]),
            (40 + MINOR[0], 60 + MINOR[1]),
        ],
        (40 - HALF_WIDTH, 60 - HALF_HEIGHT, 40 + HALF_WIDTH, 60 + HALF_HEIGHT),
    ),
    "POINT": ([(10, 20)], None),
}


def close(box: Box) -> object:
    return pytest.approx(box, abs=1e-3)


@pytest.fixture
def image(tmp_path: Path) -> FileDataset:
    return stored_mammogram(tmp_path / "image.dcm")


@pytest.mark.parametrize("kind", SHAPES)
def test_a_measurement_report_gives_its_image_regions(tmp_path: Path, image: FileDataset, kind: str) -> None:
    points, box = SHAPES[kind]
    region = sr.ImageRegion(kind, np.array(points), sr.SourceImageForRegion.from_source_image(image))
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identifier="lesion 1"),
        referenced_region=region,
        finding_type=codes.SCT.Mass,
    )
    person = sr.ObserverContext(codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(name="Reader"))
    report = sr.MeasurementReport(
        sr.ObservationContext(observer_person_context=person), codes.LN.CTUnspecifiedBodyRegion, [group]
    )
    path = tmp_path / "sr.dcm"
    sr.ComprehensiveSR([image], report[0], **SERIES).save_as(path)
    reading = read_structured_report(path)
    if box is None:
        assert reasons(reading) == ["a point has no area"]
    else:
        assert boxes(reading) == [(image.SOPInstanceUID, "Mass", close(box))]


def state_file(path: Path, images: list[FileDataset], objects: list, texts: list | None = None) -> Path:
    layer = pr.GraphicLayer("LESION", 1)
    annotation = pr.GraphicAnnotation(images[:1], layer, graphic_objects=objects, text_objects=texts)
    state = pr.GrayscaleSoftcopyPresentationState(
        images, **SERIES, **DEVICE, content_label="READ", graphic_annotations=[annotation], graphic_layers=[layer]
    )
    state.save_as(path)
    return path


@pytest.mark.parametrize("kind", SHAPES)
def test_a_presentation_state_gives_its_shapes(tmp_path: Path, image: FileDataset, kind: str) -> None:
    points, box = SHAPES[kind]
    text = pr.TextObject("seen here", "PIXEL", bounding_box=(1, 1, 9, 9))
    path = state_file(tmp_path / "pr.dcm", [image], [pr.GraphicObject(kind, np.array(points), "PIXEL")], [text])
    reading = read_presentation_state(path)
    assert reasons(reading)[0] == "a text beside the picture is no outline"
    if box is None:
        assert reasons(reading)[1:] == ["a point has no area"]
    else:
        assert boxes(reading) == [(image.SOPInstanceUID, "LESION", close(box))]


def test_an_open_line_of_a_presentation_state_is_no_outline(tmp_path: Path, image: FileDataset) -> None:
    line = pr.GraphicObject("POLYLINE", np.array([(10, 10), (20, 20), (10, 30)]), "PIXEL")
    path = state_file(tmp_path / "pr.dcm", [image], [line])
    assert reasons(read_presentation_state(path)) == ["an open line (an arrow or a measurement) is no outline"]


def seen_matrix(rotation: int, flip: bool) -> np.ndarray:
    """Stored (column, row) pixel indices of the picture as it is seen, made by turning an array of them."""
    index = np.stack(np.meshgrid(np.arange(COLUMNS), np.arange(ROWS)), axis=-1)
    seen = np.rot90(index, -rotation // 90)
    return seen[:, ::-1] if flip else seen


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_display_units_follow_the_displayed_area(tmp_path: Path, image: FileDataset, rotation: int, flip: bool) -> None:
    seen = seen_matrix(rotation, flip)
    area = seen[10:, 5:-3]
    height, width = area.shape[:2]
    x_min, y_min, x_max, y_max = 7, 9, 30, 50
    share = [(x / width, y / height) for x, y in [(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)]]
    path = state_file(
        tmp_path / "pr.dcm", [image], [pr.GraphicObject("POLYLINE", np.array([*share, share[0]]), "DISPLAY")]
    )
    state = dcmread(path)
    state.ImageRotation, state.ImageHorizontalFlip = rotation, "Y" if flip else "N"
    selection = state.DisplayedAreaSelectionSequence[0]
    selection.DisplayedAreaTopLeftHandCorner = [int(value) + 1 for value in area[0, 0]]
    selection.DisplayedAreaBottomRightHandCorner = [int(value) + 1 for value in area[-1, -1]]
    state.save_as(path)
    inside = area[y_min:y_max, x_min:x_max].reshape(-1, 2)
    expected = (*inside.min(axis=0), *(inside.max(axis=0) + 1))
    assert boxes(read_presentation_state(path)) == [(image.SOPInstanceUID, "LESION", close(expected))]
    state.ImageHorizontalFlip = "N" if flip else "Y"
    state.save_as(path)
    with pytest.raises(InputError, match="contradict a rotation"):
        read_presentation_state(path)


def described(number: int, label: str) -> seg.SegmentDescription:
    return seg.SegmentDescription(
        number,
        label,
        codes.SCT.MorphologicallyAbnormalStructure,
        codes.SCT.Lesion,
        seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def planted(*rectangles: tuple[int, int, int, int], value: float = 1) -> np.ndarray:
    mask = np.zeros((ROWS, COLUMNS), np.uint8 if value == 1 else float)
    for x_min, y_min, x_max, y_max in rectangles:
        mask[y_min:y_max, x_min:x_max] = value
    return mask


def seg_file(
    path: Path, images: list[FileDataset], pixels: np.ndarray, kind: str, labels: list[str], **options: object
) -> Path:
    descriptions = [described(number, label) for number, label in enumerate(labels, 1)]
    seg.Segmentation(images, pixels, kind, descriptions, **SERIES, **DEVICE, **options).save_as(path)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_segments_of_several_images_become_boxes(tmp_path: Path, kind: str, syntax: str) -> None:
    if kind == "BINARY" and syntax == RLELossless:
        pytest.skip("highdicom writes no bit-packed RLE")
    images = [stored_mammogram(tmp_path / f"image{number}.dcm", number, **plane(number)) for number in (1, 2)]
    layers = np.stack(
        [
            np.stack([planted((10, 20, 30, 60), (50, 90, 60, 100)), planted((40, 50, 71, 62))]),
            np.stack([planted(), planted((3, 4, 33, 44))]),
        ]
    )
    pixels = np.moveaxis(layers, 1, -1)
    if kind == "FRACTIONAL":
        pixels = pixels * np.float32(0.9)
    path = seg_file(tmp_path / "seg.dcm", images, pixels, kind, ["Mass", "Node"], transfer_syntax_uid=syntax)
    one, two = (image.SOPInstanceUID for image in images)
    assert sorted(boxes(read_segmentation_object(path))) == sorted(
        [
            (one, "Mass", (10, 20, 30, 60)),
            (one, "Mass", (50, 90, 60, 100)),
            (one, "Node", (40, 50, 71, 62)),
            (two, "Node", (3, 4, 33, 44)),
        ]
    )


def test_fractions_count_from_half(tmp_path: Path, image: FileDataset) -> None:
    mask = planted((10, 20, 30, 60), value=0.3)[None]
    mask[0, 30:50, 15:20] = 0.6
    path = seg_file(tmp_path / "seg.dcm", [image], mask, "FRACTIONAL", ["Mass"], max_fractional_value=200)
    assert [box for *_, box in boxes(read_segmentation_object(path))] == [(15, 30, 20, 50)]
    broken = dcmread(path)
    broken.MaximumFractionalValue = 100
    broken.save_as(path)
    with pytest.raises(InputError, match="MaximumFractionalValue = 100"):
        read_segmentation_object(path)


def test_a_broken_element_of_a_segmentation_is_named(tmp_path: Path, image: FileDataset) -> None:
    path = seg_file(tmp_path / "seg.dcm", [image], planted((10, 20, 30, 60))[None], "BINARY", ["Mass"])
    for broken, words in (("SegmentNumber", "SegmentNumber: expected one whole number"), ("Rows", "Rows is missing")):
        dataset = dcmread(path)
        del (dataset.SegmentSequence[0] if broken in dataset.SegmentSequence[0] else dataset)[broken]
        dataset.save_as(tmp_path / "broken.dcm")
        with pytest.raises(InputError, match=rf"broken\.dcm: .*{words}"):
            read_segmentation_object(tmp_path / "broken.dcm")


def test_a_frame_of_colours_is_no_mask(tmp_path: Path, image: FileDataset) -> None:
    dataset = dcmread(seg_file(tmp_path / "s.dcm", [image], planted((9, 9, 30, 60))[None], "FRACTIONAL", ["Mass"]))
    dataset.PixelData, dataset.SamplesPerPixel, dataset.PlanarConfiguration = dataset.PixelData * 3, 3, 0
    dataset.PhotometricInterpretation = "RGB"
    dataset.save_as(tmp_path / "s.dcm")
    with pytest.raises(InputError, match=r"s\.dcm: frame 1 has an array \(120, 80, 3\)"):
        read_segmentation_object(tmp_path / "s.dcm")


def test_a_segment_without_pixels_is_counted(tmp_path: Path, image: FileDataset) -> None:
    pixels = np.stack([planted((10, 20, 30, 60)), planted()], axis=-1)[None]
    path = seg_file(tmp_path / "seg.dcm", [image], pixels, "BINARY", ["Mass", "Node"])
    reading = read_segmentation_object(path)
    assert len(boxes(reading)) == 1
    assert reasons(reading) == ["a segment without a pixel"]


def test_frames_that_name_no_image_take_the_only_one(tmp_path: Path) -> None:
    images = [stored_mammogram(tmp_path / f"image{number}.dcm", number, **plane(number)) for number in (1, 2)]
    for count, expected in ((1, [images[0].SOPInstanceUID]), (2, [])):
        pixels = np.stack([planted((10, 20, 30, 60))] * count)
        path = seg_file(tmp_path / f"seg{count}.dcm", images[:count], pixels, "BINARY", ["Mass"])
        dataset = dcmread(path)
        for group in (*dataset.PerFrameFunctionalGroupsSequence, *dataset.SharedFunctionalGroupsSequence):
            group.pop("DerivationImageSequence", None)
        dataset.save_as(path)
        reading = read_segmentation_object(path)
        assert [uid for uid, *_ in boxes(reading)] == expected
        assert reasons(reading) == ["a frame that names no source image"] * (0 if count == 1 else 2)


def test_a_real_segmentation_names_no_image(shared: Path) -> None:
    path = shared / "data" / "mri_masks" / "ispy1_1001_breast_SEG_undefined_length.dcm"
    reading = read_segmentation_object(path)
    assert boxes(reading) == []
    assert set(reasons(reading)) >= {"a frame that names no source image"}


READERS = {"sr": read_structured_report, "pr": read_presentation_state, "seg": read_segmentation_object}


@pytest.mark.parametrize("kind", READERS)
def test_damaged_and_foreign_files_end_in_one_line(tmp_path: Path, image: FileDataset, kind: str) -> None:
    foreign, cut, text = tmp_path / "image.dcm", tmp_path / "cut.dcm", tmp_path / "text.dcm"
    whole = seg_file(tmp_path / "seg.dcm", [image], planted((10, 20, 30, 60))[None], "BINARY", ["Mass"])
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size - 400])
    text.write_text("no DICOM")
    for path in (foreign, cut, text, tmp_path):
        with pytest.raises(InputError) as refusal:
            READERS[kind](path)
        assert re.fullmatch(f"{re.escape(str(path))}.*", str(refusal.value))
