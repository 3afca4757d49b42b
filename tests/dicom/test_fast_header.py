from __future__ import annotations

import sys
import warnings
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
from mammo_aln.dicom.fast_header import Excluded, FastHeader, read_header, read_headers
from mammo_aln.dicom.mammogram import judge
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
    header = read_header(tmp_path / "nested.dcm")
    assert isinstance(header, Excluded) or judge(header)


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
