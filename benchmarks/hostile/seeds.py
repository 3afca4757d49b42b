"""Sound files for each reader: a small phantom and run made here, and real files beside a full checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.hostile import targets as read
from benchmarks.hostile.targets import Target, sizable


def targets_of(folder: Path, shared: Path) -> list[Target]:
    """Make the sound files and lay out the targets.

    Args:
        folder: for what is made; it gets `cohort` and `run`, which readers of several files change one file of.
        shared: folder of real files; those that are not there are left out.
    """
    cohort, run = _made(folder)
    data = shared / "data"
    dicom = sizable([*(cohort / "dicom").rglob("*.dcm"), *(data / "decode").glob("*"), *(data / "mg_dicom").glob("*")])
    dicom += sizable((shared / "cases" / "hostile").glob("*.dcm"))
    objects = sizable(
        [*_region_files(folder / "region_files"), *(data / "mri_masks").glob("*.dcm"), *(data / "decode").glob("*.dcm")]
    )
    volumes = sizable([*(data / "ibsi").glob("*.nii.gz"), *(data / "mri_masks").rglob("*.nrrd")])
    volumes += sizable((data / "mri_masks").rglob("*.nii.gz"))
    tables = sizable([cohort / "patients.csv", *(data / "tables").glob("*.csv"), *(data / "clinical").glob("*.csv")])
    tables += sizable((data / "clinical").glob("*.xlsx"))
    configs = Path(__file__).resolve().parents[2] / "configs"
    of_run = sizable([run / name for name in ("config.yaml", "state.json", "environment.json", "predictions.json")])
    rows = [
        Target("header", dicom, read.header),
        Target("pixels", dicom, read.pixels),
        Target("regions", objects, read.region_file),
        Target("patients", [path for path in tables if path.suffix == ".csv"], read.patients),
        Target("declaration", sizable([cohort / "cohort.yaml"]), read.declaration),
        Target("sweep", sizable((configs / "sweeps").glob("*.yaml")), read.sweep_file),
        Target("predictions", [run / "predictions.csv", *tables], read.predictions),
        Target("volume", volumes, read.volume),
        Target("checkpoint", sizable([run / "checkpoints" / "best.ckpt"]), read.checkpoint),
        Target("run", [*of_run, run / "predictions.csv"], read.run_folder),
        Target("kept", sizable((cohort / ".crops").rglob("*.tables")), read.kept_tables),
    ]
    return [row for row in rows if row.files]


REGION_FILES = {
    "coco.json": '{"images": [{"id": 1, "file_name": "A.dcm", "width": 90, "height": 80}], "annotations": [{"id": 1, '
    '"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "segmentation": [[10, 20, 40, 20, 40, 60]]}], '
    '"categories": [{"id": 1, "name": "mass"}]}',
    "labelme.json": '{"version": "5.0", "imagePath": "A.png", "imageHeight": 80, "imageWidth": 90, "imageData": null, '
    '"shapes": [{"label": "mass", "points": [[10, 20], [40, 60]], "shape_type": "rectangle"}]}',
    "via.json": '{"_via_img_metadata": {"A.png-1": {"filename": "A.png", "size": 1, "regions": [{"shape_attributes": '
    '{"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40}, "region_attributes": {"label": "mass"}}]}}}',
    "A.xml": "<annotation><filename>A.png</filename><size><width>90</width><height>80</height><depth>1</depth></size>"
    "<object><name>mass</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object>"
    "</annotation>",
    "boxes.csv": "image_id,region,x_min,y_min,x_max,y_max\nA,primary,10,20,40,60\nB,axilla,1.5,2,3,4\n",
    "A.txt": "0 0.5 0.5 0.2 0.3\n1 0.1 0.2 0.05 0.06\n",
}
"""A box as some tools write it."""


def _region_files(folder: Path) -> list[Path]:
    folder.mkdir()
    for name, text in REGION_FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(folder.iterdir())


def _made(folder: Path) -> tuple[Path, Path]:
    """Write a small phantom, a run trained on it, and its regions in each tool's format."""
    from mammo_aln.phantom.mammography import write_phantom
    from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig
    from mammo_aln.training.train import train_run

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
    return drawn, folder / "run"
