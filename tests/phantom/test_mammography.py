"""The cohort folder: tables the cohort room reads, files an independent decoder reads, millimetres that hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.pixels import apply_voi_lut, pixel_array

from mammo_aln.cli import main
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError
from mammo_aln.phantom import mammography
from mammo_aln.phantom.mammography import draw_image, plan_images, write_phantom
from mammo_aln.phantom.plan import center_sizes, plan_patients
from mammo_aln.phantom.truth import SUBSETS, Truth
from mammo_aln.phantom.vendors import VENDORS
from tests.support.full_disk import room_for

PATIENTS = 24


def breast_spacing(header: pydicom.Dataset) -> float:
    """The plane of the breast from the tags alone: a calibrated PixelSpacing, else the detector's, demagnified."""
    detector = float(header.ImagerPixelSpacing[0])
    if "PixelSpacing" in header and ("PixelSpacingCalibrationType" in header or header.PixelSpacing[0] != detector):
        return float(header.PixelSpacing[0])
    if "EstimatedRadiographicMagnificationFactor" in header:
        return detector / float(header.EstimatedRadiographicMagnificationFactor)
    return detector * float(header.DistanceSourceToPatient) / float(header.DistanceSourceToDetector)


def displayed(header: pydicom.Dataset) -> np.ndarray:
    """Brightness in [0, 1] through another decoder than the writer's, VOI first and polarity last."""
    plugin = "gdcm" if header.file_meta.TransferSyntaxUID.is_compressed else ""
    shown = apply_voi_lut(pixel_array(header, raw=True, decoding_plugin=plugin), header).astype(float)
    shown /= 65535.0 if "VOILUTSequence" in header else 2.0**header.BitsStored - 1.0
    return 1.0 - shown if header.PhotometricInterpretation == "MONOCHROME1" else shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom") / "cohort", patients=PATIENTS, centers=4, seed=3, workers=1)


@pytest.fixture(scope="module")
def images(folder) -> pd.DataFrame:
    table = pd.read_csv(folder / "images.csv")
    return table.merge(pd.read_csv(folder / "patients.csv"), on="patient_id")


def test_cohort_room_reads_it(folder):
    cohort = read_cohort(folder)
    assert len(cohort.patients) == PATIENTS
    assert set(cohort.patients["split"]) == {"train", "val", "internal_test", "external_test"}
    assert {name: feature.known_at for name, feature in cohort.clinical.items()} == dict.fromkeys(
        ("age", "er", "her2", "ct"), "baseline"
    )
    regions = cohort.regions.merge(cohort.images, on="image_id").merge(cohort.patients, on="patient_id")
    assert (regions["laterality"] == regions["side"]).all()
    assert set(regions.loc[regions["region"] == "axilla", "view"]) == {"MLO"}


def test_truth_has_every_subset_and_no_gap(folder):
    truth = pd.read_csv(folder / "truth.csv")
    bayes = pd.read_csv(folder / "bayes_auc.csv")
    assert len(truth) == PATIENTS
    assert set(bayes["center"]) == {"center_a", "center_b", "center_c", "center_d", "all"}
    for subset in SUBSETS:
        inputs = "+".join(subset)
        assert truth[f"probability_{inputs}"].between(0, 1).all()
        row = bayes[(bayes["center"] == "center_b") & (bayes["inputs"] == inputs)]
        assert (truth.loc[truth["center"] == "center_b", f"bayes_auc_{inputs}"] == row["bayes_auc"].item()).all()


