"""`mammo-aln regions` on masks and DICOM objects of a cohort with planted boxes, and what its crops show of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from highdicom import pr
from pydicom import dcmread
from pydicom.dataset import FileDataset

from mammo_aln.cohort.annotations.regions import import_regions
from mammo_aln.errors import InputError
from tests.cohort.annotations.dicom_images import DEVICE, SERIES
from tests.cohort.annotations.test_cad_and_contours import (
    OUTLINE,
    PRESENT,
    cad_report,
    contour,
    finding,
    image_item,
    in_patient,
    shape,
    structure_set,
)
from tests.cohort.annotations.test_dicom_objects import seg_file
from tests.support.annotated_cohort import (
    SIZES,
    image_name,
    imported_boxes,
    planted_box,
    uid_of,
)
from tests.support.dicom_writer import item

HALF_A_PIXEL = 0.5
IMAGES = range(len(SIZES))


@pytest.fixture
def cohort(written: Path, tmp_path: Path) -> Path:
    root = tmp_path / "cohort"
    root.mkdir()
    for table in written.glob("*.*"):
        shutil.copy(table, root)
    shutil.copytree(written / "dicom", root / "dicom")
    return root


def mask_of(index: int, value: int = 255) -> np.ndarray:
    """The planted box as the pixels whose centres lie in it."""
    x_min, y_min, x_max, y_max = planted_box(index)
    y, x = np.mgrid[: SIZES[index][0], : SIZES[index][1]] + 0.5
    return np.where((x > x_min) & (x < x_max) & (y > y_min) & (y < y_max), value, 0).astype(np.uint8)


def outline(index: int) -> list[tuple[float, float]]:
    x_min, y_min, x_max, y_max = planted_box(index)
    return [(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max), (x_min, y_min)]


def source_image(root: Path, index: int) -> FileDataset:
    image = dcmread(root / "dicom" / f"p{index}" / f"{image_name(index)}.dcm")
    for keyword in ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "PatientSex", "PatientBirthDate"):
        image.setdefault(keyword, "")
    for keyword in ("PatientName", "PatientID", "ReferringPhysicianName"):
        image.setdefault(keyword, "")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        image.setdefault(keyword, "1.2.826.1")
    image.setdefault("SeriesNumber", "1")
    image.setdefault("InstanceNumber", "1")
    return image


def write_png(root: Path, folder: Path, index: int) -> None:
    cv2.imwrite(str(folder / f"{image_name(index)}_mask.png"), mask_of(index))


def write_small_png(root: Path, folder: Path, index: int) -> None:
    twice = mask_of(index).repeat(2, axis=0).repeat(2, axis=1)
    cv2.imwrite(str(folder / f"{image_name(index)}.png"), twice)


def write_nifti(root: Path, folder: Path, index: int) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(mask_of(index, 1)), str(folder / f"{image_name(index)}.nii.gz"))


def write_nrrd(root: Path, folder: Path, index: int) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(mask_of(index, 1)[None]), str(folder / f"{image_name(index)}.nrrd"))


def write_seg(root: Path, folder: Path, index: int) -> None:
    image = source_image(root, index)
    seg_file(folder / f"{index}.dcm", [image], mask_of(index, 1)[None], "BINARY", ["primary"])


def write_gsps(root: Path, folder: Path, index: int) -> None:
    image = source_image(root, index)
    layer = pr.GraphicLayer("PRIMARY", 1)
    drawn = pr.GraphicObject("POLYLINE", np.array(outline(index)), "PIXEL")
    annotation = pr.GraphicAnnotation([image], layer, graphic_objects=[drawn])
    pr.GrayscaleSoftcopyPresentationState(
        [image], **SERIES, **DEVICE, content_label="READ", graphic_annotations=[annotation], graphic_layers=[layer]
    ).save_as(folder / f"{index}.dcm")


def write_cad(root: Path, folder: Path, index: int) -> None:
    data = [value for point in outline(index) for value in point]
    drawn = shape(OUTLINE, "POLYLINE", data, image_item(uid_of(index), "SELECTED FROM"))
    cad_report(folder / f"{index}.dcm", finding(("M-03000", "Mass"), PRESENT, drawn))


def write_rtstruct(root: Path, folder: Path, index: int) -> None:
    path = root / "dicom" / f"p{index}" / f"{image_name(index)}.dcm"
    image = dcmread(path)
    tags = {
        "ImagePositionPatient": [3.0, -4.0, 7.0],
        "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
        "PixelSpacing": [0.5, 0.5],
    }
    for keyword, value in tags.items():
        setattr(image, keyword, value)
    image.save_as(path)
    points = [in_patient(tags, *point) for point in outline(index)[:4]]
    structure_set(folder / f"{index}.dcm", contour(uid_of(index), points))


WRITERS = {
    "png": write_png,
    "png_of_twice_the_size": write_small_png,
    "nifti": write_nifti,
    "nrrd": write_nrrd,
    "seg": write_seg,
    "pr": write_gsps,
    "sr": write_cad,
    "rtstruct": write_rtstruct,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_planted_boxes_reach_the_stored_matrix(cohort: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "drawn"
    folder.mkdir()
    for index in IMAGES:
        WRITERS[kind](cohort, folder, index)
    import_regions([folder], cohort, regions="mass=primary,gtv=primary,PRIMARY=primary")
    assert set(pd.read_csv(cohort / "regions.csv")["region"]) == {"primary"}  # a lone label 1 names nothing
    boxes = imported_boxes(cohort)
    assert sorted(boxes) == sorted(f"im{index}" for index in IMAGES)
    for index in IMAGES:
        assert boxes[f"im{index}"] == [pytest.approx(planted_box(index), abs=HALF_A_PIXEL)]


EMPTIED = ("png", "nifti", "nrrd", "seg", "pr", "sr", "rtstruct")


@pytest.mark.parametrize("kind", EMPTIED)
def test_replaced_objects_take_the_boxes_of_emptied_pictures_away(cohort: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "drawn"
    folder.mkdir()
    for index in (0, 1):
        WRITERS[kind](cohort, folder, index)
    import_regions([folder], cohort, regions="*=primary")
    path = sorted(folder.iterdir())[0]
    if kind == "png":
        cv2.imwrite(str(path), mask_of(0) * 0)
    elif kind in ("nifti", "nrrd"):
        sitk.WriteImage(sitk.ReadImage(str(path)) * 0, str(path))
    else:
        empty_object(path)

    import_regions([folder], cohort, regions="*=primary", replace=True)

    assert sorted(imported_boxes(cohort)) == ["im1"]


def empty_object(path: Path) -> None:
    """Take the regions out of a DICOM object; it goes on listing its image."""
    dataset = dcmread(path)
    if "PixelData" in dataset:
        dataset.PixelData = bytes(len(dataset.PixelData))
    elif "GraphicAnnotationSequence" in dataset:
        del dataset.GraphicAnnotationSequence
    elif "ROIContourSequence" in dataset:
        image = dataset.ROIContourSequence[0].ContourSequence[0].ContourImageSequence
        series = item(RTReferencedSeriesSequence=[item(ContourImageSequence=list(image))])
        dataset.ReferencedFrameOfReferenceSequence = [item(RTReferencedStudySequence=[series])]
        dataset.ROIContourSequence = []
    else:
        library, summary = dataset.ContentSequence
        library.ContentSequence = [image_item(uid_of(0))]
        summary.ContentSequence = []
    dataset.save_as(path)


def test_a_mask_with_another_ratio_of_sides_is_refused(cohort: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / f"{image_name(0)}.png"), np.pad(mask_of(0), ((0, 0), (0, 40))))
    with pytest.raises(InputError, match="another ratio of the sides"):
        import_regions([tmp_path / f"{image_name(0)}.png"], cohort)


def test_a_mask_with_rows_and_columns_exchanged_is_refused(cohort: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{image_name(0)}.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(mask_of(0, 1).T.copy()), str(path))
    with pytest.raises(InputError, match="rows and columns are exchanged"):
        import_regions([path], cohort)


def test_label_1_is_a_name_where_a_mask_has_others(cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    folder.mkdir()
    for index in IMAGES:
        cv2.imwrite(str(folder / f"{image_name(index)}.png"), mask_of(index, 2 if index == 5 else 1))
    import_regions([folder], cohort, regions="1=primary,2=axilla")
    regions = (cohort / "regions.csv").read_text()
    assert regions.count("primary") == len(SIZES) - 1
    assert "im5,axilla" in regions


def test_objects_of_other_images_are_counted(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "drawn"
    folder.mkdir()
    write_cad(cohort, folder, 0)
    drawn = shape(OUTLINE, "CIRCLE", [20, 20, 20, 30], image_item("1.2.3.4.5.6", "SELECTED FROM"))
    cad_report(folder / "other.dcm", finding(("M-03000", "Mass"), PRESENT, drawn))
    import_regions([folder], cohort, regions="mass=primary")
    words = capsys.readouterr().err
    assert "skipped: 1 x its image is not in images.csv" in words
    assert "2 x sr" in words


@pytest.mark.parametrize(("preserved", "sources", "matched"), [("YES", 1, True), ("NO", 1, False), ("YES", 2, False)])
def test_findings_on_the_raw_image_go_to_its_mammogram(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], preserved: str, sources: int, matched: bool
) -> None:
    path = cohort / "dicom" / "p0" / f"{image_name(0)}.dcm"
    image = dcmread(path)
    raw = item(
        ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.1.2.1",
        ReferencedSOPInstanceUID="1.2.826.77.1",
        SpatialLocationsPreserved=preserved,
    )
    image.SourceImageSequence = [raw] * sources
    image.save_as(path)
    data = [value for point in outline(0) for value in point]
    drawn = shape(OUTLINE, "POLYLINE", data, image_item("1.2.826.77.1", "SELECTED FROM"))
    cad_report(tmp_path / "cad.dcm", finding(("M-03000", "Mass"), PRESENT, drawn))
    if matched:
        import_regions([tmp_path / "cad.dcm"], cohort, regions="mass=primary")
        assert imported_boxes(cohort) == {"im0": [pytest.approx(planted_box(0), abs=HALF_A_PIXEL)]}
        assert "1 pictures are raw images (For Processing)" in capsys.readouterr().err
    else:
        with pytest.raises(InputError, match="no box to take"):
            import_regions([tmp_path / "cad.dcm"], cohort, regions="mass=primary")


def test_a_listed_raw_image_gives_its_boxes_to_its_mammogram(cohort: Path, tmp_path: Path) -> None:
    images = pd.read_csv(cohort / "images.csv")
    images["presentation_intent"] = "FOR PRESENTATION"
    images.loc[images["image_id"] == "im0", "presentation_intent"] = "FOR PROCESSING"
    images.to_csv(cohort / "images.csv", index=False)
    path = cohort / "dicom" / "p2" / f"{image_name(2)}.dcm"
    image = dcmread(path)
    image.SourceImageSequence = [
        item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.1.2.1", ReferencedSOPInstanceUID=uid_of(0))
    ]
    image.save_as(path)
    folder = tmp_path / "drawn"
    folder.mkdir()
    for index in (0, 1):
        write_cad(cohort, folder, index)
    import_regions([folder], cohort, regions="mass=primary")
    assert sorted(imported_boxes(cohort)) == ["im1", "im2"]
