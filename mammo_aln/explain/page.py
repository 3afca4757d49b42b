"""`explain.html`: one self-contained page in the look of the evaluation's report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mammo_aln.evaluation.report.page import csv_link, page_environment
from mammo_aln.evaluation.report.plots import Picture, figure_text, spoken
from mammo_aln.explain.figures import jitter_figure, moves_figure, share_figure, swarm_figure
from mammo_aln.explain.heatmaps import HeatPicture
from mammo_aln.explain.robustness import MOVES
from mammo_aln.files import write_text

TEMPLATES = page_environment("mammo_aln.explain")
JPEG_QUALITY = 85


def write_page(
    path: Path,
    about: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    swarms: Mapping[str, tuple[Sequence[str], Any, Any]],
    heat: Sequence[HeatPicture],
) -> Path:
    """Write the page.

    Args:
        path: the file.
        about: content of `explain.json`.
        tables: `explained_predictions`, `contributions` and `jitter`; the first stays off the page: it names patients.
        swarms: per split the inputs, their Shapley values (inputs, patients) and presence (patients, inputs).
        heat: pictures with heat maps.
    """
    shares, jitter = about["contributions"]["splits"], about["jitter"]["splits"]
    threshold = float(about["threshold"]["value"])
    boxes = list(dict.fromkeys(entry["box"] for entries in jitter.values() for entry in entries))
    page = TEMPLATES.get_template("explain.html.j2").render(
        about=about,
        spoken=spoken,
        text=figure_text,
        share_picture=share_figure(shares),
        swarms=[_titled(swarm_figure(*found), split) for split, found in swarms.items()],
        jitter_pictures=[
            _titled(jitter_figure(tables["jitter"].query("split == @split"), entry["box"], threshold), split)
            for split, entries in jitter.items()
            for entry in entries
        ],
        move_pictures=[moves_figure(jitter, box) for box in boxes],
        moves={move.name: move.words for move in MOVES},
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


def _titled(made: Picture, split: str) -> Picture:
    return Picture(made.title, made.uri, f"{spoken(split).capitalize()}: {made.alt}")


def _by_patient(heat: Sequence[HeatPicture], rows: pd.DataFrame, inputs: Sequence[str]) -> list[dict[str, Any]]:
    """Per drawn patient: its number, score, what each input moved, and its pictures, whole views first."""
    found: dict[int, dict[str, Any]] = {}
    by_number: dict[int, Any] = {row["number"]: row for row in rows.to_dict("records")}
    for one in heat:
        row = by_number[one.number]
        entry = found.setdefault(
            one.number,
            {
                "number": one.number,
                "split": row["split"],
                "score": float(row["score"]),
                "moved": [
                    (name.replace("_", " "), float(row[f"shapley_logit_{name}"]) if row[f"present_{name}"] else None)
                    for name in inputs
                ],
                "views": [],
                "crops": [],
            },
        )
        kind = "crops" if "_crop_" in one.path.name else "views"
        entry[kind].append(Picture("", _jpeg(one.path), one.alt))
    return list(found.values())


def _jpeg(path: Path) -> str:
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        Image.fromarray(np.asarray(picture.convert("RGB"))).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
