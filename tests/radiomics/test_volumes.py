"""Volumes and masks: what is read, what is refused, in words that name both files and the values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.cases import Case, RegionSource, VolumeImage
from mammo_aln.radiomics.extraction.regions import Region, load_regions
from mammo_aln.radiomics.extraction.segmentation import frame_slices, read_segmentation
from mammo_aln.radiomics.extraction.volumes import read_volume
from mammo_aln.settings import RadiomicsConfig

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(0, 1000, (6, 9, 8)).astype(np.int16)
MASK = np.zeros(ARRAY.shape, dtype=np.uint8)
MASK[2:5, 3:7, 2:6] = 1
MASK[1, 1, 1] = 2
SPACING = (0.7, 0.7, 2.0)


def written(path: Path, array: np.ndarray, spacing=SPACING, origin=(10.0, -5.0, 3.0)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_formats_hold_the_same_volume(tmp_path: Path, ending: str) -> None:
    volume = read_volume(written(tmp_path / f"i.{ending}", ARRAY), written(tmp_path / f"m.{ending}", MASK), label=1)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_array_equal(volume.mask, MASK == 1)
    np.testing.assert_allclose(volume.spacing_mm, SPACING[::-1], rtol=1e-6)
    assert volume.notes == ()


def test_label_zero_takes_every_region(tmp_path: Path) -> None:
    volume = read_volume(written(tmp_path / "i.nrrd", ARRAY), written(tmp_path / "m.nrrd", MASK))
    assert volume.mask.sum() == (MASK > 0).sum()


def test_a_background_below_0_is_no_region(tmp_path: Path) -> None:
    image, mask = written(tmp_path / "i.nrrd", ARRAY), written(tmp_path / "m.nrrd", MASK.astype(np.int16) - 1)
    with pytest.raises(InputError, match=r"m\.nrrd: holds -1: expected 0 outside the region.*mask_label"):
        read_volume(image, mask)
    assert read_volume(image, mask, label=1).mask.sum() == (MASK == 2).sum()


def test_a_label_that_vanished_is_an_empty_region_after_nat_and_refused_before(tmp_path: Path) -> None:
    image, mask = written(tmp_path / "i.nrrd", ARRAY), written(tmp_path / "m.nrrd", (MASK == 1).astype(np.uint8))
    seg = seg_file(tmp_path / "seg.dcm", slices=[1, 2, 3, 4])

    def case(timepoint: str, path: Path) -> Case:
        source = VolumeImage(str(image), (), timepoint, "t2w")
        return Case("p", f"{timepoint}_t2w", (image, path), (RegionSource("node", str(path), 3),), source)

    for path, values in ((mask, "0, 1"), (seg, "1, 2")):
        (gone,) = load_regions(case("post", path), RadiomicsConfig())
        assert not gone.mask.any()
        assert "empty_mask" in gone.notes
        told = rf"region node is empty before NAT.*mask_label 3; the mask's values: {values}\)"
        with pytest.raises(InputError, match=told):
            list(load_regions(case("pre", path), RadiomicsConfig()))


def test_a_region_that_resampling_empties_is_refused_before_nat(tmp_path: Path) -> None:
    image, mask = written(tmp_path / "i.nrrd", ARRAY), written(tmp_path / "m.nrrd", MASK)

    def regions(timepoint: str) -> list[Region]:
        source = VolumeImage(str(image), (), timepoint, "t2w")
        case = Case("p", f"{timepoint}_t2w", (image, mask), (RegionSource("node", str(mask), 2),), source)
        return list(load_regions(case, RadiomicsConfig(spacing_mm=(3.1,))))

    with pytest.raises(InputError, match=r"region node \(1 voxels\) is lost by resampling"):
        regions("pre")
    assert "lost_by_resampling" in regions("post")[0].notes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"spacing": (0.7, 0.7, 2.5)}, r"spacing \(0\.7, 0\.7, 2\) against \(0\.7, 0\.7, 2\.5\) mm"),
        ({"origin": (10.0, -5.0, 4.0)}, r"origin \(10, -5, 3\) against \(10, -5, 4\) mm"),
        ({"array": MASK[:5]}, r"size \(8, 9, 6\) against \(8, 9, 5\)"),
    ],
)
def test_another_grid_is_refused_with_both_values(tmp_path: Path, change: dict, told: str) -> None:
    image = written(tmp_path / "i.nii.gz", ARRAY)
    mask = written(tmp_path / "m.nii.gz", **{"array": MASK, **change})
    with pytest.raises(InputError, match=told) as refused:
        read_volume(image, mask, label=1)
    assert str(image) in str(refused.value)
    assert str(mask) in str(refused.value)
    assert "mask_resampled" in read_volume(image, mask, label=1, resample_mask=True).notes


def test_rotated_mask_is_refused_and_can_be_resampled(tmp_path: Path) -> None:
    image = written(tmp_path / "i.nrrd", ARRAY, origin=(0.0, 0.0, 0.0))
    # the same voxels, stored from the other end of the third axis
    turned = sitk.GetImageFromArray(np.ascontiguousarray(MASK[::-1]))
    turned.SetSpacing(SPACING)
    turned.SetOrigin((0.0, 0.0, 10.0))
    turned.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    sitk.WriteImage(turned, str(tmp_path / "m.nrrd"))
    with pytest.raises(InputError, match="direction"):
        read_volume(image, tmp_path / "m.nrrd", label=1)
    volume = read_volume(image, tmp_path / "m.nrrd", label=1, resample_mask=True)
    np.testing.assert_array_equal(volume.mask, MASK == 1)


def test_a_lost_spacing_is_refused_until_stated(tmp_path: Path) -> None:
    image = written(tmp_path / "i.nii.gz", ARRAY, spacing=(1.0, 1.0, 1.0))
    mask = written(tmp_path / "m.nii.gz", MASK, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="exactly 1 x 1 x 1 mm"):
        read_volume(image, mask)
    volume = read_volume(image, mask, stated_spacing_mm=(0.6, 0.6, 2.0))
    assert volume.spacing_mm == (2.0, 0.6, 0.6)
    assert volume.notes == ("spacing_stated",)
    assert read_volume(image, mask, stated_spacing_mm=(1.0, 1.0, 1.0)).spacing_mm == (1.0, 1.0, 1.0)


def test_ispy2_masks_have_their_slices_first(shared: Path) -> None:
    """Their header says 1 mm throughout; in truth the file's first axis has the slices, 2 mm apart."""
    path = next((shared / "data/mri_masks/ispy2_masks").glob("*.nii.gz"))
    with pytest.raises(InputError, match="1 x 1 x 1 mm"):
        read_volume(path, path)
    sides = sitk.ReadImage(str(path)).GetSize()
    volume = read_volume(path, path, stated_spacing_mm=(2.0, 0.6055, 0.6055))
    assert volume.spacing_mm == (2.0, 0.6055, 0.6055)
    assert volume.array.shape[0] == sides[0]
    assert volume.mask.any()


