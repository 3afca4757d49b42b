"""Start of a cell whose crops are all in the store, on a cohort that is made large by repeating records."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.page import OUT, ROOT, Section, table
from benchmarks.rounds import Times
from benchmarks.trainings import Plan, write_cohort
from mammo_aln.cohort.likeness.fingerprint import FINGERPRINT_VERSION
from mammo_aln.cohort.likeness.twins import KEPT_FILE
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.build import build_crops
from mammo_aln.crops.keys import CropJob, CropKeys
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.store.records import ContentRecord
from mammo_aln.crops.store.store import SegmentWriter
from mammo_aln.dicom.archive import file_key
from mammo_aln.settings import Settings

SIZE_PX = 64
TEMPLATE_PATIENTS = 24
BLOCK = 2000
"""Crops that are appended in one go."""

START = """
import json, sys, time
from pathlib import Path
from dataclasses import replace
from benchmarks.known_crops import settings_of_cell
from mammo_aln.training import train
from mammo_aln.training.data.base import read_for
seconds = {}
class Begun(Exception): pass
def first_batch(run, data, *rest):
    next(iter(data.train_dataloader()))
    seconds["to the first batch"] = time.perf_counter() - begun
    seconds["of a processor"] = time.process_time() - worked
    raise Begun
train.fit_module = first_batch
settings = settings_of_cell()
begun, worked = time.perf_counter(), time.process_time()
cohort = read_for(settings.model.inputs, Path(sys.argv[1]), Path(sys.argv[4]))
seconds["tables read"] = time.perf_counter() - begun
seconds["tables read, of a processor"] = time.process_time() - worked
cells = []
for seed in range(int(sys.argv[3])):
    begun, worked = time.perf_counter(), time.process_time()
    try:
        train.train_run(cohort, Path(sys.argv[2]), replace(settings, seed=seed), store=Path(sys.argv[4]))
    except Begun:
        pass
    cells.append(dict(seconds))
print(json.dumps(cells))
"""
"""A slot's process: tables once, then cells one after the other, each up to the first batch of its training."""


CLOCKS = {
    "wall": ("tables read", "to the first batch"),
    "of a processor": ("tables read, of a processor", "of a processor"),
}


def start(images: int = 100_000, cells: int = 3, processes: int = 3, out: Path = OUT / "known-crops") -> Section:
    """Seconds from a cell's start to its first batch where every crop is known.

    Args:
        images: images of the cohort, four a patient.
        cells: cells that one process starts one after the other.
        processes: that start on what the first one has kept.
        out: folder of its own, made anew.
    """
    shutil.rmtree(out, ignore_errors=True)
    cohort = repeated_cohort(out, images)
    words = [sys.executable, "-c", START, str(cohort)]
    known: dict[str, list[float]] = {}
    rows = []
    for number in range(1 + processes):
        runs = out / f"process-{number}"
        run = subprocess.run(
            [*words, str(runs), str(cells), str(out / "store")], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        figures = json.loads(run.stdout)
        for clock, (tables, cell) in CLOCKS.items():
            own = {
                f"tables, {clock}": [figures[0][tables]],
                f"its first cell, {clock}": [figures[0][cell]],
                f"both, {clock}": [figures[0][tables] + figures[0][cell]],
                f"a later cell, {clock}": [figure[cell] for figure in figures[1:]],
            }
            if number == 0:
                rows += [[f"first process: {name}", Times(tuple(own[name])).words(digits=2)] for name in own]
            else:
                for name, seconds in own.items():
                    known.setdefault(name, []).extend(seconds)
    rows += [[f"a later process: {name}", Times(tuple(seconds)).words(digits=2)] for name, seconds in known.items()]
    about = (
        f"{images:,} images of {images // 4:,} patients, one crop each, made by repeating the records of "
        f"{TEMPLATE_PATIENTS} phantom patients; the first cell of the first process keeps tables and crop table; "
        f"{processes} later processes; libraries imported before the clock runs; a cell ends with its first batch; "
        "median (range) of wall time, and of processor time, which other work on the machine lengthens least"
    )
    return Section("Start of a cell whose crops are known", about, table(["start", "seconds"], rows))


def settings_of_cell() -> Settings:
    """Settings of a small cell that reads the whole breast."""
    small = Plan(size_px=SIZE_PX).settings(("primary",), 0, strategy="whole_breast")
    return replace(small, crop=replace(small.crop, auxiliary=()))


def repeated_cohort(out: Path, images: int) -> Path:
    """Write a cohort whose files are names alone, and a store that knows a crop of each."""
    template = write_cohort(out / "template", patients=TEMPLATE_PATIENTS, external=4)
    settings = settings_of_cell()
    folder, store = out / "cohort", out / "store"
    known = build_crops(
        read_cohort(template, need=("patients", "images")), settings.pixels, settings.crop, store=out / "template-store"
    )
    reader = known.open_store()
    crops = [reader.crop(key) for key in known.table["key"]]
    _write_tables(folder, images // 4)
    cohort = read_cohort(folder, need=("patients", "images"))
    job = CropJob(settings.pixels, settings.crop, store)
    plan = plan_crops(cohort, settings.crop)
    contents = {image.image_id: hashlib.sha256(image.image_id.encode()).hexdigest() for image in plan.images}
    keys = CropKeys.of(plan.images, contents, job)
    writer = SegmentWriter(store)
    for begin in range(0, len(plan.images), BLOCK):
        block = plan.images[begin : begin + BLOCK]
        records = []
        for number, image in enumerate(block):
            records.append(ContentRecord(file_key(image.path), contents[image.image_id]))
            own = reader.image(crops[number % len(crops)].image)
            records.append(replace(own, key=keys.images[image.image_id]))
        cut = [
            (
                replace(crops[number % len(crops)], key=key, image=keys.images[request.image_id]),
                crops[number % len(crops)].key,
            )
            for number, (key, request) in enumerate(keys.requests(*block))
        ]
        writer.append(records, [(record, reader.read_surround(source)) for record, source in cut])
    writer.close()
    with (store / KEPT_FILE).open("w", encoding="ascii") as kept:
        for image in plan.images:
            mark = {"matrix": contents[image.image_id], "negative": False, "texture": ""}
            kept.write(json.dumps({"version": FINGERPRINT_VERSION, "key": file_key(image.path), **mark}) + "\n")
    return folder


def _write_tables(folder: Path, patients: int) -> None:
    """Write the tables of so many patients, with four files of one byte each."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(patients):
        name = f"P{number:06d}"
        (folder / "dicom" / name).mkdir(parents=True)
        for side in "LR":
            for view in ("CC", "MLO"):
                path = Path("dicom") / name / f"{side}-{view}.dcm"
                (folder / path).write_bytes(b"x")
                rows.append([f"{name}-{side}-{view}", name, path.as_posix(), side, view])
    images = pd.DataFrame(rows, columns=["image_id", "patient_id", "path", "laterality", "view"])
    images.to_csv(folder / "images.csv", index=False)
    sides = [
        (f"P{number:06d}", side, "val" if number % 5 == 0 else "train") for number in range(patients) for side in "LR"
    ]
    people = pd.DataFrame(sides, columns=["patient_id", "side", "split"])
    people = people.assign(center="a", aln_status=(people["side"] == "L").astype(int))
    people.to_csv(folder / "patients.csv", index=False)
    (folder / "cohort.yaml").write_text("name: repeated\n", encoding="utf-8")
