"""RT structure sets as masks of volumes: planted areas, masks that come back, and what is refused in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.volumes import read_volume
from tests.support.contour_files import AXIAL, FRAME, SAGITTAL, Stack, contour, outlines, series, structure_set

SHAPE = (7, 60, 70)
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, -0.6)
STACKS = {"axial": Stack(), "sagittal": Stack(cosines=SAGITTAL), "oblique": Stack(cosines=OBLIQUE)}
CT = np.random.default_rng(1).integers(-900, 500, SHAPE)


def circle(row: float, column: float, radius_mm: float, stack: Stack, count: int = 720) -> np.ndarray:
    """Points (row, column) of a circle in millimetres."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack(
        [row + radius_mm * np.sin(angle) / stack.rows_mm, column + radius_mm * np.cos(angle) / stack.columns_mm], axis=1
    )


def square(top: float, left: float, bottom: float, right: float) -> list[tuple[float, float]]:
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


def drawn(folder: Path, stack: Stack, shapes: dict[int, list], kind: str = "CLOSED_PLANAR") -> np.ndarray:
    """The mask of outlines (row, column) by slice on a series of this stack."""
    contours = [
        contour(stack.points(number, shape), stack.uids[number], kind)
        for number, outlines_ in shapes.items()
        for shape in outlines_
    ]
    image = series(folder / "image", CT, stack)
    volume = read_volume(image, structure_set(folder / "rt.dcm", {"GTV": contours}))
    assert volume.array.shape == SHAPE
    return volume.mask


def area_mm2(mask: np.ndarray, stack: Stack) -> float:
    return float(mask.sum()) * stack.rows_mm * stack.columns_mm


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_circle_has_its_area_on_its_slice_alone(tmp_path: Path, stack: Stack) -> None:
    mask = drawn(tmp_path, stack, {2: [circle(28.3, 33.7, 15.0, stack)]})
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [2]
    assert area_mm2(mask, stack) == pytest.approx(np.pi * 15.0**2, rel=0.005)
    rows, columns = np.nonzero(mask[2])
    assert (rows.mean(), columns.mean()) == pytest.approx((28.3, 33.7), abs=0.1)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    inside = ((y - 28.3) * stack.rows_mm) ** 2 + ((x - 33.7) * stack.columns_mm) ** 2 < 15.0**2
    assert (mask[2] != inside).sum() <= 2


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_hole_is_no_region_and_an_island_within_it_is(tmp_path: Path, kind: str) -> None:
    outer, hole, island = square(4.5, 5.5, 44.5, 55.5), square(9.5, 10.5, 29.5, 40.5), square(14.5, 15.5, 19.5, 25.5)
    mask = drawn(tmp_path, Stack(), {3: [hole, outer, island]}, kind)
    assert mask.sum() == 40 * 50 - 20 * 30 + 5 * 10
    assert [mask[3, 5, 6], mask[3, 10, 11], mask[3, 15, 16]] == [True, False, True]


def test_the_two_edges_of_a_keyhole_cancel(tmp_path: Path) -> None:
    outer, hole = square(4.3, 5.4, 44.3, 55.4), square(9.2, 10.6, 29.2, 40.6)
    keyhole = [outer[0], *outer[1:], outer[0], hole[0], hole[3], hole[2], hole[1], hole[0]]
    assert drawn(tmp_path, Stack(), {3: [keyhole]}).sum() == 40 * 50 - 20 * 30


def test_two_islands_and_several_slices(tmp_path: Path) -> None:
    islands = [square(3.5, 3.5, 13.5, 23.5), square(20.5, 30.5, 50.5, 40.5)]
    mask = drawn(tmp_path, Stack(), {1: islands, 2: islands[:1]})
    assert mask.sum(axis=(1, 2)).tolist() == [0, 200 + 300, 200, 0, 0, 0, 0]


def test_centres_on_an_edge_belong_to_one_of_two_neighbours(tmp_path: Path) -> None:
    left, right = square(10, 10, 20, 20), square(10, 20, 20, 35)
    mask = drawn(tmp_path, Stack(), {1: [left, right]})
    assert mask.sum() == 100 + 150
    again = read_volume(tmp_path / "image", tmp_path / "rt.dcm")
    assert again.notes == ("contour_on_voxel_centres",)