def test_real_breast_volume(shared: Path) -> None:
    folder = shared / "data/mri_masks/pyradiomics"
    volume = read_volume(folder / "breast1_image.nrrd", folder / "breast1_label.nrrd")
    assert volume.mask.sum() == 143
    np.testing.assert_allclose(volume.spacing_mm, (2.1, 0.664, 0.664), atol=1e-3)


def series(folder: Path, places: list[float]) -> Path:
    folder.mkdir()
    uid, study = generate_uid(), generate_uid()
    for number, place in enumerate(places):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.Modality, data.SeriesInstanceUID, data.StudyInstanceUID = "MR", uid, study
        data.InstanceNumber = len(places) - number
        data.ImagePositionPatient, data.ImageOrientationPatient = [10, -5, place], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.7, 0.7], 1.5
        data.Rows, data.Columns = ARRAY.shape[1:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.PixelData = ARRAY[number].tobytes()
        data.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def test_dicom_series_lies_where_its_slices_say(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", [3.0 + 2.0 * number for number in range(6)])
    volume = read_volume(folder, written(tmp_path / "m.nrrd", MASK), label=1)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.spacing_mm, (2.0, 0.7, 0.7))


def test_a_missing_slice_is_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", [3.0, 5.0, 7.0, 11.0, 13.0, 15.0])
    with pytest.raises(InputError, match="2 mm apart but once 4 mm"):
        read_volume(folder, written(tmp_path / "m.nrrd", MASK))


def test_two_series_in_a_folder_are_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", [3.0, 5.0])
    for file in series(tmp_path / "other", [3.0, 5.0]).iterdir():
        file.rename(folder / f"other_{file.name}")
    with pytest.raises(InputError, match="holds 2 DICOM series"):
        read_volume(folder, written(tmp_path / "m.nrrd", MASK))


def seg_file(path: Path, *, slices: list[int], fractional: bool = False) -> Path:
    """A SEG of MASK's two segments, with frames for these slices only."""
    data = Dataset()
    meta = data.file_meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality = "SEG"
    data.SegmentationType = "FRACTIONAL" if fractional else "BINARY"
    data.Rows, data.Columns = MASK.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 8 if fractional else 1
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    if fractional:
        data.MaximumFractionalValue = 200
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.7], 2.0
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    data.SharedFunctionalGroupsSequence = [shared]
    frames, groups = [], []
    for segment in (1, 2):
        for place in slices:
            frame, position, identification = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [10, -5, 3.0 + 2.0 * place]
            identification.ReferencedSegmentNumber = segment
            frame.PlanePositionSequence, frame.SegmentIdentificationSequence = [position], [identification]
            groups.append(frame)
            frames.append(MASK[place] == segment)
    data.PerFrameFunctionalGroupsSequence, data.NumberOfFrames = groups, len(frames)
    stack = np.stack(frames)
    data.PixelData = (
        (stack * 150).astype(np.uint8).tobytes() if fractional else pydicom.pixels.pack_bits(stack.astype(np.uint8))
    )
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("fractional", [False, True])
def test_seg_frames_are_put_on_the_image(tmp_path: Path, fractional: bool) -> None:
    image = written(tmp_path / "i.nrrd", ARRAY)
    seg = seg_file(tmp_path / "seg.dcm", slices=[1, 2, 3, 4], fractional=fractional)
    for label in (1, 2):
        volume = read_volume(image, seg, label=label)
        np.testing.assert_array_equal(volume.mask, label == MASK)
    assert volume.notes == ("mask_placed",)


