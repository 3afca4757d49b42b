"""Volumes that a transfer cut off, whose headers make no sense, whose voxels are no numbers: refused on every road."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.volumes import read_volume

SHAPE = (6, 20, 16)
VOXELS = np.random.default_rng(4).normal(100, 20, SHAPE).astype(np.float32)
MASK = np.zeros(SHAPE, np.uint8)
MASK[2:5, 5:15, 4:12] = 1
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda whole: whole[: len(whole) // 2],
    "a tenth": lambda whole: whole[: len(whole) // 10],
    "the header": lambda whole: whole[: min(352, len(whole) // 3)],
    "all but a byte": lambda whole: whole[:-1],
    "all but the end": lambda whole: whole[:-8],
    "nothing": lambda _: b"",
}
FIELDS = {
    "vox_offset 1e9": (108, "<f", 1e9),
    "vox_offset nan": (108, "<f", np.nan),
    "dim 32767": (42, "<6h", 32767, 32767, 32767, 32767, 32767, 32767),
    "dim -5": (42, "<h", -5),
    "pixdim nan": (80, "<f", np.nan),
    "pixdim 0": (80, "<f", 0.0),
    "slope inf": (112, "<f", np.inf),
    "datatype": (70, "<2h", 16, 8),
    "axes 9": (40, "<h", 9),
}


def written(path: Path, array: np.ndarray, *, packed: bool = False) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 2.0))
    sitk.WriteImage(image, str(path), useCompression=packed)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    return written(tmp_path / "mask.nii", MASK)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_a_whole_file_is_read_as_it_was_written(ending: str, tmp_path: Path, mask: Path) -> None:
    for packed in (False, ending != "nii"):
        volume = read_volume(written(tmp_path / f"v.{ending}", VOXELS, packed=packed), mask)
        assert np.array_equal(volume.array, VOXELS)
        assert np.array_equal(volume.mask, MASK > 0)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "packed.nrrd", "mha", "packed.mha"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_whole_is_refused(ending: str, damage: str, tmp_path: Path, mask: Path) -> None:
    image = written(tmp_path / f"v.{ending}", VOXELS, packed="packed" in ending)
    image.write_bytes(DAMAGE[damage](image.read_bytes()))
    with pytest.raises(InputError, match=rf"v\.{ending}"):
        read_volume(image, mask)
    cut = written(tmp_path / f"m.{ending}", MASK, packed="packed" in ending)
    cut.write_bytes(DAMAGE[damage](cut.read_bytes()))
    with pytest.raises(InputError, match=rf"m\.{ending}"):
        read_volume(written(tmp_path / "v.nii", VOXELS), cut)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("field", FIELDS)
def test_a_header_of_no_sense_is_refused(field: str, packed: bool, tmp_path: Path, mask: Path) -> None:
    offset, kinds, *values = FIELDS[field]
    content = bytearray(written(tmp_path / "v.nii", VOXELS).read_bytes())
    struct.pack_into(str(kinds), content, int(offset), *values)
    image = tmp_path / ("w.nii.gz" if packed else "w.nii")
    image.write_bytes(gzip.compress(content) if packed else bytes(content))
    with pytest.raises(InputError, match=r"w\.nii.*(header|cut off)"):
        read_volume(image, mask)


def test_a_stream_that_grows_without_end_is_refused(tmp_path: Path, mask: Path) -> None:
    image = tmp_path / "bomb.nii.gz"
    image.write_bytes(gzip.compress(written(tmp_path / "v.nii", VOXELS).read_bytes() + bytes(80_000_000), 1))
    with pytest.raises(InputError, match=r"bomb\.nii\.gz: inflates to more than"):
        read_volume(image, mask)


@pytest.mark.parametrize(("ending", "line"), [("nrrd", b"sizes:"), ("mha", b"DimSize =")])
def test_sizes_beyond_any_memory_are_refused(ending: str, line: bytes, tmp_path: Path, mask: Path) -> None:
    image = written(tmp_path / f"v.{ending}", VOXELS)
    content = image.read_bytes()
    start = content.index(line)
    image.write_bytes(content[:start] + line + b" 100000 100000 1000" + content[content.index(b"\n", start) :])
    with pytest.raises(InputError, match="10000000000000 voxels"):
        read_volume(image, mask)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_voxels_that_are_no_numbers_and_labels_that_are_not_whole(
    ending: str, value: float, tmp_path: Path, mask: Path
) -> None:
    odd = VOXELS.copy()
    odd[3, 8, 8] = value
    if not np.isfinite(value):
        with pytest.raises(InputError, match="not finite"):
            read_volume(written(tmp_path / f"v.{ending}", odd), mask)
    labels = MASK.astype(np.float32)
    labels[3, 8, 8] = value
    with pytest.raises(InputError, match=r"expected whole numbers|not finite"):
        read_volume(written(tmp_path / "v.nii", VOXELS), written(tmp_path / f"m.{ending}", labels))


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "../v.raw", "nowhere", "LIST", "s%03d.raw 1 6 1"])
def test_voxels_elsewhere_than_in_a_file_beside_the_header(ending: str, name: str, tmp_path: Path, mask: Path) -> None:
    image = written(tmp_path / f"v.{ending}", VOXELS)
    assert np.array_equal(read_volume(image, mask).array, VOXELS)
    os.mkfifo(tmp_path / "pipe")
    key = {"mhd": "ElementDataFile = ", "nhdr": "data file: "}[ending]
    lines = [f"{key}{name}" if line.startswith(key) else line for line in image.read_text().splitlines()]
    image.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="its voxels stand in"):
        read_volume(image, mask)


def test_what_is_no_file_is_never_opened(tmp_path: Path, mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "series").mkdir()
    os.mkfifo(tmp_path / "series" / "1.dcm")
    image = written(tmp_path / "v.nii", VOXELS)
    (tmp_path / "patients.csv").write_text("patient_id,center,aln_status\nP,a,1\n")
    pairs = [("pipe.nii", mask.name), (image.name, "pipe.nii"), ("/dev/zero", mask.name), (image.name, "/dev/null")]
    for names in [*pairs, ("series", mask.name)]:
        row = {"patient_id": "P", "timepoint": "pre", "sequence": "t2w", "image_path": names[0], "mask_path": names[1]}
        pd.DataFrame([row]).to_csv(tmp_path / "volumes.csv", index=False)
        assert main(["radiomics", "extract", str(tmp_path), "--out", str(tmp_path / "f.csv"), "--workers=1"]) == 2
        assert "neither file nor folder" in capsys.readouterr().err
        assert not (tmp_path / "f.csv").exists()
