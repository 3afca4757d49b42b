"""One patient's DICOM folder is scored as a table with that patient is, to the last bit."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pydicom
import pytest
from pydicom.uid import generate_uid

import mammo_aln
from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.training.train import train_run
from tests.support.other_centre import external, other_centre
from tests.support.tiny_settings import tiny_settings

FEATURES = ("age", "er", "her2", "ct")


@pytest.fixture(scope="module")
def run(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), tiny_settings(), store=store)


@dataclass(frozen=True)
class OnePatient:
    """A patient of the phantom: as a cohort with a table, and as a hospital's folder with words."""

    cohort: Path
    dicom: Path
    boxes: dict[str, tuple[float, float, float, float]]
    clinical: dict[str, str]


@pytest.fixture
def one(phantom: Path, tmp_path: Path) -> OnePatient:
    table = external(phantom)
    chosen = table[(table[list(FEATURES)] != "").all(axis=1) & table[list(FEATURES)].notna().all(axis=1)].iloc[[0]]
    cohort = other_centre(phantom, tmp_path / "table", chosen)
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    regions = pd.read_csv(cohort / "regions.csv")
    drawn = regions[regions["region"] == "primary"].merge(images, on="image_id")
    # two of the files in a folder of their own, as a viewer exports series
    for nth, path in enumerate(images["path"]):
        folder = tmp_path / "export" / ("SERIES1" if nth % 2 else "")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(phantom / path, folder / Path(path).name)
    boxes = {Path(str(row.path)).name: (row.x_min, row.y_min, row.x_max, row.y_max) for row in drawn.itertuples()}
    assert len(boxes) == len(drawn) > 0
    rest = regions[regions["region"] != "primary"]
    regions.drop(rest.index).to_csv(cohort / "regions.csv", index=False)
    return OnePatient(cohort, tmp_path / "export", boxes, {name: chosen[name].iloc[0] for name in FEATURES})


def words(one: OnePatient) -> list[str]:
    boxes = [f"{image}:{','.join(repr(float(corner)) for corner in box)}" for image, box in one.boxes.items()]
    clinical = [f"{name}={value}" for name, value in one.clinical.items()]
    return ["--dicom", str(one.dicom), "--box", *boxes, "--clinical", *clinical]


