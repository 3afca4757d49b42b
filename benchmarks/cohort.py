"""Cohorts for the benchmarks: MLO views of one size in four transfer syntaxes, each file with bytes of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import yaml
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, generate_uid

from mammo_aln.phantom.breast import Findings, draw_appearance, draw_view
from mammo_aln.phantom.findings import Box
from mammo_aln.phantom.texture import Plane
from mammo_aln.phantom.vendors import VENDORS, Exposure, Identity, Side, stored_values, write_mammogram
from mammo_aln.progress import track

SYNTAXES = {
    "raw": ExplicitVRLittleEndian,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}
FIELD_HEIGHT_MM = 205.0
PICTURES = 4
EXPOSURE = Exposure(1.0, 120.0, 3700.0)
AIR_BELOW = 0.02
QUANTUM_NOISE_SD = 8.0
"""In stored values; tissue then compresses about as badly as in real mammograms."""


def write_bench_cohort(
    folder: Path, rows: int, columns: int, images: int, syntaxes: tuple[str, ...] = tuple(SYNTAXES)
) -> Path:
    """Write `images` 12-bit files, one a patient, the syntaxes in equal parts, with a lesion and an axillary node box.

    Few pictures are drawn and encoded; copies differ in their identifiers, so that no content-keyed cache helps.
    """
    dicom = folder / "dicom"
    dicom.mkdir(parents=True)
    spacing_mm = FIELD_HEIGHT_MM / rows
    system = replace(VENDORS[0], spacing_mm=spacing_mm, geometry="calibrated", magnification=(1.0, 1.0))
    prints: list[tuple[FileDataset, Side, dict[str, Box]]] = []
    for picture in range(PICTURES):
        rng = np.random.default_rng([7, picture])
        findings = Findings(20.0, picture % 2 == 0, 9.0, picture % 2 == 1)
        drawn = draw_view("MLO", Plane(rows, columns, spacing_mm), draw_appearance(20.0, rng), findings, rng)
        quantum = np.rint(rng.normal(0.0, QUANTUM_NOISE_SD, (rows, columns))).astype(np.int16)
        stored = stored_values(drawn.brightness, system, EXPOSURE)
        stored = np.clip(stored + quantum * (drawn.brightness > AIR_BELOW), 0, 4095).astype(np.uint16)
        side: Side = "L" if picture % 2 == 0 else "R"
        boxes = drawn.boxes
        if side == "R":
            stored = np.ascontiguousarray(stored[:, ::-1])
            boxes = {name: (columns - box[2], box[1], columns - box[0], box[3]) for name, box in boxes.items()}
        who = Identity("bench", f"bench{picture}", "center_a", side, "MLO")
        for syntax in syntaxes:
            path = folder / "print.dcm"
            write_mammogram(path, stored, replace(system, syntax=SYNTAXES[syntax]), EXPOSURE, who, False)
            prints.append((pydicom.dcmread(path), side, boxes))
            path.unlink()
    patients, listed, regions = [], [], []
    # Syntaxes alternate, so that two processes share them evenly.
    for number in track(range(images), total=images, what="files", unit="file"):
        dataset, side, boxes = prints[number % len(prints)]
        name = f"p{number:06d}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", name])
        dataset.PatientID = name
        dataset.save_as(dicom / f"{name}.dcm", enforce_file_format=True)
        patients.append({"patient_id": name, "center": "center_a", "aln_status": number % 2})
        location = {"path": f"dicom/{name}.dcm", "laterality": side, "view": "MLO"}
        listed.append({"image_id": name, "patient_id": name, **location})
        for region, box in boxes.items():
            edges = dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))
            regions.append({"image_id": name, "region": region, **edges})
    pd.DataFrame(patients).to_csv(folder / "patients.csv", index=False)
    pd.DataFrame(listed).to_csv(folder / "images.csv", index=False)
    pd.DataFrame(regions).to_csv(folder / "regions.csv", index=False)
    (folder / "cohort.yaml").write_text(yaml.safe_dump({"name": folder.name}))
    return folder


def build_store(
    cohort: Path,
    store: Path,
    *,
    strategy: str,
    size_px: int = 256,
    auxiliary: tuple[str, ...] = ("axilla",),
    outcome: bool = True,
    workers: int | None = None,
) -> None:
    """Build the crops of a cohort that the store lacks."""
    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.crops.build import build_crops
    from mammo_aln.settings import CropConfig, PixelConfig

    crop = CropConfig(strategy=strategy, size_px=size_px, auxiliary=auxiliary)
    build_crops(read_cohort(cohort, outcome=outcome), PixelConfig(), crop, store=store, workers=workers)