@pytest.mark.parametrize("name", ["breast1", "brain1", "brain2"])
def test_the_mask_of_a_real_volume_comes_back(shared: Path, tmp_path: Path, name: str) -> None:
    """Contours half a voxel around the mask's centres, on its image as a series and as NRRD."""
    folder = shared / "data/mri_masks/pyradiomics"
    image = sitk.ReadImage(str(folder / f"{name}_image.nrrd"))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}_label.nrrd"))) > 0
    direction = np.array(image.GetDirection()).reshape(3, 3)
    columns_mm, rows_mm, slices_mm = image.GetSpacing()
    cosines = tuple(float(x) for x in (*direction[:, 0], *direction[:, 1]))
    stack = Stack(rows_mm, columns_mm, slices_mm, cosines, image.GetOrigin())
    array, order = sitk.GetArrayFromImage(image), 1
    if np.linalg.det(direction) < 0:  # a series lies along its normal
        order = -1
        stack = replace(stack, origin=image.TransformIndexToPhysicalPoint((0, 0, len(mask) - 1)))
    rt = structure_set(tmp_path / "rt.dcm", {"lesion": outlines(mask[::order], stack)})
    of_series = read_volume(series(tmp_path / "image", array[::order], stack), rt)
    of_file = read_volume(folder / f"{name}_image.nrrd", rt)
    for volume, expected in ((of_series, mask[::order]), (of_file, mask)):
        assert abs(int(volume.mask.sum()) - int(mask.sum())) <= 0.005 * mask.sum()
        assert not (volume.mask & ~binary_dilation(expected)).any()
        assert not (binary_erosion(expected) & ~volume.mask).any()
    assert "contours_by_position" not in of_series.notes
    assert "contours_by_position" in of_file.notes


def test_scattered_remnants_with_gaps_come_back(shared: Path, tmp_path: Path) -> None:
    path = next((shared / "data/mri_masks/ispy2_masks").glob("*.nii.gz"))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0) > 0
    inside = np.argwhere(mask)
    low, high = np.maximum(inside.min(axis=0) - 3, 0), inside.max(axis=0) + 4
    low[0] = np.argmax(mask.sum(axis=(1, 2))) - 4
    high[0] = low[0] + 5
    mask = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    stack = Stack(0.6055, 0.6055, 2.0)
    rt = structure_set(tmp_path / "rt.dcm", {"FTV": outlines(mask, stack)})
    volume = read_volume(series(tmp_path / "image", np.zeros(mask.shape), stack), rt)
    np.testing.assert_array_equal(volume.mask, mask)


def test_a_second_reader_fills_the_same_voxels(tmp_path: Path) -> None:
    """mirp's ray casting, of ragged contours with holes."""
    poly2grid = pytest.importorskip("mirp._data_import.mask_contour", reason="no second library").poly2grid
    stack = Stack()
    noise = gaussian_filter(np.random.default_rng(5).normal(size=SHAPE), (0, 5, 5))
    lines = outlines(noise > 0.1 * noise.std(), stack)
    volume = read_volume(series(tmp_path / "image", CT, stack), structure_set(tmp_path / "rt.dcm", {"x": lines}))
    for number in range(SHAPE[0]):
        vertices, edges, count = [], [], 0
        for line in (
            one for one in lines if one.ContourImageSequence[0].ReferencedSOPInstanceUID == stack.uids[number]
        ):
            points = np.reshape([float(value) for value in line.ContourData], (-1, 3)) - stack.position(number)
            vertices.append(np.stack([points[:, 1] / stack.rows_mm, points[:, 0] / stack.columns_mm], axis=1))
            edges += [(count + k, count + (k - 1) % len(points)) for k in range(len(points))]
            count += len(points)
        theirs = poly2grid(np.round(np.concatenate(vertices), 5), np.array(edges), np.ones(2), np.zeros(2), SHAPE[1:])
        np.testing.assert_array_equal(volume.mask[number], theirs)


