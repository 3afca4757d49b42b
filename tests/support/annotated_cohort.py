"""A cohort of ten small mammograms of different sizes, one planted box on the breast of each."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.crop_cohort import mammogram, write_image

Edges = tuple[float, float, float, float]
BOX = ["x_min", "y_min", "x_max", "y_max"]
SIZES = [(120 + 8 * i, 80 + 6 * i) for i in range(10)]  # rows, columns
SPACING_MM = 0.5


def image_name(index: int) -> str:
    return f"{'LR'[index % 2]}_CC_{index}"


def uid_of(index: int) -> str:
    return f"1.2.826.0.1.3680043.{index}"


def planted_box(index: int) -> Edges:
    """On the breast near the chest wall, above or below the nipple line, never symmetrical."""
    rows, columns = SIZES[index]
    across, down = (0.05 + 0.02 * (index % 4)) * columns, (0.28 + 0.05 * (index % 7)) * rows
    width, height = 10.0 + index, 14.0 + index
    x_min = across if index % 2 == 0 else columns - across - width
    return x_min, down, x_min + width, down + height


def write_annotated_cohort(root: Path) -> Path:
    """Images in one folder per patient, without `regions.csv`."""
    patients, images = [], []
    for index, (rows, columns) in enumerate(SIZES):
        side = "LR"[index % 2]
        path = Path("dicom") / f"p{index}" / f"{image_name(index)}.dcm"
        pixels = mammogram(rows, columns, SPACING_MM, SPACING_MM, side=side, seed=index)
        x_min, y_min, x_max, y_max = (round(edge) for edge in planted_box(index))
        pixels[y_min:y_max, x_min:x_max] = np.minimum(pixels[y_min:y_max, x_min:x_max] + 1200, 4095)
        write_image(root / path, pixels, side=side, ImagerPixelSpacing=[SPACING_MM] * 2, SOPInstanceUID=uid_of(index))
        patients.append({"patient_id": f"p{index}", "center": "A", "aln_status": index % 2})
        images.append(
            {"image_id": f"im{index}", "patient_id": f"p{index}", "path": path, "laterality": side, "view": "CC"}
        )
    pd.DataFrame(patients).to_csv(root / "patients.csv", index=False)
    pd.DataFrame(images).to_csv(root / "images.csv", index=False)
    return root


def linked_cohort(written: Path, root: Path) -> Path:
    """Copies of the tables beside a link to the images, for one test to write in."""
    root.mkdir()
    for table in written.glob("*.*"):
        shutil.copy(table, root)
    (root / "dicom").symlink_to(written / "dicom")
    return root


def planted_table(change: str = "") -> pd.DataFrame:
    """All planted boxes: file name, corners, the image's size; `change` draws them on another picture."""
    table = pd.DataFrame([planted_box(index) for index in range(len(SIZES))], columns=BOX)
    table.insert(0, "image", [f"{image_name(index)}.png" for index in range(len(SIZES))])
    rows, columns = (np.array([size[axis] for size in SIZES]) for axis in (0, 1))
    right = np.arange(len(SIZES)) % 2 == 1
    if change == "exchanged":
        table[BOX] = table[["y_min", "x_min", "y_max", "x_max"]].to_numpy()
    elif change == "half":
        table[BOX] = table[BOX] / 2
    elif change == "double":
        table[BOX] = table[BOX] * 2
    elif change == "longer_side":
        table[BOX] = table[BOX].mul(32 / rows, axis=0)
    elif change == "square":
        table[["x_min", "x_max"]] = table[["x_min", "x_max"]].mul(32 / columns, axis=0)
        table[["y_min", "y_max"]] = table[["y_min", "y_max"]].mul(32 / rows, axis=0)
    elif change in ("flipped", "flipped_right"):
        flipped = np.stack([columns - table["x_max"], columns - table["x_min"]], axis=1)
        some = right | (change == "flipped")
        table.loc[some, ["x_min", "x_max"]] = flipped[some]
    elif change in ("upside_down", "half_turn"):
        table[["y_min", "y_max"]] = np.stack([rows - table["y_max"], rows - table["y_min"]], axis=1)
        if change == "half_turn":
            table[["x_min", "x_max"]] = np.stack([columns - table["x_max"], columns - table["x_min"]], axis=1)
    elif change == "shares":
        table[["x_min", "x_max"]] = table[["x_min", "x_max"]].div(columns, axis=0)
        table[["y_min", "y_max"]] = table[["y_min", "y_max"]].div(rows, axis=0)
    return table


def imported_boxes(root: Path) -> dict[str, list[Edges]]:
    """Edges by image_id as they stand in `regions.csv`."""
    boxes: dict[str, list[Edges]] = {}
    for row in pd.read_csv(root / "regions.csv").itertuples():
        boxes.setdefault(row.image_id, []).append((row.x_min, row.y_min, row.x_max, row.y_max))
    return boxes