def test_the_dicom_road_equals_the_table_road_to_the_last_bit(
    run: Path, one: OnePatient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(predict_cohort(run, one.cohort, tmp_path / "table.csv"))
    out = tmp_path / "out"
    capsys.readouterr()
    assert main(["predict", "--run", str(run), *words(one), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out / 'predictions.csv'}\n"
    scored = pd.read_csv(out / "predictions.csv")
    for name in ("score", "logit", "call", "inputs_seen"):
        assert scored[name].tolist() == table[name].tolist()
    threshold = json.loads((run / "predictions.json").read_text())["threshold"]["value"]
    assert f"probability of residual nodal disease {scored['score'].iloc[0]:.3f}" in printed.err
    assert ("called positive" in printed.err) == (scored["score"].iloc[0] >= threshold)
    assert "seen: primary" in printed.err
    assert "fill in" not in printed.err
    assert (out / "proof" / "proof_001.png").is_file()
    same = mammo_aln.load(run).predict(dicom=one.dicom, boxes=one.boxes, clinical=one.clinical)
    assert same["logit"].tolist() == table["logit"].tolist()


def test_boxes_of_an_annotation_file_give_the_same(run: Path, one: OnePatient, tmp_path: Path) -> None:
    rows = [(image, *box) for image, box in one.boxes.items()]
    pd.DataFrame(rows, columns=["filename", "x_min", "y_min", "x_max", "y_max"]).assign(label="primary").to_csv(
        tmp_path / "boxes.csv", index=False
    )
    model = mammo_aln.load(run)
    drawn = model.predict(dicom=one.dicom, regions=tmp_path / "boxes.csv", clinical=one.clinical)
    given = model.predict(dicom=one.dicom, boxes=one.boxes, clinical=one.clinical)
    assert drawn["logit"].tolist() == given["logit"].tolist()


def test_without_a_lesion_it_asks_for_a_box_and_without_some_features_it_says_which(
    run: Path, one: OnePatient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["predict", "--run", str(run), "--dicom", str(one.dicom), "--out", str(tmp_path / "p.csv")]
    assert main([*start, "--clinical", "age=54"]) == 2
    asked = capsys.readouterr().err
    assert "--box IMAGE:x_min,y_min,x_max,y_max" in asked
    assert all(image in asked for image in one.boxes)
    assert not (tmp_path / "p.csv").exists()
    assert main([*start, "--clinical", "age=54", "--allow_missing"]) == 0
    assert pd.read_csv(tmp_path / "p.csv")["inputs_seen"].iloc[0].endswith("clinical 1/4 without er, her2, ct")
    printed = capsys.readouterr().err
    assert "without a crop of the lesion" in printed
    assert "without a value of her2" in printed
    boxes = words(one)[: words(one).index("--clinical")]
    assert main(["predict", "--run", str(run), *boxes, "--out", str(tmp_path / "n.csv")]) == 2
    assert "without any clinical value" in capsys.readouterr().err
    assert main(["predict", "--run", str(run), *boxes, "--clinical", "er=positive", "--out", str(tmp_path / "n")]) == 0


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (["--clinical", "agee=54"], "agee: this run has no such feature; did you mean age?"),
        (["--clinical", "er=pos"], "er = pos: expected one of negative, positive.*did you mean positive?"),
        (["--clinical", "age=54,5"], "age = 54,5: expected a finite number of years"),
        (["--clinical", "age"], "expected NAME=VALUE"),
        (["--box", "nosuch.dcm:1,2,30,40"], "nosuch.dcm: no such image"),
        (["--box", "{image}:1,2,3"], "expected IMAGE:x_min,y_min,x_max,y_max"),
        (["--box", "{image}:30,40,10,60"], "empty; expected x_min < x_max"),
        (["--box", "{image}:1,2,99999,40"], "reaches outside the image of"),
        (["--split", "val"], "--split and --dicom"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    wrong: list[str],
    expected: str,
    run: Path,
    one: OnePatient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    image = next(iter(one.boxes))
    filled = [word.replace("{image}", image) for word in wrong]
    out = tmp_path / "p.csv"
    assert main(["predict", "--run", str(run), "--dicom", str(one.dicom), *filled, "--out", str(out)]) == 2
    assert re.search(expected, capsys.readouterr().err, re.S)
    assert not out.exists()


def test_several_patients_in_the_folder_are_refused(run: Path, phantom: Path, tmp_path: Path) -> None:
    images = pd.read_csv(phantom / "images.csv", dtype=str)
    for path in images.groupby("patient_id")["path"].first().head(2):
        (tmp_path / "two").mkdir(exist_ok=True)
        shutil.copy(phantom / path, tmp_path / "two" / Path(path).name)
    with pytest.raises(InputError, match="images of 2 patients by their headers"):
        mammo_aln.load(run).predict(dicom=tmp_path / "two")


def test_hidden_folders_are_not_looked_at(run: Path, phantom: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "exam" / ".deleted"
    hidden.mkdir(parents=True)
    path = phantom / pd.read_csv(phantom / "images.csv", dtype=str)["path"].iloc[0]
    shutil.copy(path, hidden / path.name)
    with pytest.raises(InputError, match="the folder holds no file"):
        mammo_aln.load(run).predict(dicom=hidden.parent)


def test_a_folder_without_mammogram_is_named_as_given(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    with pytest.raises(InputError) as empty:
        mammo_aln.load(run).predict(dicom=folder)
    assert str(empty.value) == f"--dicom {folder}: the folder holds no file"
    (folder / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(300))
    with pytest.raises(InputError) as pictures:
        mammo_aln.load(run).predict(dicom=folder)
    reason = "a.jpg: not DICOM (no DICM marker after 128 bytes)"
    assert str(pictures.value) == f"--dicom {folder}: no mammogram among 1 files ({reason})"


def test_a_cohort_and_an_exam_do_not_go_together(run: Path, phantom: Path) -> None:
    for wrong in ({}, {"cohort": phantom, "dicom": phantom}, {"cohort": phantom, "clinical": {"age": 5}}):
        with pytest.raises(InputError, match="expected a cohort, or dicom=FOLDER"):
            mammo_aln.load(run).predict(**wrong)


def test_two_exams_are_refused_and_a_second_image_of_a_view_is_told(
    run: Path, one: OnePatient, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(one.dicom.rglob("*.dcm"))
    for path in files:
        later = pydicom.dcmread(path)
        for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            setattr(later, name, "20210310")
        later.save_as(path)
        later.StudyInstanceUID, later.SOPInstanceUID = generate_uid(), generate_uid()
        later.file_meta.MediaStorageSOPInstanceUID = later.SOPInstanceUID
        for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            setattr(later, name, "20210922")
        later.save_as(path.with_name(f"later_{path.name}"))
    model = mammo_aln.load(run)
    with pytest.raises(InputError, match=r"several exams.*give a folder that holds the one before NAT alone"):
        model.predict(dicom=one.dicom, boxes=one.boxes, clinical=one.clinical)
    for path in files[1:]:
        path.with_name(f"later_{path.name}").unlink()
    twin = files[0].with_name(f"later_{files[0].name}")
    again = pydicom.dcmread(files[0])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    again.pixel_array[0, 0] += 1
    again.save_as(twin)
    capsys.readouterr()
    table = model.predict(dicom=one.dicom, boxes=one.boxes, clinical=one.clinical)
    assert len(table) == 1
    assert f"not used: {twin.name}: " in capsys.readouterr().err


def test_a_lesion_in_the_other_breast_or_in_both_is_refused(
    run: Path, one: OnePatient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sorted(one.dicom.rglob("*.dcm"))[0]
    side = file.name.split("_")[1]
    other = {"L": "R", "R": "L"}[side]
    out = ["--out", str(tmp_path / "out"), "--run", str(run)]
    assert main(["predict", *words(one), "--side", other, *out]) == 2
    assert f"--side {other}: the lesion's boxes are in images of side {side}" in capsys.readouterr().err
    image = pydicom.dcmread(file)
    image.ImageLaterality, image.SOPInstanceUID = other, generate_uid()
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(one.dicom / "mirror.dcm")
    boxes = words(one)
    boxes.insert(boxes.index("--clinical"), "mirror.dcm:40,40,80,80")
    assert main(["predict", *boxes, *out]) == 2
    assert "boxes of the lesion in both breasts: expected --side L or --side R" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
