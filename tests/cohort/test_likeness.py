"""One exposure under two names: told by `check`, refused by `split` and `train`; different exposures never."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, generate_uid

from mammo_aln.cli import main
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.likeness import twins
from mammo_aln.cohort.likeness.fingerprint import (
    ALIKE_FROM,
    LENGTH,
    Fingerprint,
    fingerprint,
    read_fingerprint,
)
from mammo_aln.cohort.likeness.scales import SKETCH, alike_pairs, patterns_of, sketched
from mammo_aln.cohort.likeness.twins import KEPT_FILE, groups_of, twins_among
from tests.support.dicom_writer import mammogram, save

Change = Callable[[np.ndarray], np.ndarray]


def likeness(one: Fingerprint, other: Fingerprint) -> float:
    """The greatest likeness at any scale that pairs are compared at; 0 where they are no pair."""
    pairs = alike_pairs(patterns_of([one.texture, other.texture]))
    return max((alike for _, _, alike in pairs), default=0.0)


def windowed(values: np.ndarray) -> np.ndarray:
    """As shown in a window, in 8 bits."""
    low, high = np.percentile(values, (1, 99))
    return np.rint(np.clip((values - low) / (0.7 * (high - low)), 0, 1) * 255).astype(np.uint8)


def compressed(values: np.ndarray) -> np.ndarray:
    whole = np.rint(values * (255.0 / values.max())).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)


CHANGES: dict[str, Change] = {
    "mirrored": lambda values: values[:, ::-1],
    "upside down": lambda values: values[::-1],
    "turned by 180": lambda values: values[::-1, ::-1],
    "transposed": lambda values: values.T,
    "turned by 90": lambda values: np.rot90(values),
    "inverted": lambda values: values.max() - values,
    "windowed": windowed,
    "curved": lambda values: np.rint((values / values.max()) ** 1.5 * 4095).astype(np.uint16),
    "compressed": compressed,
    "framed": lambda values: np.pad(values, ((31, 17), (23, 9))),
    "framed in white": lambda values: np.pad(values, 20, constant_values=values.max()),
    "trimmed": lambda values: values[len(values) // 50 :, values.shape[1] // 50 :],
    "halved": lambda values: cv2.resize(values, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "resampled": lambda values: cv2.resize(values, None, fx=0.37, fy=0.37, interpolation=cv2.INTER_AREA),
    "enlarged": lambda values: cv2.resize(values, None, fx=1.3, fy=1.3, interpolation=cv2.INTER_CUBIC),
    "cut at the top": lambda values: values[values.shape[0] // 5 :],
    "cut on all sides": lambda values: values[
        values.shape[0] // 20 : -values.shape[0] // 20, values.shape[1] // 20 : -values.shape[1] // 20
    ],
    "cut and resampled": lambda values: cv2.resize(
        values[values.shape[0] // 8 :], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA
    ),
    "in a broad frame": lambda values: np.pad(values, values.shape[0] // 4),
    "all": lambda values: windowed(np.pad((values.max() - values)[:, ::-1], 15)),
}


def real_images(shared: Path) -> dict[str, np.ndarray]:
    """Two digitised films of one patient, an old digital one, and six real PNG of three patients, both views each."""
    images = {path.name: np.asarray(Image.open(path)) for path in (shared / "data/mg_png").glob("*.png")}
    for name in ("cbis_P_00173_L_MLO.dcm", "cbis_P_00173_R_CC.dcm", "MG1_J2KI"):
        images[name] = pydicom.dcmread(shared / "data/mg_dicom" / name).pixel_array
    return images


def test_every_copy_of_a_real_image_is_like_it_and_no_other_image_is(shared):
    images = real_images(shared)
    marks = {name: fingerprint(values) for name, values in images.items()}
    for one, other in combinations(marks, 2):
        assert likeness(marks[one], marks[other]) < ALIKE_FROM, (one, other)
    assert groups_of(marks) == []
    for name, values in images.items():
        for change, changed in CHANGES.items():
            copy = fingerprint(np.ascontiguousarray(changed(values.astype(np.uint16))))
            assert likeness(marks[name], copy) > ALIKE_FROM, (name, change)
            assert copy.matrix != marks[name].matrix


def test_one_film_in_two_compressions_is_one_exposure(shared):
    files = {name: shared / "data/mg_dicom" / name for name in ("MG1_J2KI", "MG1_JPLY", "cbis_P_00173_R_CC.dcm")}
    groups = groups_of({name: read_fingerprint(path) for name, path in files.items()})
    assert [group.images for group in groups] == [("MG1_J2KI", "MG1_JPLY")]


def test_no_two_images_of_a_phantom_cohort_are_alike(phantom, tmp_path):
    files = {path.name: path for path in sorted((phantom / "dicom").rglob("*.dcm"))}
    assert twins_among(files, tmp_path) == []


def test_noise_and_empty_images_are_like_none():
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 4096, (600, 400), np.uint16) for _ in range(4)]
    nearly_empty = [np.where(generator.random((600, 400)) < 0.001, 500, 0).astype(np.uint16) for _ in range(3)]
    empty = [np.full((600, 400), value, np.uint16) for value in (0, 0, 7)]
    assert groups_of({str(number): fingerprint(v) for number, v in enumerate([*noise, *nearly_empty, *empty])}) == []


def test_small_images_are_twins_by_equal_values_alone():
    values = np.random.default_rng(1).integers(0, 4096, (100, 80), np.uint16)
    marks = {"a": fingerprint(values), "b": fingerprint(values.astype(np.int16)), "c": fingerprint(values[:, ::-1])}
    assert [group.images for group in groups_of(marks)] == [("a", "b")]


@pytest.fixture
def cohort(phantom, tmp_path) -> Path:
    """Some patients of the phantom cohort, their images where they are, and tables to change."""
    root = tmp_path / "cohort"
    root.mkdir()
    shutil.copy(phantom / "cohort.yaml", root)
    patients, images, regions = (pd.read_csv(phantom / f"{name}.csv") for name in ("patients", "images", "regions"))
    patients = patients.groupby("split").head(6)
    images = images[images["patient_id"].isin(patients["patient_id"])]
    regions = regions[regions["image_id"].isin(images["image_id"])]
    for name, table in (("patients", patients), ("images", images), ("regions", regions)):
        table.to_csv(root / f"{name}.csv", index=False)
    (root / "dicom").symlink_to(phantom / "dicom")
    return root


def send_again(root: Path, change: Change | None, split: str = "external_test") -> tuple[str, str]:
    """Let a training patient stand again as `again` in a split, with other identifiers; returns the two images."""
    patients, images, regions = (pd.read_csv(root / f"{name}.csv") for name in ("patients", "images", "regions"))
    patient = patients[patients["split"] == "train"].iloc[0]
    image = images[images["patient_id"] == patient["patient_id"]].iloc[0]
    dataset = pydicom.dcmread(root / image["path"])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.PatientID = generate_uid(), "AGAIN"
    if change is None:
        dataset.compress(JPEG2000Lossless)
    else:
        values = np.ascontiguousarray(change(dataset.pixel_array))
        dataset.set_pixel_data(values, "MONOCHROME2", 8 * values.dtype.itemsize)
    (root / "resent").mkdir()
    dataset.save_as(root / "resent/again.dcm")
    row = {**image, "image_id": "again_image", "patient_id": "again", "path": "resent/again.dcm"}
    boxes = regions[regions["image_id"] == image["image_id"]].assign(image_id="again_image")
    pd.concat([images, pd.DataFrame([row])]).to_csv(root / "images.csv", index=False)
    pd.concat([regions, boxes]).to_csv(root / "regions.csv", index=False)
    twin = pd.DataFrame([{**patient, "patient_id": "again", "split": split}])
    pd.concat([patients, twin]).to_csv(root / "patients.csv", index=False)
    return str(image["image_id"]), str(patient["patient_id"])


def sent_on(values: np.ndarray) -> np.ndarray:
    """Inverted, mirrored, framed and compressed with loss to 8 bits."""
    return compressed(np.pad((values.max() - values)[:, ::-1], 15))


@pytest.mark.parametrize(("change", "words"), [(None, "the same pixels"), (sent_on, "copies of one exposure")])
def test_check_names_both_and_fails(cohort, change, words, capsys):
    image, _ = send_again(cohort, change)
    problems = [line for line in check_cohort(cohort) if words in line]
    assert len(problems) == 1
    assert image in problems[0]
    assert "again_image" in problems[0]
    assert "external_test, train" in problems[0]
    assert main(["check", str(cohort)]) == 1
    capsys.readouterr()


def test_split_and_train_refuse_what_check_tells(cohort, tmp_path, capsys):
    image, patient = send_again(cohort, CHANGES["mirrored"])
    assert main(["split", str(cohort), "--overwrite"]) == 2
    err = capsys.readouterr().err
    assert f"images {image}, again_image" in err or f"images again_image, {image}" in err
    assert patient in err
    out = tmp_path / "runs"
    assert main(["train", str(cohort), "--out", str(out), "--trainer.max_epochs=1"]) == 2
    err = capsys.readouterr().err
    assert "an exposure stands in several splits" in err
    assert "external_test and train" in err
    assert not out.exists()


def test_each_file_is_decoded_once(tmp_path, monkeypatch):
    """A file that is as it was is not opened again; a changed one is."""
    generator = np.random.default_rng(2)
    files = {}
    for name in "abc":
        values = generator.integers(0, 4096, (20, 16), np.uint16)
        files[name] = save(mammogram(PixelData=values.tobytes(), SOPInstanceUID=f"1.2.{ord(name)}"), tmp_path / name)
        files[name] = tmp_path / name
    assert twins_among(files, tmp_path / "kept") == []
    journal = tmp_path / "kept" / KEPT_FILE
    before = journal.read_text()
    assert len(before.splitlines()) == 3
    journal.write_text(before + '{"version": 2, "ke')  # as a stop leaves it
    assert twins_among(files, tmp_path / "kept") == []
    assert journal.read_text().startswith(before)
    shutil.copy(files["a"], tmp_path / "b")
    assert [group.images for group in twins_among(files, tmp_path / "kept")] == [("a", "b")]


def test_what_was_compared_is_compared_again_only_when_a_file_changes(tmp_path, monkeypatch):
    generator = np.random.default_rng(2)
    values = [generator.integers(0, 4096, (20, 16), np.uint16).tobytes() for _ in range(3)]
    files = {name: tmp_path / f"{name}.dcm" for name in "abc"}
    for number, path in enumerate(files.values()):
        save(mammogram(PixelData=values[number % 2]), path)
    (tmp_path / "text.dcm").write_text("no DICOM")
    files["text"] = tmp_path / "text.dcm"
    compared = []
    monkeypatch.setattr(twins, "groups_of", lambda marks: compared.append(len(marks)) or groups_of(marks))
    first = twins_among(files, tmp_path / "kept")
    assert [group.images for group in first] == [("a", "c")]
    assert twins_among({image: str(path) for image, path in files.items()}, tmp_path / "kept") == first
    assert compared == [3]
    save(mammogram(PixelData=values[2]), files["c"])
    assert twins_among(files, tmp_path / "kept") == []
    assert compared == [3, 3]
    assert twins_among({"b": files["b"]}, tmp_path / "kept") == []
    assert compared == [3, 3, 1]


def test_a_sketch_keeps_likeness_and_hides_the_pattern_behind_its_salt():
    """Random projections keep angles (Johnson and Lindenstrauss): within 4 SD of 1 / sqrt(sums)."""
    generator = np.random.default_rng(0)
    one = generator.normal(0, 30, (50, LENGTH)).clip(-127, 127).astype(np.int8)
    other = (0.7 * one + 0.7 * generator.normal(0, 30, one.shape)).clip(-127, 127).astype(np.int8)
    exact = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.astype(float), other.astype(float), strict=True)]
    sketches = [sketched(each, "run") for each in (one, other)]
    np.testing.assert_allclose((sketches[0] * sketches[1]).sum(axis=1), exact, atol=4 / np.sqrt(SKETCH))
    assert np.abs((sketches[0] * sketched(one, "another run")).sum(axis=1)).max() < 5 / np.sqrt(SKETCH)


def test_more_pairs_than_a_block_holds_are_all_found():
    """Every copy of one pattern is joined with the others, whatever the blocks; other patterns with none."""
    generator = np.random.default_rng(1)
    patterns = generator.normal(0, 30, (2300, LENGTH)).clip(-127, 127).astype(np.int8)
    copies = [3, 1023, 1024, 2299]
    patterns[copies] = (patterns[3] + generator.normal(0, 15, (4, LENGTH))).clip(-127, 127).astype(np.int8)
    pairs = {frozenset(pair[:2]) for pair in alike_pairs(patterns)}
    assert pairs == {frozenset(pair) for pair in combinations(copies, 2)}
