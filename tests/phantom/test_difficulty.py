"""Neither trivial nor hopeless: no simple statistic of a crop stands in for the lesion's size and margin."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammo_aln.phantom.mammography import draw_image, plan_images
from mammo_aln.phantom.plan import center_sizes, plan_patients
from mammo_aln.phantom.truth import Truth

SIDE_PX = 128
LEAST_TRIVIAL_AUC = 0.60


def statistics(crop: np.ndarray) -> dict[str, float]:
    laplacian = float(cv2.Laplacian(crop, cv2.CV_32F).var())
    return {
        "mean": float(crop.mean()),
        "median": float(np.median(crop)),
        "sd": float(crop.std()),
        "dark": float(np.percentile(crop, 10)),
        "bright": float(np.percentile(crop, 90)),
        "sharpness": laplacian,
        "gradient": float(np.abs(np.diff(crop, axis=1)).mean()),
        "relative sharpness": laplacian / float(crop.var()),
    }


def square(image: np.ndarray, x: float, y: float, side: float) -> np.ndarray:
    count = round(side)
    top, left = round(y - side / 2), round(x - side / 2)
    padded = cv2.copyMakeBorder(image, count, count, count, count, cv2.BORDER_CONSTANT, value=0)
    window = padded[top + count : top + 2 * count, left + count : left + 2 * count]
    how = cv2.INTER_AREA if count > SIDE_PX else cv2.INTER_LINEAR
    return cv2.resize(window, (SIDE_PX, SIDE_PX), interpolation=how)


def crops(image: np.ndarray, boxes: dict[str, tuple[float, float, float, float]], mm: float) -> dict[str, np.ndarray]:
    x_min, y_min, x_max, y_max = boxes["primary"]
    x, y, side = (x_min + x_max) / 2, (y_min + y_max) / 2, max(x_max - x_min, y_max - y_min)
    breast = cv2.blur(image, (31, 31)) > 0.08
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    whole = max(rows[-1] - rows[0], columns[-1] - columns[0])
    made = {
        "whole_breast": square(image, (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2, whole),
        "lesion_box": square(image, x, y, side),
        "lesion_margin": square(image, x, y, 1.5 * side),
        "fixed_5cm": square(image, x, y, 50.0 / mm),
    }
    if "axilla" in boxes:
        x_min, y_min, x_max, y_max = boxes["axilla"]
        made["axilla"] = square(image, (x_min + x_max) / 2, (y_min + y_max) / 2, 50.0 / mm)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_no_simple_statistic_of_any_crop_tells_the_outcome(view):
    table = plan_patients(center_sizes(900, 3, None), 17, Truth(), True)
    seen: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for task in plan_images(table.assign(other_breast=False), 17, False):
        if task.who.view != view:
            continue
        drawn, plane, _ = draw_image(task)
        for strategy, crop in crops(drawn.brightness, drawn.boxes, plane.spacing_mm).items():
            for name, value in statistics(crop).items():
                seen.setdefault((strategy, name), []).append((value, table["aln_status"].iat[task.patient_number]))
    for what, pairs in seen.items():
        values, labels = np.array(pairs).T
        auc = roc_auc_score(labels, values)
        assert max(auc, 1.0 - auc) < LEAST_TRIVIAL_AUC, what
