"""A cohort of synthetic mammograms whose outcome is known: `write_phantom`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from mammo_aln.files import folder_whole, write_csv, write_text
from mammo_aln.machine.pool import results_of
from mammo_aln.phantom.breast import DrawnView, Findings, View, draw_appearance, draw_view
from mammo_aln.phantom.findings import Box, draw_marker
from mammo_aln.phantom.plan import center_sizes, plan_patients
from mammo_aln.phantom.reading import read_lesions
from mammo_aln.phantom.texture import Plane
from mammo_aln.phantom.truth import LEVELS, SUBSETS, Truth
from mammo_aln.phantom.vendors import (
    VENDORS,
    Exposure,
    Identity,
    Side,
    Vendor,
    breast_spacing_mm,
    chest_wall_left,
    stored_values,
    write_mammogram,
)
from mammo_aln.progress import track

WRITTEN_VIEWS: tuple[View, ...] = ("CC", "MLO")
FIELD_MM = (120.0, 180.0)
"""Width and height of the field of view in the plane of the breast."""
FACTORS = ("size_mm", "spiculated", "node_short_mm", "hilum_lost", "er", "her2", "ct", "age")
CLINICAL: dict[str, dict[str, str | list[str]]] = {
    "age": {"kind": "continuous", "unit": "years", "known_at": "baseline"},
    "er": {"kind": "categorical", "levels": list(LEVELS["er"]), "known_at": "baseline"},
    "her2": {"kind": "categorical", "levels": list(LEVELS["her2"]), "known_at": "baseline"},
    "ct": {"kind": "ordinal", "levels": list(LEVELS["ct"]), "known_at": "baseline"},
}


@dataclass(frozen=True)
class ImageTask:
    """One image to draw and write; everything a worker needs."""

    seed: int
    patient_number: int
    size_mm: float
    vendor: Vendor
    who: Identity
    findings: Findings | None
    path: str
    full_size: bool


def write_phantom(
    out: str | Path,
    *,
    patients: int = 300,
    centers: int = 3,
    seed: int = 0,
    full_size: bool = False,
    shuffle_labels: bool = False,
    internal_test: bool = True,
    external_patients: int | None = None,
    workers: int | None = None,
) -> Path:
    """Write a cohort folder of synthetic mammograms with the truth beside it.

    Args:
        out: folder to make; it appears when all is written. An empty folder is taken over.
        patients: patients in all.
        centers: centres, each with its own vendor; the last one is the external test.
        seed: the same seed gives the same files, whatever the number of workers.
        full_size: pixels of 0.065 to 0.09 mm in place of 0.14 to 0.19 mm.
        shuffle_labels: labels that depend on nothing: every Bayes AUC is 0.5.
        internal_test: keep an internal test split beside training and validation.
        external_patients: patients of the external centre; by default as many as the others have.
        workers: processes; by default one per core.

    Returns:
        The cohort folder: `cohort.yaml`, `patients.csv`, `images.csv`, `regions.csv`, `dicom/`; `truth.csv` (per
        patient: the factors, the probability that generated the label, and for every subset of the inputs the best
        probability and the Bayes AUC at the patient's centre); `bayes_auc.csv` (centre or `all`, inputs, bayes_auc).

    Raises:
        InputError: too few patients or centres, or `out` holds something.
    """
    truth = Truth(strength=0.0 if shuffle_labels else 1.0)
    sizes = center_sizes(patients, centers, external_patients)
    table = plan_patients(sizes, seed, truth, internal_test)
    with folder_whole(Path(out)) as folder:
        tasks = plan_images(table, seed, full_size)
        boxes = _draw_all(tasks, folder, workers)
        _write_tables(folder, table, tasks, boxes, seed)
        _write_truth(folder, table, truth)
    return Path(out)


def declare(folder: Path, name: str) -> None:
    """Write the cohort's declaration: its name, label and clinical features."""
    label = {"column": "aln_status", "meaning": "1 = residual nodal metastasis after NAT, 0 = ypN0"}
    declaration = {"name": name, "label": label, "clinical": CLINICAL}
    write_text(folder / "cohort.yaml", yaml.safe_dump(declaration, sort_keys=False))


def plan_images(table: pd.DataFrame, seed: int, full_size: bool) -> list[ImageTask]:
    """The images of every patient: one or two of the treated side, and for some both of the other."""
    tasks = []
    for number, row in enumerate(table.to_dict("records")):
        findings = Findings(row["size_mm"], bool(row["spiculated"]), row["node_short_mm"], bool(row["hilum_lost"]))
        treated = [view for view in WRITTEN_VIEWS if row[f"has_{view.lower()}"]]
        shown: list[tuple[Side, View, Findings | None]] = [(row["side"], view, findings) for view in treated]
        if row["other_breast"]:
            other: Side = "R" if row["side"] == "L" else "L"
            shown += [(other, view, None) for view in WRITTEN_VIEWS]
        for side, view, seen in shown:
            name = f"{row['patient_id']}_{side}_{view}"
            who = Identity(row["patient_id"], name, row["center"], side, view)
            path = f"dicom/{row['center']}/{row['patient_id']}/{name}.dcm"
            vendor = VENDORS[row["center_index"] % len(VENDORS)]
            tasks.append(ImageTask(seed, number, row["size_mm"], vendor, who, seen, path, full_size))
    return tasks


def draw_image(task: ImageTask) -> tuple[DrawnView, Plane, Exposure]:
    """Draw one image, chest wall on the left; a patient's images share an appearance and nothing else."""
    look = draw_appearance(task.size_mm, np.random.default_rng([task.seed, 1, task.patient_number]))
    position = ["L_CC", "L_MLO", "R_CC", "R_MLO"].index(f"{task.who.laterality}_{task.who.view}")
    rng = np.random.default_rng([task.seed, 2, task.patient_number, position])
    exposure = Exposure.draw(task.vendor, rng)
    spacing_mm = breast_spacing_mm(task.vendor, exposure, task.full_size)
    plane = Plane(round(FIELD_MM[1] / spacing_mm), round(FIELD_MM[0] / spacing_mm), spacing_mm)
    return draw_view(task.who.view, plane, look, task.findings, rng), plane, exposure


def _write_image(task: ImageTask, folder: Path) -> dict[str, Box]:
    """Draw, flip as the vendor stores it, label and write one image; its boxes in the stored matrix."""
    drawn, plane, exposure = draw_image(task)
    flipped = not chest_wall_left(task.vendor, task.who.laterality)
    brightness = np.ascontiguousarray(drawn.brightness[:, ::-1]) if flipped else drawn.brightness
    height_px = round(5.0 / plane.spacing_mm)
    x_px = round(4.0 / plane.spacing_mm) if flipped else plane.columns
    draw_marker(brightness, f"{task.who.laterality} {task.who.view}", x_px, round(4.0 / plane.spacing_mm), height_px)
    path = folder / task.path
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = stored_values(brightness, task.vendor, exposure)
    write_mammogram(path, stored, task.vendor, exposure, task.who, task.full_size)
    if not flipped:
        return drawn.boxes
    return {name: (plane.columns - box[2], box[1], plane.columns - box[0], box[3]) for name, box in drawn.boxes.items()}


def _draw_all(tasks: list[ImageTask], folder: Path, workers: int | None) -> list[dict[str, Box]]:
    drawn = results_of(partial(_write_image, folder=folder), tasks, workers)
    boxes = track(drawn, total=len(tasks), what="phantom", unit="images")
    return [boxes_of_image for _, boxes_of_image in sorted(boxes, key=itemgetter(0))]


def _write_tables(
    folder: Path, table: pd.DataFrame, tasks: list[ImageTask], boxes: list[dict[str, Box]], seed: int
) -> None:
    # Other patients bear the same numbers in a phantom of another seed or size: by their names cohorts differ.
    declare(folder, f"phantom-{len(table)}-{seed}")
    patients = table[["patient_id", "center", "side", "aln_status", "split"]].copy()
    for feature in CLINICAL:
        patients[feature] = table[feature].astype(object).where(table[f"{feature}_recorded"], "")
    # Labels to pre-train on. Not declared as clinical features: they can never be inputs.
    patients = patients.join(read_lesions(table, np.random.default_rng([seed, 3])))
    write_csv(folder / "patients.csv", patients)
    images = [(task.who.image_id, task.who.patient_id, task.path, task.who.laterality, task.who.view) for task in tasks]
    columns = ["image_id", "patient_id", "path", "laterality", "view"]
    write_csv(folder / "images.csv", pd.DataFrame(images, columns=columns))
    regions = [
        (task.who.image_id, region, *box)
        for task, drawn in zip(tasks, boxes, strict=True)
        for region, box in drawn.items()
    ]
    columns = ["image_id", "region", "x_min", "y_min", "x_max", "y_max"]
    write_csv(folder / "regions.csv", pd.DataFrame(regions, columns=columns).round(3))


def bayes_table(table: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """Bayes AUC of every subset of the inputs, per centre and for `all`: columns center, inputs, bayes_auc."""
    intercepts = dict(zip(table["center"], table["intercept"].astype(float), strict=True))
    mixes = {center: {intercept: 1.0} for center, intercept in intercepts.items()}
    mixes["all"] = {value: float((table["intercept"] == value).mean()) for value in sorted(set(intercepts.values()))}
    rows = [
        (center, "+".join(subset), truth.bayes_auc(subset, mix)) for center, mix in mixes.items() for subset in SUBSETS
    ]
    return pd.DataFrame(rows, columns=["center", "inputs", "bayes_auc"])


def _write_truth(folder: Path, table: pd.DataFrame, truth: Truth) -> None:
    bayes = bayes_table(table, truth)
    write_csv(folder / "bayes_auc.csv", bayes)
    truth_table = table[["patient_id", "center", "split", "aln_status", "probability"]].copy()
    intercept = table["intercept"].to_numpy(float)
    for subset in SUBSETS:
        truth_table[f"probability_{'+'.join(subset)}"] = truth.posterior(subset, table, intercept)
    wide = bayes.pivot(index="center", columns="inputs", values="bayes_auc")
    for subset in SUBSETS:
        inputs = "+".join(subset)
        truth_table[f"bayes_auc_{inputs}"] = table["center"].map(wide[inputs])
    write_csv(folder / "truth.csv", pd.concat([truth_table, table[list(FACTORS)]], axis=1))
