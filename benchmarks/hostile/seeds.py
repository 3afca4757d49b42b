"""Sound files for each reader: a small phantom, a run and a sweep made here, and real files beside a full checkout."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from benchmarks.hostile import readers as read
from benchmarks.hostile import verbs
from benchmarks.hostile.targets import Target, sizable
from benchmarks.page import ROOT

CHANGED = ("cohort", "run", "swept")
"""Folders one of whose files is changed by each input of some readers: each process has its own copy."""
RUN_FILES = ("config.yaml", "state.json", "environment.json", "predictions.json", "predictions.csv", "metrics.csv")


def targets_of(folder: Path, shared: Path) -> list[Target]:
    """Make the sound files and lay out the targets; shares, of 10,000, grow with what each reads in a second.

    Args:
        folder: for what is made; it gets the folders of `CHANGED`.
        shared: folder of real files; those that are not there are left out.
    """
    cohort = _made(folder)
    data, run = shared / "data", folder / "run"
    dicom = sizable([*(cohort / "dicom").rglob("*.dcm"), *(data / "decode").glob("*"), *(data / "mg_dicom").glob("*")])
    dicom += sizable((shared / "cases" / "hostile").glob("*.dcm"))
    objects = sizable(
        [
            *_region_files(folder / "region_files"),
            *(data / "mri_masks").glob("*.dcm"),
            *(data / "decode").glob("liver*"),
        ]
    )
    segs = sizable([*(shared / "cases" / "case01").glob("*.dcm"), *(data / "mri_masks").glob("*.dcm")])
    volumes = sizable([*(data / "ibsi").glob("*.nii.gz"), *_small_volumes(folder)])
    volumes += sizable([*(folder / "region_files").glob("*.n*"), *segs])
    own = sizable([*cohort.glob("*.csv"), *_workbooks(cohort, folder)])
    published = sizable([*(data / "tables").glob("*.csv"), *(data / "clinical").glob("*.csv")])
    published += sizable((data / "clinical").glob("*.xlsx"))
    clinical = [_clinical(cohort, folder), *published[:1]]
    configs = ROOT / "configs"
    of_run = sizable([*(run / name for name in RUN_FILES), *run.glob("*.json")])
    swept = _named_by_path(folder / "swept", folder / "of_sweep")
    checkpoints = sizable([run / "checkpoints" / "best.ckpt"])
    segments = sizable((cohort / ".crops" / "segments").glob("*.jsonl"))
    rows = [
        Target("header", dicom, read.header, 5800),
        Target("header in a ZIP", _zipped(cohort, folder), read.archive, 600),
        Target("DICOMweb answer", _answers(cohort, folder), read.answer, 800),
        Target("pixels", dicom, read.pixels, 200),
        Target("regions", objects, read.region_file, 400),
        Target("volume or mask", volumes, read.volume, 6),
        Target("cohort's tables", own, read.table_of_cohort, 15),
        Target("cohort.yaml", sizable([cohort / "cohort.yaml"]), read.declaration, 15),
        Target("clinical table", clinical, verbs.clinical_table, 15),
        Target("published table", published, verbs.published_table, 15),
        Target("features", [_features(folder)], read.features, 40),
        Target("predictions", [*sizable(run.glob("predictions.*")), *published[:1]], read.predictions, 150),
        Target("sweep's file", sizable((configs / "sweeps").glob("*.yaml")), read.sweep_file, 15),
        Target("--config", sizable([*configs.rglob("*.yaml"), run / "config.yaml"]), read.config, 15),
        Target("checkpoint", checkpoints, read.checkpoint, 100),
        Target("weights", [*checkpoints, _safetensors(folder)], read.weights, 200),
        Target("run", of_run, verbs.run_folder, 30),
        Target("run, by verbs", of_run, verbs.run_verbs, 12),
        Target("sweep, by verbs", swept, verbs.sweep_folder, 12),
        Target("ledger", [_ledger(folder)], verbs.ledger, 800),
        Target("kept tables", sizable((cohort / ".crops" / "frozen").glob("*")), read.kept_tables, 400),
        Target("kept crops", segments, read.kept_crops, 360),
    ]
    return [row for row in rows if row.files]


def _region_files(folder: Path) -> list[Path]:
    """Write a box in each tool's form and as DICOM SEG, GSPS, CAD SR, RTSTRUCT and masks, by the tests' writers."""
    from tests.cohort.annotations import test_binary_regions as objects
    from tests.support import annotation_files as tools
    from tests.support.annotated_cohort import write_annotated_cohort

    folder.mkdir()
    pictures = [("a", 80, 60, (5.0, 6.0, 20.0, 30.0)), ("b", 80, 60, (7.0, 8.0, 21.0, 33.0))]
    writers = (
        tools.coco, tools.yolo, tools.labelme, tools.voc, tools.via_2, tools.via_1_csv, tools.via_3, tools.cvat,
        tools.label_studio, tools.label_studio_min, lambda at, boxes: tools.slicer(at, boxes, 0.5), tools.inbreast,
    )  # fmt: skip
    for number, writer in enumerate(writers):
        (folder / str(number)).mkdir()
        writer(folder / str(number), pictures)
    annotated = write_annotated_cohort(folder / "annotated")
    for number, write in enumerate((objects.write_seg, objects.write_gsps, objects.write_cad, objects.write_rtstruct)):
        (folder / f"object{number}").mkdir()
        write(annotated, folder / f"object{number}", 0)
    for write in (objects.write_png, objects.write_nifti, objects.write_nrrd):
        write(annotated, folder, 0)
    rows = "A,primary,10,20,40,60\nB,axilla,1,2,3,4\n"
    (folder / "boxes.csv").write_text("image_id,region,x_min,y_min,x_max,y_max\n" + rows)
    shutil.rmtree(folder / "annotated" / "dicom")
    return [path for path in folder.rglob("*") if "annotated" not in path.parts]


def _named_by_path(folder: Path, out: Path) -> list[Path]:
    """Copy a sweep's small files flat, each named by its path in the folder."""
    out.mkdir()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".csv", ".yaml", ".log"):
            name = str(path.relative_to(folder)).replace("/", verbs.STAND_IN)
            if path.parent == folder or any(cell in name for cell in ("000000000000", "00000000000a")):
                shutil.copyfile(path, out / name)
    return sizable(out.iterdir())