def test_a_folder_with_one_seg_is_that_seg(tmp_path: Path) -> None:
    image = written(tmp_path / "i.nrrd", ARRAY)
    (tmp_path / "seg").mkdir()
    seg_file(tmp_path / "seg" / "mask.dcm", slices=[1, 2, 3, 4])
    np.testing.assert_array_equal(read_volume(image, tmp_path / "seg", label=1).mask, MASK == 1)


def test_a_seg_without_places_is_refused_in_words(tmp_path: Path) -> None:
    path = seg_file(tmp_path / "seg.dcm", slices=[1, 2, 3, 4])
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence
    data.save_as(path)
    with pytest.raises(InputError, match=r"seg\.dcm: PerFrameFunctionalGroupsSequence is missing"):
        read_segmentation(path)


def spoil_frames(data: Dataset) -> None:
    data.NumberOfFrames = 500


def spoil_pixels(data: Dataset) -> None:
    del data.PixelData


def spoil_half(data: Dataset) -> None:
    data.PixelData = data.PixelData[:2]


def spoil_rows(data: Dataset) -> None:
    data.Rows = data.Columns = 65535
    data.NumberOfFrames = 8


def spoil_place(data: Dataset) -> None:
    data.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e15]


def spoil_group(data: Dataset) -> None:
    data.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence = []


def spoil_direction(data: Dataset) -> None:
    del data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient


@pytest.mark.parametrize(
    "spoil", [spoil_frames, spoil_pixels, spoil_half, spoil_rows, spoil_place, spoil_group, spoil_direction]
)
def test_a_seg_that_is_not_whole_is_refused_in_words(tmp_path: Path, spoil: Callable[[Dataset], None]) -> None:
    path = seg_file(tmp_path / "seg.dcm", slices=[1, 2, 3, 4])
    data = pydicom.dcmread(path)
    spoil(data)
    data.save_as(path)
    with pytest.raises(InputError, match=r"seg\.dcm"):
        read_volume(written(tmp_path / "i.nrrd", ARRAY), path, label=1)


def test_seg_off_the_grid_is_refused(tmp_path: Path) -> None:
    image = written(tmp_path / "i.nrrd", ARRAY, origin=(10.0, -5.0, 3.6))
    with pytest.raises(InputError, match="different grids"):
        read_volume(image, seg_file(tmp_path / "seg.dcm", slices=[1, 2, 3, 4]), label=1)


@pytest.mark.parametrize(
    ("along", "places"),
    [([0, 4, 8], [0, 2, 4]), ([0, 6, 10], [0, 3, 5]), ([0, 2.0004, 4.0005, 4.0011, 6], [0, 1, 2, 2, 3])],
)
def test_frames_lie_on_the_stated_distance(along: list[float], places: list[int]) -> None:
    found, step = frame_slices(np.array(along, dtype=float), {"SpacingBetweenSlices": 2.0}, Path("seg.dcm"))
    assert found.tolist() == places
    assert step == 2.0


def test_real_fractional_seg(shared: Path) -> None:
    mask, _ = read_segmentation(shared / "data/mri_masks/ispy1_1001_breast_SEG_undefined_length.dcm")
    frames = pydicom.dcmread(shared / "data/mri_masks/ispy1_1001_breast_SEG_undefined_length.dcm").pixel_array
    inside = sitk.GetArrayFromImage(mask)
    assert inside.sum() == (frames >= 128).sum()
    assert inside.shape[1:] == (256, 256)


def test_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "i.nii.gz").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"i\.nii\.gz: no header of a NIfTI file"):
        read_volume(tmp_path / "i.nii.gz", tmp_path / "i.nii.gz")
