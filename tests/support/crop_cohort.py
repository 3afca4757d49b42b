"""Small cohorts of real DICOM files whose geometry is known in millimetres."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.tables import Cohort, read_cohort
from tests.support.dicom_writer import write_dicom

DOT_SIGMA_MM = 0.7


def mammogram(
    rows: int,
    columns: int,
    row_mm: float,
    column_mm: float,
    *,
    dots_mm: Iterable[tuple[float, float]] = (),
    side: str = "L",
    seed: int = 0,
) -> np.ndarray:
    """12-bit half ellipse with faint grain; bright dots at (x, y) mm from the stored matrix's upper left corner."""
    y, x = (np.mgrid[0:rows, 0:columns] + 0.5) * np.array([row_mm, column_mm])[:, None, None]
    from_wall = x if side == "L" else columns * column_mm - x
    middle = rows * row_mm / 2
    inside = ((y - middle) / (0.42 * rows * row_mm)) ** 2 + (from_wall / (0.75 * columns * column_mm)) ** 2 < 1
    grain = np.random.default_rng(seed).uniform(0.95, 1.05, (rows, columns))
    picture = np.where(inside, 1200.0 * grain, 0.0)
    for dot_x, dot_y in dots_mm:
        picture += 2500.0 * np.exp(-((x - dot_x) ** 2 + (y - dot_y) ** 2) / (2 * DOT_SIGMA_MM**2))
    return np.clip(picture, 0, 4095).astype(np.uint16)


def write_image(
    path: Path, pixels: np.ndarray, *, side: str = "L", view: str = "CC", inverted: bool = False, **tags
) -> Path:
    """A 12-bit mammogram; `inverted` stores it as MONOCHROME1."""
    stored = 4095 - pixels if inverted else pixels
    return write_dicom(
        path,
        stored,
        **{
            "BitsStored": 12,
            "ImageLaterality": side,
            "ViewPosition": view,
            "PatientOrientation": ["A", "R"] if side == "L" else ["P", "L"],
            "PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2",
            **tags,
        },
    )


def write_tables(
    root: Path,
    patients: Iterable[Mapping[str, object]],
    images: Iterable[Mapping[str, object]],
    regions: Iterable[tuple[object, ...]],
) -> Cohort:
    """Write the three tables and read them back."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "cohort.yaml").write_text("name: test\n", encoding="utf-8")
    pd.DataFrame(list(patients)).to_csv(root / "patients.csv", index=False)
    pd.DataFrame(list(images)).to_csv(root / "images.csv", index=False)
    columns = ["image_id", "region", "x_min", "y_min", "x_max", "y_max"]
    pd.DataFrame(list(regions), columns=columns).to_csv(root / "regions.csv", index=False)
    return read_cohort(root)


def patient(patient_id: str, **columns: object) -> dict[str, object]:
    return {"patient_id": patient_id, "center": "a", "aln_status": 1, **columns}


def image(
    image_id: str, patient_id: str, laterality: str = "L", view: str = "CC", **columns: object
) -> dict[str, object]:
    named = {"image_id": image_id, "patient_id": patient_id, "path": f"{image_id}.dcm"}
    return {**named, "laterality": laterality, "view": view, **columns}


def small_cohort(root: Path, count: int, *, rows: int = 300, columns: int = 200, row_mm: float = 0.4) -> Cohort:
    """`count` patients of one left CC image each with one lesion; 0.4 mm pixels by default."""
    root.mkdir(parents=True, exist_ok=True)
    patients, images, regions = [], [], []
    for number in range(count):
        pixels = mammogram(rows, columns, row_mm, row_mm, dots_mm=[(30.0, 60.0)], seed=number)
        write_image(root / f"i{number}.dcm", pixels, ImagerPixelSpacing=[row_mm, row_mm])
        patients.append(patient(f"p{number}", aln_status=number % 2))
        images.append(image(f"i{number}", f"p{number}"))
        regions.append((f"i{number}", "primary", 60, 130, 95, 165))
    return write_tables(root, patients, images, regions)
