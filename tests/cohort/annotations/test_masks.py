"""Mask pictures and one-slice volumes: boxes of planted rectangles, and every kind of file that is no mask."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import cv2
import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from mammo_aln.cohort.annotations.masks import read_mask
from mammo_aln.cohort.annotations.record import Annotation, Skipped
from mammo_aln.errors import InputError

ROWS, COLUMNS = 50, 40


def planted(*boxes: tuple[int, int, int, int, int], dtype: type = np.uint8) -> np.ndarray:
    """A picture of rectangles (x_min, y_min, x_max, y_max, value) on 0."""
    mask = np.zeros((ROWS, COLUMNS), dtype)
    for x_min, y_min, x_max, y_max, value in boxes:
        mask[y_min:y_max, x_min:x_max] = value
    return mask


def boxes(path: Path) -> list[tuple[str, float, float, float, float]]:
    reading = read_mask(path)
    assert all((item.rows, item.columns) == (ROWS, COLUMNS) for item in reading if isinstance(item, Annotation))
    return [
        (item.region, item.x_min, item.y_min, item.x_max, item.y_max)
        for item in reading
        if isinstance(item, Annotation)
    ]


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_a_picture_of_one_label_gives_its_box(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mask.{ending}"
    assert cv2.imwrite(str(path), planted((5, 8, 20, 30, 255)))
    assert boxes(path) == [("", 5, 8, 20, 30)]


def test_a_picture_names_its_image_by_folder_and_stem(tmp_path: Path) -> None:
    for name in ("p1.nii.gz", "p1.seg.nrrd", "p1_mask.png", "p1-labels.nrrd"):
        path = tmp_path / "P_00001_LEFT_CC" / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".png":
            cv2.imwrite(str(path), planted((5, 8, 20, 30, 255)))
        else:
            sitk.WriteImage(sitk.GetImageFromArray(planted((5, 8, 20, 30, 1))), str(path))
        assert {item.image for item in read_mask(path) if isinstance(item, Annotation)} == {"P_00001_LEFT_CC/p1"}


def test_each_label_and_each_piece_has_its_box(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), planted((2, 2, 6, 6, 1), (20, 20, 30, 40, 1), (10, 2, 13, 9, 2)))
    assert boxes(path) == [("1", 20, 20, 30, 40), ("1", 2, 2, 6, 6), ("2", 10, 2, 13, 9)]


def test_pieces_that_touch_at_a_corner_are_one(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), planted((2, 2, 6, 6, 255), (6, 6, 10, 10, 255)))
    assert boxes(path) == [("", 2, 2, 10, 10)]


def test_a_speck_is_counted_and_gives_no_box(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), planted((2, 2, 30, 30, 255), (35, 40, 37, 42, 255)))
    assert boxes(path) == [("", 2, 2, 30, 30)]
    assert [item.reason for item in read_mask(path) if isinstance(item, Skipped)] == [
        "a speck below 1% of its label's largest piece"
    ]


@pytest.mark.parametrize("mode", ["1", "I;16", "LA", "RGBA", "P"])
def test_every_mode_of_a_picture_says_the_same(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    grey = planted((5, 8, 20, 30, 255))
    if mode == "I;16":
        Image.fromarray(planted((5, 8, 20, 30, 65535), dtype=np.uint16)).save(path)
    elif mode == "P":
        picture = Image.fromarray((grey > 0).astype(np.uint8), mode="P")
        picture.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
        picture.save(path)
    else:
        Image.fromarray(grey).convert(mode).save(path)
    assert boxes(path) == [("1" if mode == "P" else "", 5, 8, 20, 30)]


def test_colours_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    colours = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    colours[8:30, 5:20] = 255, 0, 0
    colours[40:45, 5:20] = 0, 128, 1
    Image.fromarray(colours).save(path)
    assert boxes(path) == [("#008001", 5, 40, 20, 45), ("#ff0000", 5, 8, 20, 30)]


def test_an_empty_mask_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), planted())
    assert [item.reason for item in read_mask(path) if isinstance(item, Skipped)] == ["an empty mask"]


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd"])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_volume_of_one_slice_has_columns_first(tmp_path: Path, ending: str, axes: int) -> None:
    path = tmp_path / f"mask.{ending}"
    mask = planted((5, 8, 20, 30, 1))
    sitk.WriteImage(sitk.GetImageFromArray(mask if axes == 2 else mask[None]), str(path))
    assert boxes(path) == [("1", 5, 8, 20, 30)]


def nifti_bytes(mask: np.ndarray, affine: tuple[float, float], code: int = 1) -> bytes:
    """A NIfTI-1 file by the text of nifti1.h, first axis fastest; `affine` is the diagonal of the sform's x and y."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, mask.shape[1], mask.shape[0], 1, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<hh", header, 252, 0, code)
    for row, values in enumerate([(affine[0], 0, 0, 0), (0, affine[1], 0, 0), (0, 0, 1, 0)]):
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    return bytes(header) + mask.astype(np.uint8).tobytes()


def test_nifti_by_hand_in_itk_order_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii"
    path.write_bytes(nifti_bytes(planted((5, 8, 20, 30, 1)), (-1, -1)))
    assert boxes(path) == [("1", 5, 8, 20, 30)]


