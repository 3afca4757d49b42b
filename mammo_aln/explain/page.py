"""`explain.html`: one self-contained page in the look of the evaluation's report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mammo_aln.evaluation.report.environment import page_environment
from mammo_aln.evaluation.report.page import csv_link
from mammo_aln.evaluation.report.plots import Picture, figure_text, spoken
from mammo_aln.explain.contributions import Contributions
from mammo_aln.explain.figures import change_text, jitter_figure, moves_figure, share_figure, swarm_figure
from mammo_aln.explain.heatmaps import HeatPicture
from mammo_aln.files import write_text

TEMPLATES = page_environment("mammo_aln.explain")
JPEG_QUALITY = 85


@dataclass(frozen=True)
class PatientHeat:
    """One drawn patient: score, how far each input moved the logit (None: absent), whole views and crops."""

    number: int
    split: str
    score: float
    moved: list[tuple[str, float | None]]
    views: list[Picture]
    crops: list[Picture]


def write_page(
    path: Path,
    about: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    contributions: Mapping[str, Contributions],
    heat: Sequence[HeatPicture],
) -> Path:
    """Write the page.

    Args:
        path: the file.
        about: content of `explain.json`.
        tables: `explained_predictions`, `contributions` and `jitter`; the first stays off the page: it names patients.
        contributions: of each split.
        heat: pictures with heat maps.
    """
    shares, jitter = about["contributions"]["splits"], about["jitter"]["splits"]
    features = about["clinical_features"]["splits"]
    threshold = float(about["threshold"]["value"])
    rows = tables["jitter"]
    boxes = list(dict.fromkeys(entry["box"] for entries in jitter.values() for entry in entries))
    feature_pictures = [share_figure(features, "clinical feature")] if features else []
    feature_pictures += [
        _titled(swarm_figure(split.features, "clinical feature"), name)
        for name, split in contributions.items()
        if split.features is not None
    ]
    page = TEMPLATES.get_template("explain.html.j2").render(
        about=about,
        spoken=spoken,
        text=figure_text,
        change=change_text,
        share_pictures=[share_figure(shares)]
        + [_titled(swarm_figure(split.inputs), name) for name, split in contributions.items()],
        feature_pictures=feature_pictures,
        jitter_pictures=[
            _titled(jitter_figure(rows.loc[rows["split"] == split], entry["box"], threshold), split)
            for split, entries in jitter.items()
            for entry in entries
        ],
        move_pictures=[moves_figure(jitter, box) for box in boxes],
        patients=_by_patient(heat, tables["contributions"], about["inputs"]),
        downloads={f"{name}.csv": csv_link(tables[name]) for name in ("contributions", "jitter")},
        fixed=[
            f"{spoken(split)}, box {entry['box'].replace('_', ' ')}"
            for split, entries in jitter.items()
            for entry in entries
            if all(entry["moves"].get(name, {"value": 1})["value"] == 0 for name in ("smaller", "larger"))
        ],
    )
    write_text(path, page)
    return path


def _titled(untitled: Picture, split: str) -> Picture:
    return replace(untitled, alt=f"{spoken(split).capitalize()}: {untitled.alt}")


def _by_patient(heat: Sequence[HeatPicture], rows: pd.DataFrame, inputs: Sequence[str]) -> list[PatientHeat]:
    """Gather the pictures of each drawn patient, whole views first."""
    patients: dict[int, PatientHeat] = {}
    row_of = {row["number"]: row for row in rows.to_dict("records")}
    for drawn in heat:
        row = row_of[drawn.number]
        moved = [
            (name.replace("_", " "), float(row[f"shapley_logit_{name}"]) if row[f"present_{name}"] else None)
            for name in inputs
        ]
        patient = patients.setdefault(
            drawn.number, PatientHeat(drawn.number, row["split"], float(row["score"]), moved, [], [])
        )
        pictures = patient.crops if "_crop_" in drawn.path.name else patient.views
        pictures.append(Picture("", _jpeg(drawn.path), drawn.alt))
    return list(patients.values())


def _jpeg(path: Path) -> str:
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        Image.fromarray(np.asarray(picture.convert("RGB"))).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
