"""ZIP files of DICOM: the same images, crops and refusals as the folder that was packed, and nothing that a ZIP file
can say of itself is believed."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mammo_aln.cli import main
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.index import index_folder
from mammo_aln.dicom import archive
from mammo_aln.dicom.archive import archive_of, content_digest, file_key, members, open_image
from mammo_aln.dicom.read import read_image
from mammo_aln.errors import InputError, UnreadableDicom
from tests.support.dicom_writer import mammogram, save

SMALL = ["--crop.size_px=32", "--crop.strategy=whole_breast", "--crop.auxiliary=[]"]


def pack(folder: Path, target: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", method) as packed:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            packed.write(file, file.relative_to(folder).as_posix())
    return target


def flagged(source: Path, target: Path, flag: int) -> Path:
    """The ZIP file with a bit of the general purpose flag set in all its headers."""
    data = bytearray(source.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            (flags,) = struct.unpack_from("<H", data, at + offset)
            struct.pack_into("<H", data, at + offset, flags | flag)
            at = data.find(mark, at + 4)
    target.write_bytes(data)
    return target


def exclusions(out: Path) -> dict[str, str]:
    table = pd.read_csv(out / "exclusions.csv")
    return dict(zip(table["path"], table["reason"], strict=True))


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    """Two images of one patient in nested folders, with a text file beside them."""
    for number, view in enumerate(("CC", "MLO"), 1):
        tags = {"SOPInstanceUID": f"1.2.3.{number}", "ViewPosition": view, "PatientID": "HOSP-1"}
        save(mammogram((100, 80), **tags), tmp_path / f"exam/series{number}/{view}.dcm")
    (tmp_path / "exam/readme.txt").write_text("not DICOM")
    return tmp_path / "exam"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_reads_as_the_file_does(exam, tmp_path, method):
    packed = pack(exam, tmp_path / "exam.zip", method)
    file, member = exam / "series1/CC.dcm", Path(f"{packed}!/series1/CC.dcm")
    assert (read_image(member).pixels == read_image(file).pixels).all()
    assert content_digest(member) == content_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file_key(member) != file_key(Path(f"{packed}!/series2/MLO.dcm"))


def test_a_deflated_data_set_reads_inside_a_zip(exam, tmp_path):
    dataset = pydicom.dcmread(exam / "series1/CC.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(exam / "series1/CC.dcm")
    packed = pack(exam, tmp_path / "exam.zip")
    inside = read_image(Path(f"{packed}!/series1/CC.dcm"))
    assert (inside.pixels == read_image(exam / "series1/CC.dcm").pixels).all()


def test_packed_phantom_gives_the_same_images_and_crops_byte_for_byte(phantom, tmp_path, capsys):
    folders = sorted(path for path in (phantom / "dicom").glob("*/*") if path.is_dir())[:6]
    for number, folder in enumerate(folders):
        shutil.copytree(folder, tmp_path / "plain" / folder.name)
        pack(folder, tmp_path / "zipped" / folder.name / ("exam.zip", "a.ZIP")[number % 2])
    tables = {}
    for name in ("plain", "zipped"):
        out = tmp_path / f"{name}_cohort"
        assert main(["index", str(tmp_path / name), "--out", str(out)]) == 0
        tables[name] = pd.read_csv(out / "images.csv").sort_values("image_id", ignore_index=True)
        ids = tables[name]["patient_id"].unique()
        pd.DataFrame({"patient_id": ids, "side": "L", "center": "A", "aln_status": 1}).to_csv(
            out / "patients.csv", index=False
        )
        export = str(tmp_path / f"{name}_crops")
        # Two workers: processes of a pool open the ZIP files too.
        assert main(["crop", str(out), "--export", export, "--workers", "2", *SMALL]) == 0
    assert tables["zipped"]["path"].str.contains("!/").all()
    pd.testing.assert_frame_equal(tables["plain"].drop(columns="path"), tables["zipped"].drop(columns="path"))
    crops = {
        name: {file.name: file.read_bytes() for file in (tmp_path / f"{name}_crops").rglob("*.npy")} for name in tables
    }
    assert crops["plain"]
    assert crops["plain"] == crops["zipped"]
    # The store of the unpacked files serves the packed ones: content is identity.
    plain_store = str(tmp_path / "plain_cohort" / ".crops")
    before = sum(file.stat().st_size for file in Path(plain_store).rglob("*.u16"))
    assert main(["crop", str(tmp_path / "zipped_cohort"), "--store", plain_store, *SMALL]) == 0
    assert sum(file.stat().st_size for file in Path(plain_store).rglob("*.u16")) == before
    assert check_cohort(tmp_path / "zipped_cohort") == []
    capsys.readouterr()


def test_zips_directly_in_the_folder_are_grouped_by_their_headers(exam, tmp_path):
    pack(exam / "series1", tmp_path / "dicom/first.zip")
    pack(exam / "series2", tmp_path / "dicom/second.zip")
    images = pd.read_csv(index_folder(tmp_path / "dicom", tmp_path / "out") / "images.csv")
    assert len(images) == 2
    assert images["patient_id"].nunique() == 1
    assert not images["patient_id"].str.contains("zip").any()


def test_an_image_that_is_also_packed_is_told_as_a_copy(exam, tmp_path):
    pack(exam, exam / "again.zip")
    out = index_folder(exam, tmp_path / "out")
    assert len(pd.read_csv(out / "images.csv")) == 2
    told = exclusions(out)
    assert sum("the same SOPInstanceUID as again.zip!/" in reason for reason in told.values()) == 2


def hostile(folder: Path, exam: Path) -> None:
    image = (exam / "series1/CC.dcm").read_bytes()
    with zipfile.ZipFile(folder / "names.zip", "w") as packed:
        for name in (
            "../up.dcm",
            "/abs.dcm",
            "C:\\drive.dcm",
            "a//double.dcm",
            "a/./dot.dcm",
            "new\nline.dcm",
            "b.zip!/c.dcm",
        ):
            packed.writestr(name, image)
        packed.writestr("good/kept.dcm", image)
        packed.writestr(".hidden.dcm", image)
        packed.writestr("__MACOSX/._kept.dcm", b"\0\5\x16\7")
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "good/kept.dcm")
    pack(exam, folder / "inner.zip")
    with zipfile.ZipFile(folder / "outer.zip", "w") as packed:
        packed.write(folder / "inner.zip", "inner.zip")
    (folder / "inner.zip").rename(folder / "called_otherwise")
    flagged(pack(exam / "series2", folder / "open.zip"), folder / "encrypted.zip", 0x1)
    (folder / "cut.zip").write_bytes((folder / "open.zip").read_bytes()[:-40])
    (folder / "open.zip").unlink()
    os.mkfifo(folder / "pipe.zip")
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("bomb.dcm", "w") as member:
            for _ in range(101):
                member.write(bytes(1_000_000))
        packed.writestr("DICOMDIR", image[:132])
    with zipfile.ZipFile(folder / "twice.zip", "w") as packed:
        packed.writestr("x.dcm", image)
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("x.dcm", image + b"\0\0")


def test_what_cannot_be_read_of_a_zip_is_told_and_the_rest_is_read(exam, tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    hostile(folder, exam)
    before = sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts)
    out = index_folder(folder, tmp_path / "out")
    assert pd.read_csv(out / "images.csv")["path"].tolist() == ["names.zip!/good/kept.dcm"]
    told = exclusions(out)
    leads_out = {name for name, reason in told.items() if "leads out of the folder" in reason}
    assert leads_out == {"names.zip!/../up.dcm", "names.zip!//abs.dcm", "names.zip!/C:\\drive.dcm"}
    assert sum("no plain path" in reason for reason in told.values()) == 4
    assert "a link in the ZIP file" in told["names.zip!/link.dcm"]
    assert "a ZIP file within a ZIP file" in told["outer.zip!/inner.zip"]
    assert "encrypted in the ZIP file" in told["encrypted.zip!/MLO.dcm"]
    assert "cut off in transfer?" in told["cut.zip"]
    assert "not a regular file" in told["pipe.zip"]
    for name, reason in (("encrypted.zip!/MLO.dcm", "encrypted"), ("bomb.zip!/bomb.dcm", "grows from")):
        with pytest.raises(OSError, match=reason):  # as where a row of images.csv names it
            open_image(folder / name)
    assert "grows from" in told["bomb.zip!/bomb.dcm"]
    assert "name stands twice" in told["twice.zip!/x.dcm"]
    assert "a ZIP file that is not called .zip" in told["called_otherwise"]
    assert "bomb.zip!/DICOMDIR" in told
    assert not any("hidden" in name or "MACOSX" in name for name in told)
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts) == before


def test_a_member_that_was_damaged_is_refused_by_its_checksum(exam, tmp_path):
    packed = pack(exam, tmp_path / "exam.zip", zipfile.ZIP_STORED)
    data = bytearray(packed.read_bytes())
    pixels = pydicom.dcmread(exam / "series1/CC.dcm").PixelData
    data[data.find(pixels) + len(pixels) // 2] ^= 0xFF
    packed.write_bytes(data)
    with pytest.raises(UnreadableDicom, match="CRC"):
        read_image(Path(f"{packed}!/series1/CC.dcm"))
    with pytest.raises(OSError, match="CRC"):
        content_digest(Path(f"{packed}!/series1/CC.dcm"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_was_damaged_ends_neither_index_nor_check(tmp_path, method, capsys):
    """Two images of one size, one of them damaged in its pixels, then at its beginning."""
    noise = np.random.default_rng(0).integers(0, 4096, (1000, 700), np.uint16).tobytes()
    for number, view in enumerate(("CC", "MLO")):
        image = mammogram((1000, 700), SOPInstanceUID=f"1.2.3.{number}", ViewPosition=view, PixelData=noise)
        save(image, tmp_path / f"exam/{number}.dcm")
    packed = pack(tmp_path / "exam", tmp_path / "dicom/exam.zip", method)
    whole, entry = packed.read_bytes(), zipfile.ZipFile(packed).infolist()[1]
    begin = entry.header_offset + 30 + len(entry.filename)
    out = index_folder(tmp_path / "dicom", tmp_path / "out")
    (out / "patients.csv").write_text("patient_id,center,aln_status\np0001,A,1\n")
    for at in (begin + entry.compress_size * 3 // 4, begin + 12):
        data = bytearray(whole)
        data[at] ^= 0xFF
        data[at + 1] ^= 0xFF
        packed.write_bytes(data)
        assert main(["check", str(out)]) in (0, 1)
        with pytest.raises(OSError, match="broken in its ZIP file"):
            content_digest(Path(f"{packed}!/1.dcm"))
        assert "(None)" not in capsys.readouterr().err
    index_folder(tmp_path / "dicom", tmp_path / "again")
    assert "(None)" not in "".join(exclusions(tmp_path / "again").values())


@pytest.mark.parametrize(("mark", "offset", "byte"), [(b"PK\x01\x02", 46, 0xFF), (b"PK\x01\x02", 6, 99),
                                                     (b"PK\x03\x04", 30, 0xFF)])  # fmt: skip
def test_a_list_of_files_that_cannot_be_read_is_told(tmp_path, mark, offset, byte):
    """A name that is not the UTF-8 that it claims to be, and a version of the format that is none."""
    image = mammogram((100, 80))
    save(image, tmp_path / "exam/ä.dcm")
    save(image, tmp_path / "dicom/plain.dcm")
    packed = pack(tmp_path / "exam", tmp_path / "dicom/packed.zip")
    data = bytearray(packed.read_bytes())
    data[data.find(mark) + offset] = byte
    packed.write_bytes(data)
    (reason,) = exclusions(index_folder(tmp_path / "dicom", tmp_path / "out")).values()
    assert "ZIP file" in reason


def test_a_replaced_zip_is_read_anew_and_a_missing_member_named(exam, tmp_path):
    packed = pack(exam / "series1", tmp_path / "exam.zip")
    member = Path(f"{packed}!/CC.dcm")
    key = file_key(member)
    pack(exam / "series2", tmp_path / "new.zip").replace(packed)
    assert [entry.name for entry in members(packed)] == ["MLO.dcm"]
    with pytest.raises(UnreadableDicom, match=r"the ZIP file exam\.zip holds no such file"):
        read_image(member)
    assert file_key(Path(f"{packed}!/MLO.dcm")) != key


def test_a_folder_whose_name_only_looks_like_a_zip_stays_a_folder(exam, tmp_path):
    folder = tmp_path / "odd.zip!"
    shutil.copytree(exam, folder)
    file = folder / "series1/CC.dcm"
    assert archive_of(file) is None
    with open_image(file) as opened:
        assert opened.read() == file.read_bytes()


def test_a_folder_of_unreadable_zips_alone_is_refused_in_words(exam, tmp_path):
    flagged(pack(exam, tmp_path / "plain.zip"), tmp_path / "dicom.zip", 0x1)
    (tmp_path / "in").mkdir()
    (tmp_path / "dicom.zip").rename(tmp_path / "in/dicom.zip")
    with pytest.raises(InputError, match="encrypted in the ZIP file"):
        index_folder(tmp_path / "in", tmp_path / "out")


def test_a_method_that_cannot_be_read_and_a_huge_member_are_told(exam, tmp_path, monkeypatch):
    packed = pack(exam / "series1", tmp_path / "exam.zip", zipfile.ZIP_STORED)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1000)
    assert "as no image does" in members(packed)[0].refusal
    monkeypatch.undo()
    data = bytearray(packed.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.find(mark) + offset] = 9  # deflate64, as Windows packs large files
    packed.write_bytes(data)
    assert "by method 9, which cannot be read here: unpack it" in members(packed)[0].refusal


def test_too_many_files_are_refused(exam, tmp_path, monkeypatch):
    packed = pack(exam, tmp_path / "exam.zip")
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    with pytest.raises(OSError, match="more than 2 files"):
        members(packed)
