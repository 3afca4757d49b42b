"""A small cohort, and all that verbs make of it: where each tortured command begins."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pydicom

PHANTOM = ("phantom", "--patients", "24", "--centers", "2")
SHRUNK = 4
"""Pixels of a phantom's mammogram to one of ours, along each side."""
TINY = """crop: {size_px: 64}
model:
  backbone: resnet50
  backbone_args: {layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], stem_width: 8}
  embed_dim: 8
data: {batch_size: 8, num_workers: 0}
trainer: {max_epochs: 3, accelerator: cpu}
log: {wandb: disabled}
"""
TASK = TINY.replace("max_epochs: 3", "max_epochs: 1") + "pretrain: {labels: [er]}\n"
SWEEP = f"{TINY.replace('max_epochs: 3', 'max_epochs: 1')}grid: {{optim.lr: [0.001, 0.002]}}\n"
FEATURES = 6
PATIENTS = 20
VALIDATING = 4
BEGINNING: tuple[Sequence[str], ...] = (
    ("check", "cohort"),
    ("crop", "cohort", "--crop.size_px=64"),
    ("train", "cohort", "--out", "runs", "--config", "tiny.yaml", "--name", "one"),
    ("train", "cohort", "--out", "runs", "--config", "tiny.yaml", "--name", "two", "--seed", "1"),
    ("predict", "--run", "runs/one", "--cohort", "cohort", "--split", "val", "--out", "one.csv"),
    ("predict", "--run", "runs/two", "--cohort", "cohort", "--split", "val", "--out", "two.csv"),
    ("sweep", "write", "sweep.yaml", "--cohort", "cohort", "--out", "planned", "--engine", "ray"),
    ("sweep", "write", "sweep.yaml", "--cohort", "cohort", "--out", "held", "--engine", "ray"),
    ("sweep", "drop", "0.002", "--out", "held"),
    ("sweep", "run", "sweep.yaml", "--cohort", "cohort", "--out", "swept", "--slots", "1"),
)


def write_beginning(folder: Path, phantom: Path, run: Callable[[Sequence[str]], None]) -> None:
    """Write cohorts at each stage, two runs, their predictions, a planned and a finished sweep.

    Args:
        folder: where commands will run.
        phantom: a phantom cohort of mammograms.
        run: runs one command there.
    """
    patients, images, regions = (pd.read_csv(phantom / f"{name}.csv") for name in ("patients", "images", "regions"))
    patients = patients.groupby("center").head(PATIENTS // 2).reset_index(drop=True)
    patients["aln_status"] = patients.index % 2
    patients["split"] = (
        ["train"] * (PATIENTS // 2 - VALIDATING) + ["val"] * VALIDATING + ["external_test"] * (PATIENTS // 2)
    )
    images = images[images.image_id.isin(regions[regions.region == "primary"].image_id)]
    images = images[images.patient_id.isin(patients.patient_id)]
    regions = regions[regions.image_id.isin(images.image_id)]
    for path in images.path:
        _shrink(phantom / path, folder / "dicom" / Path(path).name)
    images["path"] = ["../dicom/" + Path(path).name for path in images.path]
    edges = ["x_min", "y_min", "x_max", "y_max"]
    regions[edges] = (regions[edges] / SHRUNK).round(2)
    boxes = regions[regions.region == "primary"].merge(images[["image_id", "path"]])
    for name in ("cohort", "unsplit", "boxless"):
        (folder / name).mkdir(parents=True)
        (folder / name / "cohort.yaml").write_bytes((phantom / "cohort.yaml").read_bytes())
        (patients.drop(columns="split") if name == "unsplit" else patients).to_csv(
            folder / name / "patients.csv", index=False
        )
        images.to_csv(folder / name / "images.csv", index=False)
        if name != "boxless":
            regions.to_csv(folder / name / "regions.csv", index=False)
    boxes.assign(label="mass", image=boxes.image_id)[["image", "label", *edges]].to_csv(
        folder / "boxes.csv", index=False
    )
    (folder / "bare").mkdir()
    images[["image_id", "patient_id", "path", "laterality", "view"]].to_csv(folder / "bare/images.csv", index=False)
    patients[["patient_id", "center", "aln_status"]].to_csv(folder / "clinical.csv", index=False)
    features = patients[["patient_id"]].copy()
    for number in range(FEATURES):
        features[f"radiomics_f{number}"] = [
            round(((7 * row + 3) * (number + 2) % 23) / 23 + patients.aln_status[row] * 0.2, 4)
            for row in range(len(patients))
        ]
    features.to_csv(folder / "features.csv", index=False)
    published = images[["patient_id", "image_id", "laterality", "view"]].assign(
        site_id=1, age=50, cancer=0, biopsy=0, invasive=0, density="B"
    )
    for image in images.itertuples():
        copy = folder / f"rsna/train_images/{image.patient_id}/{image.image_id}.dcm"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "dicom" / Path(image.path).name, copy)
    published.to_csv(folder / "rsna/train.csv", index=False)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "task.yaml").write_text(TASK)
    (folder / "sweep.yaml").write_text(SWEEP)
    for words in BEGINNING:
        run(words)


def _shrink(source: Path, target: Path) -> None:
    dataset = pydicom.dcmread(source)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress()
    pixels = dataset.pixel_array[::SHRUNK, ::SHRUNK].copy()
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    for name in ("ImagerPixelSpacing", "PixelSpacing"):
        if name in dataset:
            dataset[name].value = [SHRUNK * float(each) for each in dataset[name].value]
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target, enforce_file_format=True)
