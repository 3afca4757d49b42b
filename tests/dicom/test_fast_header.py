from __future__ import annotations

import pickle
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mammo_aln.dicom import fast_header as headers
from mammo_aln.dicom.decode import read_file
from mammo_aln.dicom.deflate import MOST_INFLATED_BYTES
from mammo_aln.dicom.fast_header import Excluded, FastHeader, read_header, read_headers
from mammo_aln.dicom.mammogram import judge
from mammo_aln.errors import UnreadableDicom
from tests.support.dicom_writer import code, mammogram, save

TEXTS = ("SOPInstanceUID", "BodyPartExamined", "Laterality", "ViewPosition")


def by_pydicom(path: Path) -> tuple[dict[str, object], dict[str, str], str]:
    """The same fields, texts and view by the public interface of pydicom alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # without the marker, but with the file meta group that names the transfer syntax
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=path.read_bytes()[:2] == b"\x02\x00")
        view = (dataset.get("ViewCodeSequence") or [pydicom.Dataset()])[0]
        fields = {
            "modality": str(dataset.get("Modality") or ""),
            "rows": dataset.get("Rows") or 0,
            "columns": dataset.get("Columns") or 0,
            "samples": dataset.get("SamplesPerPixel") or 1,
            "bits_stored": dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0,
            "frames": 1 if path.name == "badVR.dcm" else int(dataset.get("NumberOfFrames") or 1),  # it says '1A'
            "photometric": str(dataset.get("PhotometricInterpretation") or ""),
            "transfer_syntax": str(dataset.file_meta.get("TransferSyntaxUID") or ""),
        }
        texts = {keyword: str(dataset.get(keyword) or "") for keyword in TEXTS}
        return fields, texts, str(view.get("CodeMeaning") or view.get("CodeValue") or "")


def test_every_real_file_reads_as_pydicom_reads_it(shared):
    compared = 0
    for path in sorted((shared / "data").rglob("*")):
        if not path.is_file() or path.name == "3gb-bulk-data-truncated":  # pydicom loses its rows with the broken end
            continue
        header = read_header(path)
        try:
            fields, texts, view = by_pydicom(path)
        except pydicom.errors.InvalidDicomError:
            assert isinstance(header, Excluded), path.name
            continue
        assert isinstance(header, FastHeader), path.name
        assert {name: getattr(header, name) for name in fields} == fields, path.name
        assert {keyword: header.text(keyword) for keyword in texts} == texts, path.name
        assert header.code("ViewCodeSequence", "CodeMeaning", "CodeValue") == view, path.name
        compared += 1
    assert compared > 60


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_encodings(tmp_path, syntax, undefined):
    view = code("R-10226", "medio-lateral oblique", ("Magnification",))
    dataset = mammogram(ViewPosition=None, ViewCodeSequence=Sequence([view]), StudyDescription="x" * 31)
    dataset["ViewCodeSequence"].is_undefined_length = undefined
    dataset.ViewCodeSequence[0].is_undefined_length_sequence_item = undefined
    header = read_header(save(dataset, tmp_path / "a.dcm", syntax))
    assert isinstance(header, FastHeader)
    assert header.transfer_syntax == syntax
    assert (header.view, header.view_modifiers) == ("MLO", ("magnification",))
    assert (header.rows, header.columns, header.bits_stored) == (20, 16, 12)
    assert header.imager_spacing == (0.07, 0.07)


def no_pydicom(path):
    pytest.fail(f"{path.name} went to pydicom")


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_usual_encodings_need_no_pydicom(tmp_path, monkeypatch, syntax, undefined):
    dataset = mammogram(ViewPosition=None, ViewCodeSequence=Sequence([code("R-10226", "x", ("Magnification",))]))
    dataset.ProcedureCodeSequence = Sequence([code("1", "x")])  # one that nobody wants
    for sequence in ("ViewCodeSequence", "ProcedureCodeSequence"):
        dataset[sequence].is_undefined_length = undefined
    block = dataset.private_block(0x0019, "TEST", create=True)
    block.add_new(1, "OB", bytes(100_000))
    path = save(dataset, tmp_path / "a.dcm", syntax)
    monkeypatch.setattr(headers, "_with_pydicom", no_pydicom)
    assert read_header(path).view_modifiers == ("magnification",)


def test_values_that_break_the_standard_are_neither_refused_nor_quoted(tmp_path, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mammogram(StudyInstanceUID="Mustermann")
        path = save(dataset, tmp_path / "a.dcm", ExplicitVRBigEndian)
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(path).text("StudyInstanceUID") == "Mustermann"
    assert caplog.text == ""


def test_a_header_longer_than_the_first_read(tmp_path):
    for size in (100_000, 3_000_000):  # read on once; handed to pydicom
        dataset = mammogram()
        block = dataset.private_block(0x0019, "TEST", create=True)
        block.add_new(1, "OB", bytes(size))
        header = read_header(save(dataset, tmp_path / f"{size}.dcm"))
        assert isinstance(header, FastHeader)
        assert header.laterality == "L"


def test_laterality_of_the_functional_groups(tmp_path):
    dataset, group, anatomy = mammogram(ImageLaterality=None), pydicom.Dataset(), pydicom.Dataset()
    anatomy.FrameLaterality = "R"
    group.FrameAnatomySequence = Sequence([anatomy])
    dataset.SharedFunctionalGroupsSequence = Sequence([group])
    assert read_header(save(dataset, tmp_path / "a.dcm")).laterality == "R"


def test_garbage_never_raises_nor_warns(tmp_path, shared):
    rng = np.random.default_rng(0)
    sources = [save(mammogram(), tmp_path / "sound.dcm"), shared / "data/mg_dicom/MG_spacing_clunie.dcm"]
    sources += sorted((shared / "data/decode").glob("emri_small_*"))
    spoilt = tmp_path / "spoilt.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in sources:
            data = np.frombuffer(source.read_bytes()[:6000], np.uint8)
            for _ in range(60):
                broken = data[: rng.integers(132, len(data))].copy()
                places = rng.integers(132, len(broken) + 1, size=rng.integers(0, 12)) - 1
                broken[places] = rng.integers(0, 256, size=len(places))
                spoilt.write_bytes(broken.tobytes())
                header = read_header(spoilt)
                assert isinstance(header, Excluded) or judge(header)


def test_sequences_nested_without_end_are_a_value(tmp_path):
    dataset = mammogram()
    innermost = dataset
    for _ in range(500):
        innermost.ViewCodeSequence = Sequence([Dataset()])
        innermost = innermost.ViewCodeSequence[0]
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(20_000)
        save(dataset, tmp_path / "nested.dcm")
    finally:
        sys.setrecursionlimit(limit)
    assert read_header(tmp_path / "nested.dcm") == Excluded(headers.TOO_DEEP)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("depth", [headers.DEEPEST, headers.DEEPEST + 1, 300])
def test_sequences_have_a_depth_by_every_road(tmp_path, syntax, depth):
    """At 300 levels neither the walk nor pydicom runs out of stack; what carries the header elsewhere may."""
    dataset = mammogram()
    innermost = dataset
    for _ in range(depth):
        innermost.ViewCodeSequence = Sequence([Dataset()])
        innermost = innermost.ViewCodeSequence[0]
    path = tmp_path / "nested.dcm"
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(20_000)
        save(dataset, path, syntax)
    finally:
        sys.setrecursionlimit(limit)
    header = read_header(path)
    assert (header == Excluded(headers.TOO_DEEP)) is (depth > headers.DEEPEST)
    if depth <= headers.DEEPEST:
        assert pickle.loads(pickle.dumps(header)) == header


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_an_endless_row_of_tiny_elements_is_refused_soon(tmp_path, syntax):
    path = save(mammogram(), tmp_path / "row.dcm", syntax)
    whole = path.read_bytes()
    start = 132 + 12 + int.from_bytes(whole[140:144], "little")
    row = b"\x01\x00\x01\x00OQ\x00\x00" + b"\x09\x00\x10\x00SH\x00\x00" * 1_500_000  # `OQ` is none
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = syntax == DeflatedExplicitVRLittleEndian
    path.write_bytes(whole[:start] + (packer.compress(row) + packer.flush() if deflated else row))
    assert read_header(path) == Excluded("unreadable DICOM header (TooManyElementsError)")
    with pytest.raises(UnreadableDicom, match="more than 100000 elements"):
        read_file(path)


def test_a_deflated_header_that_grows_without_end_takes_little_memory(tmp_path):
    path = save(mammogram(), tmp_path / "bomb.dcm", DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    start = 132 + 12 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = b"\x09\x00\x10\x00UN\x00\x00" + (400 << 20).to_bytes(4, "little")
    zeros = bytes(1 << 20)
    bomb = packer.compress(element) + b"".join(packer.compress(zeros) for _ in range(400)) + packer.flush()
    path.write_bytes(whole[:start] + bomb)
    tracemalloc.start()
    header = read_header(path)
    with pytest.raises(UnreadableDicom, match="deflated data set grows beyond"):
        read_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(header, Excluded)
    assert "deflated header grows" in header.reason
    assert peak < 6 * MOST_INFLATED_BYTES


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    reasons = [read_header(tmp_path / name).reason for name in ("empty", "folder", "text", "missing")]
    assert reasons == [
        "the file is empty",
        "not a regular file",
        "not DICOM (no DICM marker after 128 bytes)",
        "cannot be opened (No such file or directory)",
    ]


def test_a_pool_reads_the_same_in_the_same_order(tmp_path, monkeypatch):
    monkeypatch.setattr(headers, "POOL_FROM_FILES", 1)
    paths = [save(mammogram(InstanceNumber=number), tmp_path / f"{number}.dcm") for number in range(3)] * 200
    assert list(read_headers(paths, workers=2)) == list(read_headers(paths, workers=1))