def test_files_show_what_was_drawn_in_every_vendor_s_own_way(folder, images):
    table = plan_patients(center_sizes(PATIENTS, 4, None), 3, Truth(), True)
    tasks = {task.who.image_id: task for task in plan_images(table, 3, False)}
    assert set(tasks) == set(images["image_id"])
    for (center, laterality), group in images.groupby(["center", "laterality"]):
        header = pydicom.dcmread(folder / group["path"].iloc[0])
        task = tasks[group["image_id"].iloc[0]]
        assert header.file_meta.TransferSyntaxUID == task.vendor.syntax
        assert header.PresentationIntentType == "FOR PRESENTATION"
        drawn, plane, _ = draw_image(task)
        expected = drawn.brightness[:, ::-1] if header.PatientOrientation[0] == "P" else drawn.brightness
        shown = displayed(header)
        below_label = slice(round(15.0 / plane.spacing_mm), None)
        # A sigmoid window shows 0.02 for what is darker.
        brightness = np.clip(expected[below_label] ** task.vendor.gamma, 0.02, 0.98)
        np.testing.assert_allclose(np.clip(shown[below_label], 0.02, 0.98), brightness, atol=0.005)
        assert breast_spacing(header) == pytest.approx(plane.spacing_mm, rel=1e-5)
        assert header.ImageLaterality == laterality
        assert not str(header.PatientName)
        assert not header.PatientBirthDate
        assert center == task.who.center


def test_chest_wall_lies_where_patient_orientation_says(folder, images):
    for path in images["path"]:
        header = pydicom.dcmread(folder / path)
        shown = displayed(header)[round(0.3 * header.Rows) : round(0.8 * header.Rows)]
        left_is_breast = shown[:, :5].mean() > shown[:, -5:].mean()
        assert left_is_breast == (header.PatientOrientation[0] == "A")


def test_boxes_hold_the_lesion_in_millimetres(folder, images):
    sizes = pd.read_csv(folder / "truth.csv").set_index("patient_id")["size_mm"]
    regions = pd.read_csv(folder / "regions.csv").merge(images, on="image_id")
    brighter = []
    for row in regions[regions["region"] == "primary"].itertuples():
        header = pydicom.dcmread(folder / row.path)
        side_mm = max(row.x_max - row.x_min, row.y_max - row.y_min) * breast_spacing(header)
        assert side_mm == pytest.approx(sizes[row.patient_id], rel=0.25)
        assert 0 <= row.x_min < row.x_max <= header.Columns
        shown = displayed(header)
        x, y, half = (row.x_min + row.x_max) / 2, (row.y_min + row.y_max) / 2, (row.x_max - row.x_min) / 4
        inner = shown[int(y - half) : int(y + half), int(x - half) : int(x + half)]
        brighter.append(inner.mean() - np.median(shown[shown > 0.1]))
    assert np.mean(np.array(brighter) > 0) > 0.9


def test_side_label_stands_in_air_away_from_the_breast(folder, images):
    for path in images["path"].iloc[::4]:
        header = pydicom.dcmread(folder / path)
        # Tissue is drawn up to 0.96.
        label = np.argwhere(displayed(header) > 0.97)
        assert label.size
        assert label[:, 0].max() * breast_spacing(header) < 15.0


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    settings = {"patients": PATIENTS, "centers": 2, "seed": 5}
    one, two = (write_phantom(tmp_path / str(count), workers=count, **settings) for count in (1, 2))
    digests = [
        {
            str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in root.rglob("*.*")
            if file.is_file()
        }
        for root in (one, two)
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) > 2 * PATIENTS


def test_refuses_a_folder_that_holds_something(tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        write_phantom(tmp_path / "cohort", patients=PATIENTS)
    assert [path.name for path in tmp_path.rglob("*")] == ["cohort", "mine.txt"]


def test_leaves_nothing_behind_when_it_fails(tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(mammography, "write_mammogram", fails)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(tmp_path / "cohort", patients=PATIENTS, workers=1)
    assert not list(tmp_path.iterdir())


def test_vendors_differ_in_what_breaks_readers():
    for trait in ("geometry", "syntax", "voi", "inverted", "bits"):
        assert len({getattr(vendor, trait) for vendor in VENDORS[:3]}) >= 2
    assert all(
        0.14 <= vendor.spacing_mm / vendor.magnification[1] * vendor.magnification[0] <= 0.20 for vendor in VENDORS
    )


def test_a_full_disk_is_told_in_words_and_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with room_for(100_000):
        assert main(["phantom", "--patients", str(PATIENTS), "--centers", "2", "--out", str(tmp_path / "c")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