def _small_images(cohort: Path) -> list[Path]:
    return sorted((cohort / "dicom").rglob("*.dcm"), key=lambda path: path.stat().st_size)[:2]


def _zipped(cohort: Path, folder: Path) -> list[Path]:
    files = _small_images(cohort)
    for name, method in (("stored.zip", zipfile.ZIP_STORED), ("packed.zip", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / name, "w", method) as archive:
            for path in files:
                archive.write(path, path.name)
    return sizable([folder / "stored.zip", folder / "packed.zip"])


def _answers(cohort: Path, folder: Path) -> list[Path]:
    content = _small_images(cohort)[0].read_bytes()[:20_000]
    (folder / "answer").write_bytes(
        b"--b0\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b0--\r\n",
    )
    return [folder / "answer"]


def _workbooks(cohort: Path, folder: Path) -> list[Path]:
    import pandas as pd

    for name in ("patients", "images"):
        pd.read_csv(cohort / f"{name}.csv", dtype=str).to_excel(folder / f"{name}.xlsx", index=False)
    return [folder / "patients.xlsx", folder / "images.xlsx"]


def _small_volumes(folder: Path) -> list[Path]:
    """Write a volume of three axes and a stated spacing in each form: real ones take a second each."""
    import numpy as np
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.arange(480, dtype=np.int16).reshape(6, 8, 10))
    image.SetSpacing((0.7, 0.8, 3.0))
    for ending, packed in ((".nii", False), (".nii.gz", True), (".nrrd", True), (".mha", True), (".mhd", False)):
        sitk.WriteImage(image, str(folder / f"volume{ending}"), useCompression=packed)
    return sizable(folder.glob("volume.*"))


def _clinical(cohort: Path, folder: Path) -> Path:
    import pandas as pd

    names = pd.read_csv(cohort / "patients.csv", dtype=str)["patient_id"].tolist()
    rows = [f"{name};{40 + n},5;{'positiv' if n % 3 else 'negativ'};{n % 2};cT{n % 4}" for n, name in enumerate(names)]
    path = folder / "clinical.csv"
    path.write_text("\n".join(["PatID;Alter;ER;ypN;cT", *rows]) + "\n", encoding="utf-8")
    return path


def _features(folder: Path) -> Path:
    lines = [f"p{n},{n}.5,{n * n},1e-{n},{-n}" for n in range(6)]
    path = folder / "features.csv"
    path.write_text("\n".join(["patient_id,radiomics_a,radiomics_b,deep_0001,deep_0002", *lines]) + "\n")
    return path


def _safetensors(folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    save_file({"conv.weight": torch.ones(4, 3), "norm.bias": torch.zeros(7)}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def _ledger(folder: Path) -> Path:
    from mammo_aln.runs.ledger import Choice, Opening, Plan, Scored, append

    day = "2026-01-01T00:00:00+00:00"
    entries = (
        Plan(day, "p1", "c1", "hospital", ["r1", "r2"], ["external_test"], "lesion_box, 2 seeds", 1),
        Choice(day, "p1", "c1", "hospital", ["r1"], 2),
        Scored(day, "r1", "c1", "hospital", "external_test", "predict", ["a1", "b2"]),
        Opening(day, "r1", "c1", "hospital", "external_test", 40, "p1", {"clinical": 2}, ["a1"], "f0"),
    )
    with (folder / "openings.jsonl").open("a+", encoding="utf-8") as stream:
        for entry in entries:
            append(stream, entry)
    return folder / "openings.jsonl"


def _made(folder: Path) -> Path:
    """Write a small phantom, a run trained on it, and a sweep; returns the phantom."""
    from mammo_aln.phantom.mammography import write_phantom
    from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig
    from mammo_aln.sweeps.freezing import freeze
    from mammo_aln.training.train import train_run
    from tests.support.simulated_sweep import simulated_sweep

    drawn = folder / "drawn"
    write_phantom(drawn, patients=24, centers=3, seed=1)
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_width": 8}
    settings = Settings(
        crop=CropConfig(size_px=64),
        model=ModelConfig(backbone="resnet50", backbone_args=small, embed_dim=8),
        data=DataConfig(batch_size=8),
        trainer=TrainerConfig(max_epochs=1, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
    )
    run = train_run(drawn, folder / "runs", settings)
    shutil.copytree(run, folder / "run")
    cohort = folder / "cohort"
    cohort.mkdir()
    for path in (*drawn.glob("*.csv"), drawn / "cohort.yaml"):
        shutil.copyfile(path, cohort / path.name)
        shutil.copyfile(path, cohort / f"{path.name}.sound")
    freeze(simulated_sweep(folder / "swept", seeds=1, n=30, unfinished=4))
    return drawn
