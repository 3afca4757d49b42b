"""Wrong input at the command line: one message with all faults and exit code 2, or a told exclusion; no half work."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from mammo_aln.cli import main
from tests.support.caged import in_the_kept_process, short_of_memory

Change = Callable[[pd.DataFrame], pd.DataFrame]
TINY = ["--crop.size_px=64", "--model.backbone=resnet50", "--log.wandb=disabled", "--trainer.max_epochs=1"]
TINY += ["--model.backbone_args={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], stem_width: 8}"]


@pytest.fixture
def cohort(phantom: Path, tmp_path: Path) -> Path:
    """Tables of the phantom that may be spoilt; its images stay where they are."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    for table in phantom.glob("*.csv"):
        shutil.copy(table, folder)
    (folder / "cohort.yaml").write_text(f"{(phantom / 'cohort.yaml').read_text()}dicom_root: {phantom}\n")
    return folder


def spoil(cohort: Path, name: str, change: Change) -> None:
    table = pd.read_csv(cohort / name, dtype=str, keep_default_na=False)
    change(table).to_csv(cohort / name, index=False)


def with_cell(column: str, value: str, row: int = 0) -> Change:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


def one_class(split: str) -> Change:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(aln_status=table["aln_status"].where(table["split"] != split, "0"))

    return change


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("patients.csv", lambda table: table.head(0), ["patients.csv", "empty"]),
        ("images.csv", lambda table: table.head(0), ["images.csv"]),
        ("patients.csv", lambda table: pd.concat([table, table.head(1)]), ["patients.csv", "patient_id", "row 38"]),
        ("images.csv", lambda table: pd.concat([table, table.head(1)]), ["images.csv", "image_id"]),
        ("patients.csv", with_cell("aln_status", "2"), ["patients.csv row 2", "aln_status", "'2'", "0"]),
        ("patients.csv", with_cell("aln_status", "yes", 3), ["patients.csv row 5", "aln_status", "'yes'"]),
        ("patients.csv", with_cell("split", "test"), ["patients.csv row 2", "split", "'test'", "external_test"]),
        ("patients.csv", one_class("train"), ["'train'", "aln_status"]),
        ("patients.csv", one_class("val"), ["'val'", "aln_status"]),
        ("images.csv", with_cell("patient_id", "nobody"), ["images.csv row 2", "patient_id", "'nobody'"]),
        ("images.csv", with_cell("view", "XYZ"), ["images.csv row 2", "view", "'XYZ'", "CC"]),
        ("regions.csv", with_cell("image_id", "nothing"), ["regions.csv row 2", "image_id", "'nothing'"]),
        ("regions.csv", with_cell("x_max", "-5"), ["regions.csv row 2", "x_max"]),
        ("regions.csv", with_cell("y_min", "nan"), ["regions.csv row 2", "y_min"]),
    ],
)
def test_a_spoilt_table_stops_training_before_anything_is_written(
    cohort: Path, name: str, change: Change, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(cohort, name, change)
    out = cohort.parent / "runs"
    assert main(["train", str(cohort), "--out", str(out), *TINY]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    missing = [part for part in told if part not in captured.err]
    assert not missing, captured.err
    assert not out.exists()


def test_all_faults_of_all_tables_are_told_together(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(cohort, "patients.csv", with_cell("aln_status", "2"))
    spoil(cohort, "patients.csv", with_cell("split", "tset", 4))
    spoil(cohort, "images.csv", with_cell("laterality", "X", 1))
    spoil(cohort, "regions.csv", with_cell("x_min", "abc", 2))
    assert main(["train", str(cohort), "--out", str(cohort.parent / "runs"), *TINY]) == 2
    error = capsys.readouterr().err
    for place in ("patients.csv row 2, aln_status", "patients.csv row 6, split", "images.csv row 3, laterality"):
        assert place in error
    assert "regions.csv row 4, x_min" in error


@pytest.mark.parametrize("verb", [["check"], ["crop"], ["split"], ["train", "--out", "o"]])
def test_a_missing_folder_is_named(verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb[0], str(tmp_path / "nowhere"), *verb[1:]]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_one_patient_in_two_splits_is_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def both_sides(table: pd.DataFrame) -> pd.DataFrame:
        other = {"L": "R", "R": "L"}[table.loc[0, "side"]]
        split = "val" if table.loc[0, "split"] != "val" else "train"
        return pd.concat([table, table.head(1).assign(side=other, split=split)])

    spoil(cohort, "patients.csv", both_sides)
    assert main(["train", str(cohort), "--out", str(cohort.parent / "runs"), *TINY]) == 2
    assert "split" in capsys.readouterr().err


def test_images_that_cannot_be_read_are_excluded_with_the_reason(cohort: Path) -> None:
    broken = cohort / "broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM" + b"garbage")
    table = pd.read_csv(cohort / "images.csv", dtype=str)
    patients = pd.read_csv(cohort / "patients.csv", dtype=str)
    train = set(patients.loc[patients["split"] == "train", "patient_id"])
    row = next(index for index, patient in table["patient_id"].items() if patient in train)
    spoil(cohort, "images.csv", with_cell("path", str(broken), row))
    out = cohort.parent / "exported"
    assert main(["crop", str(cohort), "--crop.size_px=32", "--export", str(out), "--store", str(cohort / "s")]) == 0
    excluded = pd.read_csv(out / "exclusions.csv", dtype=str)
    reasons = excluded.loc[excluded["image_id"] == table.loc[row, "image_id"], "reason"]
    assert len(reasons) >= 1
    assert reasons.str.contains("broken.dcm|DICOM|read").all()


def test_lack_of_memory_on_a_gpu_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr("mammo_aln.cli._run", no_memory)
    assert main(["predict"]) == 1
    assert "predict: not enough memory (CUDA out of memory. Tried to allocate 9 GiB);" in capsys.readouterr().err


def test_lack_of_memory_stops_the_crops_and_leaves_no_image_out(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = cohort.parent / "s"
    with in_the_kept_process(short_of_memory):
        assert main(["crop", str(cohort), "--crop.size_px=32", "--store", str(store), "--workers=1"]) == 1
    assert "crop: not enough memory (" in capsys.readouterr().err
    assert not (store / "exclusions.csv").exists()


def test_a_millimetre_crop_without_millimetres_is_refused_in_words(
    cohort: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("images.csv", "regions.csv", "patients.csv", "truth.csv", "bayes_auc.csv"):
        (cohort / name).unlink()
    (cohort / "cohort.yaml").write_text(f"name: film\ndicom_root: {shared / 'data' / 'mg_dicom'}\n")
    (cohort / "patients.csv").write_text("patient_id,center,aln_status\nP,film,1\n")
    (cohort / "images.csv").write_text("image_id,patient_id,path,laterality,view\nI,P,MG1_J2KI,L,MLO\n")
    (cohort / "regions.csv").write_text("image_id,region,x_min,y_min,x_max,y_max\nI,primary,1000,2000,1400,2400\n")
    words = ["crop", str(cohort), "--crop.size_px=32", "--crop.auxiliary=[]"]
    assert main(words) == 2
    assert "spacing" in capsys.readouterr().err
    spoil(cohort, "images.csv", lambda table: table.assign(spacing_mm="0.05"))
    assert main(words) == 0


def test_a_full_disk_that_a_library_meets_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/board.html")

    monkeypatch.setattr("mammo_aln.cli._run", full)
    assert main(["runs", "x"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mammo-aln runs: runs/board.html: cannot be written (No space left on device); make room")
    assert error.count("\n") == 1


def test_a_fault_of_the_product_is_one_line_that_names_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def faulty(*_: object) -> None:
        raise KeyError("nobody thought of it")

    monkeypatch.setattr("mammo_aln.cli._run", faulty)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["runs", "x"]) == 1
    error = capsys.readouterr().err
    (trace,) = tmp_path.iterdir()
    assert "a fault of mammo-aln itself: KeyError: 'nobody thought of it' in test_bad_input.py line" in error
    assert str(trace) in error
    assert error.count("\n") == 1
    assert "nobody thought of it" in trace.read_text()
    assert "Traceback" in trace.read_text()
    with pytest.raises(KeyError):
        main(["runs", "x", "--debug"])