@pytest.mark.slow
def test_a_second_program_reads_the_same_region_from_series_and_set(tmp_path: Path) -> None:
    """mirp, from file to mask; of pixels that are not square it takes height for width, so here they are."""
    mirp = pytest.importorskip("mirp", reason="the second library is not installed")
    stack, noise = Stack(rows_mm=0.7, columns_mm=0.7), np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    lines = []
    for number in range(1, 6):
        radius = (14 - 2 * abs(number - 3)) * (1 + 0.15 * np.sin(5 * angle) + 0.05 * noise.normal(size=120))
        ragged = np.stack([30 + radius * np.sin(angle), 33 + 1.2 * radius * np.cos(angle)], axis=1)
        for shape in (ragged, circle(30.3, 33.1, 2.2, stack, 60)):
            lines.append(contour(stack.points(number, shape), stack.uids[number]))
    tags = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0, "PatientID": "p1"}
    image = series(tmp_path / "ct", CT, stack, **tags)
    path = structure_set(tmp_path / "rt.dcm", {"lung": lines[:1], "GTV-1": lines})
    data = pydicom.dcmread(path)
    frame = Dataset()
    frame.FrameOfReferenceUID = FRAME
    data.PatientID, data.SeriesInstanceUID, data.StudyInstanceUID = "p1", "1.2.77", "1.2.3"
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.save_as(path)
    how = {"image_modality": "ct", "mask_modality": "rtstruct", "roi_name": "GTV-1"}
    ((images, masks),) = mirp.extract_images(
        image=str(image), mask=str(path), image_export_format="numpy", write_images=False, **how
    )
    volume = read_volume(image, path, roi="GTV-1")
    np.testing.assert_array_equal(np.asarray(images[0]), volume.array)
    np.testing.assert_array_equal(np.asarray(masks[0]).astype(bool), volume.mask)


SQUARE = square(9.5, 9.5, 29.5, 29.5)


def turned(stack: Stack) -> list[Dataset]:
    data = stack.points(2, SQUARE[:2]) + stack.points(4, SQUARE[2:])
    return [contour(data, stack.uids[2])]


def between(stack: Stack) -> list[Dataset]:
    data = stack.points(2, SQUARE)
    data[2::3] = [z + 1.0 for z in data[2::3]]
    return [contour(data, stack.uids[2])]


REFUSED = {
    "oblique": (turned, r"contour 1: its points lie across slices 3\.00 to 5\.00 of 7 \(2\.5 mm apart\)"),
    "between slices": (between, r"contour 1: it lies on slice 3\.40 to 3\.40 of 7"),
    "a point": (lambda s: [contour(s.points(2, SQUARE[:1]), s.uids[2], "POINT")], "contour 1: is of type 'POINT'"),
    "open": (lambda s: [contour(s.points(2, SQUARE), s.uids[2], "OPEN_PLANAR")], "is of type 'OPEN_PLANAR'"),
    "two points": (lambda s: [contour(s.points(2, SQUARE[:2]), s.uids[2])], "6 numbers for 2 points"),
    "a missing number": (lambda s: [contour(s.points(2, SQUARE)[:-1], s.uids[2])], "11 numbers for 3 points"),
    "no such slice": (
        lambda s: [contour(s.points(2, SQUARE), "1.2.3.4")],
        r"contour 1: names image '1\.2\.3\.4', which is not in the series of 7 slices",
    ),
    "another slice": (
        lambda s: [contour(s.points(2, SQUARE), s.uids[3])],
        "contour 1: lies on slice 3 and names the image of slice 4",
    ),
    "above the stack": (lambda s: [contour(s.points(8, SQUARE))], "reaches 5 mm beyond the image along its third axis"),
    "beside the image": (
        lambda s: [contour(s.points(2, square(9.5, 9.5, 29.5, 79.5)), s.uids[2])],
        "reaches 6 mm beyond the image along its first axis",
    ),
    "half over another": (
        lambda s: [contour(s.points(2, shape), s.uids[2]) for shape in (SQUARE, square(19.5, 19.5, 39.5, 39.5))],
        "contour 2: overlaps contour 1 in 100 voxels",
    ),
    "twice": (
        lambda s: [contour(s.points(2, SQUARE), s.uids[2])] * 2,
        "contour 2: stands twice: it is contour 1 again",
    ),
    "moved": (
        lambda s: [contour(s.points(2, SQUARE), s.uids[2], ContourOffsetVector=[0, 0, 1])],
        "ContourOffsetVector",
    ),
}


