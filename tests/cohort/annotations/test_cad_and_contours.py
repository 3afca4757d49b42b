"""Mammography CAD SR by the text of PS3.16 TID 4000 and RT structure sets by PS3.3 C.8.8.6, built by hand."""

from __future__ import annotations

import contextlib
import resource
import time
import zlib
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from mammo_aln.cohort.annotations.dicom import structured_report
from mammo_aln.cohort.annotations.dicom.structure_set import read_structure_set
from mammo_aln.cohort.annotations.dicom.structured_report import read_structured_report
from mammo_aln.cohort.annotations.formats import format_of
from mammo_aln.cohort.annotations.record import Annotation
from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.segmentation import read_segmentation
from tests.cohort.annotations.dicom_images import COLUMNS, ROWS, boxes, plane, reasons, stored_mammogram
from tests.support.dicom_writer import item, save

CC, MLO = "1.2.826.9.1", "1.2.826.9.2"


def concept(value: str, scheme: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def content(relation: str, kind: str, name: Dataset | None = None, **tags: object) -> Dataset:
    named = {"ConceptNameCodeSequence": [name]} if name else {}
    return item(RelationshipType=relation, ValueType=kind, **named, **tags)


def image_item(uid: str, relation: str = "CONTAINS", frames: list[int] | None = None) -> Dataset:
    reference = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.1.2", ReferencedSOPInstanceUID=uid)
    if frames:
        reference.ReferencedFrameNumber = frames
    return content(relation, "IMAGE", ReferencedSOPSequence=[reference])


def shape(name: tuple[str, str], kind: str, data: list[float], child: Dataset) -> Dataset:
    return content(
        "HAS PROPERTIES",
        "SCOORD",
        concept(name[0], "DCM", name[1]),
        GraphicType=kind,
        GraphicData=data,
        ContentSequence=[child],
    )


OUTLINE, CENTER, WIDTH = ("111041", "Outline"), ("111010", "Center"), ("121055", "Path")
BY_REFERENCE = item(RelationshipType="SELECTED FROM", ReferencedContentItemIdentifier=[1, 1, 2])


def finding(name: tuple[str, str], intent: str, *shapes: Dataset) -> Dataset:
    rendering = content(
        "HAS CONCEPT MOD",
        "CODE",
        concept("111056", "DCM", "Rendering Intent"),
        ConceptCodeSequence=[concept(intent, "DCM", "intent")],
    )
    return content(
        "INFERRED FROM",
        "CODE",
        concept("111059", "DCM", "Single Image Finding"),
        ConceptCodeSequence=[concept(name[0], "SRT", name[1])],
        ContentSequence=[rendering, *shapes],
    )


PRESENT, HIDE = "111150", "111152"


def cad_report(path: Path, *findings: Dataset, sop_class: str = "1.2.840.10008.5.1.4.1.1.88.50") -> Path:
    library = content(
        "CONTAINS",
        "CONTAINER",
        concept("111028", "DCM", "Image Library"),
        ContentSequence=[image_item(CC), image_item(MLO)],
    )
    summary = content(
        "CONTAINS",
        "CODE",
        concept("111017", "DCM", "CAD Processing and Findings Summary"),
        ConceptCodeSequence=[concept("111242", "DCM", "All algorithms succeeded; with findings")],
        ContentSequence=[
            content(
                "INFERRED FROM",
                "CONTAINER",
                concept("111034", "DCM", "Individual Impression/Recommendation"),
                ContentSequence=list(findings),
            )
        ],
    )
    report = item(
        SOPClassUID=sop_class,
        SOPInstanceUID="1.2.826.9.9",
        Modality="SR",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=[concept("111036", "DCM", "Mammography CAD Report")],
        ContentSequence=[library, summary],
    )
    return save(report, path)


def test_findings_of_a_cad_report_have_their_image_within_or_by_reference(tmp_path: Path) -> None:
    square = [10.0, 20, 40, 20, 40, 60.5, 10, 60.5, 10, 20]
    spots = [5.0, 6, 7, 30, 25, 8]
    mass = finding(
        ("M-03000", "Mass"),
        PRESENT,
        shape(OUTLINE, "POLYLINE", square, BY_REFERENCE),
        shape(CENTER, "POINT", [25, 40], BY_REFERENCE),
    )
    cluster = finding(
        ("F-01775", "Calcification Cluster"),
        PRESENT,
        shape(OUTLINE, "MULTIPOINT", spots, image_item(CC, "SELECTED FROM")),
    )
    reading = read_structured_report(cad_report(tmp_path / "cad.dcm", mass, cluster))
    assert boxes(reading) == [(MLO, "Mass", (10, 20, 40, 60.5)), (CC, "Calcification Cluster", (5, 6, 25, 30))]
    assert reasons(reading) == ["a center has no area"]


def test_hidden_findings_and_paths_are_counted(tmp_path: Path) -> None:
    child = image_item(CC, "SELECTED FROM")
    square = [10.0, 20, 40, 20, 40, 60, 10, 60]
    hidden = finding(("M-03000", "Mass"), HIDE, shape(OUTLINE, "POLYLINE", square, child))
    path = finding(("M-03000", "Mass"), PRESENT, shape(WIDTH, "POLYLINE", [1, 2, 3, 4], child))
    space = finding(("M-03000", "Mass"), PRESENT, content("HAS PROPERTIES", "SCOORD3D"))
    alone = finding(("M-03000", "Mass"), PRESENT, shape(OUTLINE, "POLYLINE", square, content("CONTAINS", "TEXT")))
    reading = read_structured_report(cad_report(tmp_path / "cad.dcm", hidden, path, space, alone))
    assert boxes(reading) == []
    assert reasons(reading) == [
        "a finding that its report marks Not for Presentation",
        "coordinates that are neither Outline nor Image Region (a measurement's path, for example)",
        "SCOORD3D: coordinates in space, not in an image",
        "coordinates that name no image",
    ]


def test_each_frame_is_an_annotation_of_its_own(tmp_path: Path) -> None:
    child = image_item(CC, "SELECTED FROM", [3, 4])
    mass = finding(("M-03000", "Mass"), PRESENT, shape(OUTLINE, "CIRCLE", [20, 20, 20, 30], child))
    reading = read_structured_report(cad_report(tmp_path / "cad.dcm", mass))
    assert [entry.frame for entry in reading if isinstance(entry, Annotation)] == [3, 4]


def measured(code_value: str, meaning: str, kind: str, data: list[float]) -> Dataset:
    """A measurement as dcmjs writes it: the coordinates below the number have no name."""
    drawn = item(
        RelationshipType="INFERRED FROM",
        ValueType="SCOORD",
        GraphicType=kind,
        GraphicData=data,
        ContentSequence=[image_item(CC, "SELECTED FROM")],
    )
    return content("CONTAINS", "NUM", concept(code_value, "SCT", meaning), ContentSequence=[drawn])


def test_nameless_outlines_of_an_area_are_read_once(tmp_path: Path) -> None:
    square = [10.0, 20, 40, 20, 40, 60, 10, 60]
    label = content(
        "CONTAINS",
        "CODE",
        concept("121071", "DCM", "Finding"),
        ConceptCodeSequence=[concept("FREETEXT", "CORNERSTONE", "tumour left")],
    )
    group = content(
        "CONTAINS",
        "CONTAINER",
        concept("125007", "DCM", "Measurement Group"),
        ContentSequence=[
            label,
            measured("42798000", "Area", "POLYLINE", square),
            measured("131191004", "Perimeter", "POLYLINE", square),
            measured("410668003", "Length", "POLYLINE", [1, 2, 30, 40]),
        ],
    )
    reading = read_structured_report(cad_report(tmp_path / "sr.dcm", group, sop_class="1.2.840.10008.5.1.4.1.1.88.33"))
    assert boxes(reading) == [(CC, "tumour left", (10, 20, 40, 60))]
    assert reasons(reading) == [
        "coordinates that are neither Outline nor Image Region (a measurement's path, for example)"
    ]


BROKEN = {
    "an odd count": ("POLYLINE", [1.0, 2, 3], "pairs"),
    "a circle of three": ("CIRCLE", [1.0, 2, 3, 4, 5, 6], "expected 2 of a CIRCLE"),
    "an unknown type": ("SPLINE", [1.0, 2, 3, 4], "GraphicType = 'SPLINE'"),
    "not a number": ("POLYLINE", [1.0, 2, float("nan"), 4, 5, 6], "finite"),
    "no such item": ("POLYLINE", [1.0, 2, 3, 4, 5, 9], "item 1.7"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_coordinates_are_refused_with_their_item(tmp_path: Path, case: str) -> None:
    kind, data, words = BROKEN[case]
    child = item(RelationshipType="SELECTED FROM", ReferencedContentItemIdentifier=[1, 7])
    child = child if case == "no such item" else image_item(CC)
    path = cad_report(tmp_path / "cad.dcm", finding(("M-03000", "Mass"), PRESENT, shape(OUTLINE, kind, data, child)))
    with pytest.raises(InputError, match=words) as refusal:
        read_structured_report(path)
    assert "cad.dcm item 1.2.1.1.2" in str(refusal.value)


def test_other_reports_are_refused_by_name(tmp_path: Path) -> None:
    path = cad_report(tmp_path / "chest.dcm", sop_class="1.2.840.10008.5.1.4.1.1.88.65")
    with pytest.raises(InputError, match="Chest CAD SR"):
        read_structured_report(path)


def structure_set(path: Path, *contours: Dataset) -> Path:
    dataset = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3",
        SOPInstanceUID="1.2.826.8",
        Modality="RTSTRUCT",
        StructureSetROISequence=[item(ROINumber=4, ROIName="GTV")],
        ROIContourSequence=[item(ReferencedROINumber=4, ContourSequence=list(contours))],
    )
    return save(dataset, path)


def contour(uid: str, points: list[tuple[float, float, float]], kind: str = "CLOSED_PLANAR") -> Dataset:
    return item(
        ContourImageSequence=[item(ReferencedSOPClassUID="1.2.840.1", ReferencedSOPInstanceUID=uid)],
        ContourGeometricType=kind,
        NumberOfContourPoints=len(points),
        ContourData=[float(value) for point in points for value in point],
    )


def in_patient(tags: dict[str, object], column: float, row: float) -> tuple[float, float, float]:
    """Millimetres of an edge coordinate, by PS3.3 equation C.7.6.2.1-1, where pixel centres are whole numbers."""
    position, cosines, spacing = tags["ImagePositionPatient"], tags["ImageOrientationPatient"], tags["PixelSpacing"]
    i, j = column - 0.5, row - 0.5
    return tuple(position[k] + cosines[k] * spacing[1] * i + cosines[3 + k] * spacing[0] * j for k in range(3))


@pytest.mark.parametrize("cosines", [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [-0.6, 0.8, 0, 0.8, 0.6, 0]])
def test_contours_become_boxes_of_their_image(tmp_path: Path, cosines: list[float]) -> None:
    tags = {**plane(1), "ImageOrientationPatient": cosines}
    image = stored_mammogram(tmp_path / "image.dcm", **tags)
    corners = [in_patient(tags, *point) for point in [(10, 20), (30, 20), (30, 60), (10, 60)]]
    off = [(x, y, z + 3) for x, y, z in corners]
    path = structure_set(
        tmp_path / "rt.dcm",
        contour(image.SOPInstanceUID, corners),
        contour(image.SOPInstanceUID, corners[:1], "POINT"),
        contour("1.2.3.4.5", corners),
    )
    files = {image.SOPInstanceUID: tmp_path / "image.dcm"}
    reading = read_structure_set(path, files.get)
    assert boxes(reading) == [(image.SOPInstanceUID, "GTV", pytest.approx((10, 20, 30, 60), abs=1e-6))]
    assert [(entry.rows, entry.columns) for entry in reading if isinstance(entry, Annotation)] == [(ROWS, COLUMNS)]
    assert reasons(reading) == [
        "a contour of type POINT, not CLOSED_PLANAR",
        "a contour on an image that is not in the cohort",
    ]
    if cosines == [1, 0, 0, 0, 1, 0]:
        with pytest.raises(InputError, match="3 mm off the plane"):
            read_structure_set(structure_set(path, contour(image.SOPInstanceUID, off)), files.get)


def test_contours_on_a_projection_are_refused(tmp_path: Path) -> None:
    image = stored_mammogram(tmp_path / "image.dcm")
    path = structure_set(tmp_path / "rt.dcm", contour(image.SOPInstanceUID, [(0, 0, 0), (9, 0, 0), (9, 9, 0)]))
    with pytest.raises(InputError, match="a projection has none"):
        read_structure_set(path, {image.SOPInstanceUID: tmp_path / "image.dcm"}.get)


def test_a_contour_of_no_number_is_refused_with_its_file(tmp_path: Path) -> None:
    stored_mammogram(tmp_path / "image.dcm", **plane(1))
    path = structure_set(tmp_path / "rt.dcm", contour("1.2.3.4.5", [(0, 0, 0), (9, 0, 0), (9, 9, 0)]))
    path.write_bytes(path.read_bytes().replace(b"9.0\\9.0", b"9.0\\9x0"))
    with pytest.raises(InputError, match=r"rt\.dcm: ContourData: expected numbers"):
        read_structure_set(path, lambda uid: tmp_path / "image.dcm")


def test_a_region_without_its_number_is_refused_with_its_file(tmp_path: Path) -> None:
    path = structure_set(tmp_path / "rt.dcm")
    dataset = dcmread(path)
    del dataset.StructureSetROISequence[0].ROINumber
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"rt\.dcm: ROINumber: expected one whole number"):
        read_structure_set(path, lambda uid: None)


ELEMENTS = {
    "a text in place of items": ("ContentSequence", "LO", "text", "ContentSequence is no sequence of items"),
    "half an item": ("ReferencedContentItemIdentifier", "FD", [1.5, 7.0], "expected whole numbers"),
    "a text in place of points": ("GraphicData", "LO", "left", "GraphicData: expected numbers"),
}


@pytest.mark.parametrize("case", ELEMENTS)
def test_a_broken_element_is_refused_with_its_file(tmp_path: Path, case: str) -> None:
    keyword, kind, value, words = ELEMENTS[case]
    child = item(RelationshipType="SELECTED FROM", ReferencedContentItemIdentifier=[1, 7])
    drawn = shape(OUTLINE, "CIRCLE", [20, 20, 20, 30], child)
    broken = child if keyword in child else drawn
    del broken[keyword]
    broken.add_new(keyword, kind, value)
    path = cad_report(tmp_path / "cad.dcm", finding(("M-03000", "Mass"), PRESENT, drawn))
    with pytest.raises(InputError, match=rf"cad\.dcm: .*{words}"):
        read_structured_report(path)


def test_a_fault_of_the_reader_is_no_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cad_report(
        tmp_path / "cad.dcm",
        finding(("M-03000", "Mass"), PRESENT, shape(OUTLINE, "CIRCLE", [20, 20, 20, 30], image_item(CC))),
    )
    monkeypatch.setattr(structured_report, "shape_box", None)
    with pytest.raises(TypeError, match="not callable"):
        read_structured_report(path)


@pytest.mark.parametrize("tiny", [b"\x08\0\x05\0CS\0\0", b"\x08\0\x16\0UI\xfe\xff" + b"1" * 0xFFFE])
def test_a_deflated_object_that_fills_memory_is_refused_at_once(tiny: bytes, tmp_path: Path) -> None:
    path = cad_report(tmp_path / "report.dcm")
    whole = dcmread(path)
    whole.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    whole.save_as(path, enforce_file_format=True)
    assert format_of(path) == "sr"
    head = path.read_bytes()[: 132 + 12 + whole.file_meta.FileMetaInformationGroupLength]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflate.compress(tiny * ((1 << 26) // len(tiny))) + deflate.flush()
    path.write_bytes(head + bomb)
    begun = time.monotonic()
    for read in (format_of, read_structured_report, read_segmentation):
        with contextlib.suppress(InputError):
            assert read(path) is None
    assert time.monotonic() - begun < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3_000_000