@pytest.mark.parametrize("affine", [(1, 1), (1, -1), (-1, 1)])
def test_nifti_whose_axes_run_backwards_is_refused(tmp_path: Path, affine: tuple[int, int]) -> None:
    path = tmp_path / "mask.nii"
    path.write_bytes(nifti_bytes(planted((5, 8, 20, 30, 1)), affine))
    with pytest.raises(InputError, match=r"direction cosines .*expected the identity"):
        read_mask(path)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kept", [0.5, 0.99, 300])
def test_a_cut_nifti_is_refused(tmp_path: Path, compress: bool, kept: float) -> None:
    whole = nifti_bytes(planted((5, 8, 20, 30, 1)), (-1, -1))
    whole = gzip.compress(whole) if compress else whole
    path = tmp_path / ("mask.nii.gz" if compress else "mask.nii")
    path.write_bytes(whole[: int(kept) if kept > 1 else int(kept * len(whole))][: len(whole) - 1])
    with pytest.raises(InputError, match="cut off"):
        read_mask(path)


def test_nibabel_without_an_affine_is_read_and_with_its_usual_one_refused(tmp_path: Path) -> None:
    columns_first = planted((5, 8, 20, 30, 1)).T
    for name, affine in (("none.nii.gz", None), ("itk.nii.gz", np.diag([-1.0, -1, 1, 1]))):
        nibabel.save(nibabel.Nifti1Image(columns_first, affine), tmp_path / name)
        assert boxes(tmp_path / name) == [("1", 5, 8, 20, 30)]
    nibabel.save(nibabel.Nifti1Image(columns_first, np.eye(4)), tmp_path / "eye.nii")
    with pytest.raises(InputError, match="run backwards"):
        read_mask(tmp_path / "eye.nii")


def test_pynrrd_is_read_columns_first(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "mask.nrrd"), planted((5, 8, 20, 30, 1)).T)
    assert boxes(tmp_path / "mask.nrrd") == [("1", 5, 8, 20, 30)]


def test_segments_of_a_slicer_file_have_their_names(tmp_path: Path) -> None:
    path = tmp_path / "drawn.seg.nrrd"
    layers = np.zeros((2, ROWS, COLUMNS), np.uint8)
    layers[0, 8:30, 5:20] = 1
    layers[0, 40:45, 5:20] = 2
    layers[1, 10:20, 10:35] = 1  # overlaps the first segment
    fields = [("Tumour", 0, 1), ("Node", 0, 2), ("Halo", 1, 1)]
    lines = ["NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior"]
    lines += [f"sizes: 2 {COLUMNS} {ROWS} 1", "space directions: none (1,0,0) (0,1,0) (0,0,1)"]
    lines += ["kinds: list domain domain domain", "encoding: raw", "space origin: (0,0,0)"]
    for number, (name, layer, value) in enumerate(fields):
        lines += [f"Segment{number}_ID:=S{number}", f"Segment{number}_Name:={name}"]
        lines += [f"Segment{number}_Layer:={layer}", f"Segment{number}_LabelValue:={value}"]
    pixels = np.moveaxis(layers, 0, -1)[None].tobytes()
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + pixels)
    assert boxes(path) == [("Tumour", 5, 8, 20, 30), ("Node", 5, 40, 20, 45), ("Halo", 10, 10, 35, 20)]


def _write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


REFUSED = {
    "photograph": ("m.png", np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.uint8), "values beside 0"),
    "inverted": ("m.png", 255 - planted((5, 8, 20, 30, 255)), "four corners"),
    "scattered": ("m.png", np.tile(np.array([[0, 0], [0, 255]], np.uint8), (25, 20)), "pieces"),
    "jpeg": ("m.jpg", planted((5, 8, 20, 30, 255)), "JPEG"),
    "fractions": ("m.tif", planted((5, 8, 20, 30, 1)).astype(np.float32) * np.float32(0.5), "whole numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_mask_is_refused(tmp_path: Path, case: str) -> None:
    name, pixels, words = REFUSED[case]
    _write(tmp_path / name, pixels)
    with pytest.raises(InputError, match=words):
        read_mask(tmp_path / name)


def test_pages_slices_and_transparency_are_refused(tmp_path: Path) -> None:
    mask = Image.fromarray(planted((5, 8, 20, 30, 255)))
    mask.save(tmp_path / "pages.tif", save_all=True, append_images=[mask])
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8)), str(tmp_path / "slices.nrrd"))
    clear = mask.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    mask.convert("CMYK").save(tmp_path / "print.tif")
    mask.save(tmp_path / "lossy.tif", compression="jpeg")
    for name, words in (
        ("pages.tif", "2 pages"),
        ("slices.nrrd", "one slice"),
        ("clear.png", "transparent"),
        ("print.tif", "CMYK"),
        ("lossy.tif", "stored as jpeg"),
    ):
        with pytest.raises(InputError, match=words):
            read_mask(tmp_path / name)


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.bmp", "m.nrrd"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_cut_file_is_refused_in_one_line(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    noise = planted((5, 8, 20, 30, 1)) * np.random.default_rng(0).integers(1, 3, (ROWS, COLUMNS), np.uint8)
    if path.suffix == ".nrrd":
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))
    else:
        _write(path, noise)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InputError) as refusal:
        read_mask(path)
    assert re.fullmatch(f"{re.escape(str(path))}.*", str(refusal.value))