@pytest.mark.parametrize(("draw", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused_with_file_roi_and_figure(tmp_path: Path, draw, message: str) -> None:
    stack = Stack()
    rt = structure_set(tmp_path / "rt.dcm", {"GTV": draw(stack)})
    with pytest.raises(InputError, match=rf"rt\.dcm: ROI 'GTV' \(3\).*{message}"):
        read_volume(series(tmp_path / "image", CT, stack), rt)


def test_xor_contours_may_cross_each_other(tmp_path: Path) -> None:
    mask = drawn(tmp_path, Stack(), {2: [SQUARE, square(19.5, 19.5, 39.5, 39.5)]}, "CLOSEDPLANAR_XOR")
    assert mask.sum() == 2 * 400 - 2 * 100


def test_another_frame_of_reference_is_refused_and_none_is_noted(tmp_path: Path) -> None:
    stack = Stack()
    image = series(tmp_path / "image", CT, stack)
    unnamed = [contour(stack.points(2, SQUARE))]
    with pytest.raises(InputError, match=rf"rt\.dcm: ROI 'a' \(3\): lies in frame of reference 1\.2\.3, .* in {FRAME}"):
        read_volume(image, structure_set(tmp_path / "rt.dcm", {"a": unnamed}, frame="1.2.3"))
    assert read_volume(image, structure_set(tmp_path / "rt.dcm", {"a": unnamed})).notes == ()
    nowhere = structure_set(tmp_path / "rt.dcm", {"a": unnamed}, frame="")
    assert read_volume(image, nowhere).notes == ("contours_by_position",)
    named = structure_set(tmp_path / "rt.dcm", {"a": [contour(stack.points(2, SQUARE), stack.uids[2])]}, frame="")
    assert read_volume(image, named).notes == ()


def test_odd_contours_are_noted(tmp_path: Path) -> None:
    stack = Stack()
    speck = square(40.2, 40.2, 40.4, 40.4)
    inner = square(14.3, 14.3, 19.3, 19.3)
    loop = [*SQUARE, SQUARE[0], *inner, inner[0]]
    shapes = {1: [SQUARE, speck], 4: [loop]}
    mask = drawn(tmp_path, stack, shapes)
    assert mask.sum(axis=(1, 2))[[1, 4]].tolist() == [400, 400 - 25]
    notes = read_volume(tmp_path / "image", tmp_path / "rt.dcm").notes
    assert set(notes) == {"contour_without_voxel", "contour_crosses_itself", "slices_without_contour"}


def test_one_of_several_rois_must_be_named(tmp_path: Path) -> None:
    stack = Stack()
    image = series(tmp_path / "image", CT, stack)
    rois = {
        name: [contour(stack.points(number, SQUARE), stack.uids[number])]
        for name, number in (("GTV", 1), ("node 1", 5))
    }
    rt = structure_set(tmp_path / "rt.dcm", {**rois, "gone": []})
    listed = r"expected mask_roi in volumes\.csv to name one .*: 'GTV' \(3\), 'node 1' \(4\), 'gone' \(5\)"
    with pytest.raises(InputError, match=rf"rt\.dcm: no ROI is named, which fits 3 of its 3 ROIs; {listed}"):
        read_volume(image, rt)
    with pytest.raises(InputError, match=rf"mask_roi = 'gtv', which fits 0 of its 3 ROIs; {listed}"):
        read_volume(image, rt, roi="gtv")
    with pytest.raises(InputError, match=r"mask_roi = 'GTV' and mask_label = 4, which fits 0 of its 3"):
        read_volume(image, rt, roi="GTV", label=4)
    for how in ({"roi": "node 1"}, {"label": 4}, {"roi": "node 1", "label": 4}):
        assert np.flatnonzero(read_volume(image, rt, **how).mask.any(axis=(1, 2))).tolist() == [5]
    assert not read_volume(image, rt, roi="gone").mask.any()
    sitk.WriteImage(sitk.GetImageFromArray(np.ones(SHAPE, np.uint8)), str(tmp_path / "m.nrrd"))
    with pytest.raises(InputError, match=r"m\.nrrd: mask_roi = 'GTV' in volumes\.csv; expected an RT structure set"):
        read_volume(image, tmp_path / "m.nrrd", roi="GTV")


def test_a_stated_spacing_moves_no_contour(tmp_path: Path) -> None:
    stack = Stack()
    image = series(tmp_path / "image", CT, stack)
    rt = structure_set(tmp_path / "rt.dcm", {"GTV": [contour(stack.points(2, SQUARE), stack.uids[2])]})
    assert read_volume(image, rt, stated_spacing_mm=(0.6, 0.8, 2.5)).mask.sum() == 400
    with pytest.raises(InputError, match=r"header says \(0\.6, 0\.8, 2\.5\) mm, volumes\.csv \(0\.6, 0\.8, 3\): where"):
        read_volume(image, rt, stated_spacing_mm=(0.6, 0.8, 3.0))


@pytest.mark.parametrize(
    ("cosines", "message"),
    [
        (AXIAL, r"slices lie up to 6 mm beside each other"),
        (None, r"1 of 7 slices have another ImageOrientationPatient"),
    ],
)
def test_a_tilted_stack_is_refused(tmp_path: Path, cosines: tuple | None, message: str) -> None:
    stack = Stack()
    folder = series(tmp_path / "image", CT, stack)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        number = stack.uids.index(data.SOPInstanceUID)
        if cosines is None and number == 3:
            data.ImageOrientationPatient = [0.999, 0.0447, 0, -0.0447, 0.999, 0]
        elif cosines:
            data.ImagePositionPatient[1] += 1.0 * number
        data.save_as(file)
    with pytest.raises(InputError, match=rf"image: {message}"):
        read_volume(folder, folder)


def cohort(folder: Path, **row: object) -> Path:
    folder.mkdir(exist_ok=True)
    pd.DataFrame([{"patient_id": "p1", "aln_status": 1, "center": "a"}]).to_csv(folder / "patients.csv", index=False)
    pd.DataFrame([{"patient_id": "p1", "timepoint": "pre", "sequence": "ct", **row}]).to_csv(
        folder / "volumes.csv", index=False
    )
    return folder


def lump(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """A ragged lump of tissue in lung, Hounsfield units, and its mask, which has a hole."""
    rng = np.random.default_rng(3)
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    far = (
        ((z - 3) * stack.slices_mm / 6) ** 2
        + ((y - 30) * stack.rows_mm / 13) ** 2
        + ((x - 33) * stack.columns_mm / 11) ** 2
    )
    inside = far + 0.3 * gaussian_filter(rng.normal(size=SHAPE), 1.5) < 1
    tissue = np.where(inside, 30 + 60 * gaussian_filter(rng.normal(size=SHAPE), 1), -750)
    mask = inside & ~((np.abs(y - 30) < 3) & (np.abs(x - 33) < 4))
    return np.rint(tissue + 20 * rng.normal(size=SHAPE)), mask


@pytest.mark.parametrize("letter", "abcde")
def test_ibsi_configurations_read_a_structure_set(tmp_path: Path, letter: str) -> None:
    """By the command: features of contours are those of the mask that they were drawn around."""
    stack = Stack()
    array, mask = lump(stack)
    series(tmp_path / "cohort/ct", array, stack)
    lung = [contour(stack.points(1, square(1.5, 1.5, 50.5, 50.5)), stack.uids[1])]
    structure_set(tmp_path / "cohort/rt.dcm", {"lung": lung, "GTV-1": outlines(mask, stack)})
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((stack.columns_mm, stack.rows_mm, stack.slices_mm))
    image.SetOrigin(stack.origin)
    sitk.WriteImage(image, str(tmp_path / "cohort/mask.nrrd"))
    tables = []
    for row in ({"mask_path": "rt.dcm", "mask_roi": "GTV-1"}, {"mask_path": "mask.nrrd"}):
        root = cohort(tmp_path / "cohort", image_path="ct", **row)
        out = tmp_path / f"{row['mask_path']}.csv"
        config = f"--config=configs/radiomics/ibsi_{letter}.yaml"
        assert main(["radiomics", "extract", str(root), f"--out={out}", config, "--workers=1"]) == 0
        tables.append(pd.read_csv(out))
    assert tables[0].shape[1] > 100
    pd.testing.assert_frame_equal(*tables)


def test_a_structure_set_on_nifti_and_in_a_folder_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = replace(STACKS["sagittal"])
    array, mask = lump(stack)
    root = cohort(tmp_path / "cohort", image_path="image.nii.gz", mask_path="rt", mask_roi="GTV-1")
    (root / "rt").mkdir()
    structure_set(root / "rt/rt.dcm", {"GTV-1": outlines(mask, stack)})
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing((stack.columns_mm, stack.rows_mm, stack.slices_mm))
    image.SetOrigin(stack.origin)
    normal = np.cross(stack.cosines[:3], stack.cosines[3:])
    image.SetDirection(np.stack([stack.cosines[:3], stack.cosines[3:], normal], axis=1).ravel().tolist())
    sitk.WriteImage(image, str(root / "image.nii.gz"))
    command = [
        "radiomics",
        "extract",
        str(root),
        f"--out={tmp_path / 'f.csv'}",
        "--workers=1",
        "--radiomics.filters=[original]",
    ]
    assert main(command) == 0
    assert "contours_by_position: 1 regions" in capsys.readouterr().err
    provenance = pd.read_csv(tmp_path / "f.provenance.csv")
    assert provenance["voxels"].tolist() == [mask.sum()]
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(root / "image.nii.gz"))
    assert main(command) == 2
    assert "patient p1, pre_ct: " in (message := capsys.readouterr().err)
    assert "ROI 'GTV-1' (3), contour 1: " in message
