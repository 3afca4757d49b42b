"""The verb `explain`: a frozen run and a cohort in; tables, heat maps and one self-contained page out.

No outcome is read: explaining a labelled test split says nothing about how well the run does there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln import __version__
from mammo_aln.cohort.content import cohort_content
from mammo_aln.errors import InputError
from mammo_aln.explain.attribution import FEWEST_CELLS, layers_of
from mammo_aln.explain.contributions import Contributions, explain_split, shapley_values
from mammo_aln.explain.heatmaps import draw_patients
from mammo_aln.explain.page import write_page
from mammo_aln.explain.robustness import SHIFT_MM, SIZE_SHARE, jitter_split
from mammo_aln.explain.summaries import RESAMPLES, jitter_table, summarise_jitter, summarise_shares
from mammo_aln.files import json_ready, make_folder, write_csv, write_json
from mammo_aln.inference.frozen import FrozenRun, open_run
from mammo_aln.progress import say

ABSENT = (
    "A hidden input is replaced by the network's learned token for a missing one. Training hides at most one input of "
    "a patient at a time, so subsets with several hidden inputs, and above all none shown, are extrapolated."
)
NEVER_HIDDEN = (
    "This run was trained with modality_dropout 0: its missing tokens were learned only from patients who lacked that "
    "input, and where all had it they are untrained. Read the shares with that in mind."
)


@dataclass(frozen=True)
class SplitExplained:
    """What was found in one split; rows of `patients` are in the order of the contributions."""

    patients: pd.DataFrame
    contributions: Contributions
    shapley_logit: NDArray[np.float64]
    shapley_score: NDArray[np.float64]
    scores: NDArray[np.float64]
    none_score: NDArray[np.float64]
    jitter: pd.DataFrame


def explain_run(
    run: Path,
    cohort_folder: Path,
    out: Path,
    *,
    split: str | None = None,
    patients: Sequence[str] | None = None,
    drawn: int = 12,
    seed: int = 0,
    store: Path | None = None,
) -> Path:
    """Explain a run's scores of a cohort.

    Args:
        run: directory of a completed run.
        cohort_folder: cohort whose patients are explained.
        out: folder for `explain.html`, `explain.json`, `contributions.csv`, `jitter.csv`, `explained_predictions.csv`
            (the only file that names patients) and `attribution/*.png`.
        split: this split only.
        patients: these patients only; all of them get heat maps.
        drawn: without `patients`, so many get heat maps, spread evenly over the order of the scores.
        seed: draws the bootstrap.
        store: crop store; by default `.crops` in the cohort folder.

    Returns:
        path of the page.

    Raises:
        InputError: what `open_run` refuses, a network without a spatial map, or files that are not the store's.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, a file stands there")
    frozen = open_run(run, cohort_folder, split=split, patients=patients, store=store)
    reads_images = frozen.data.reads_images
    wants_maps = reads_images and (patients is not None or drawn > 0)
    if wants_maps:
        layers = layers_of(frozen.module.scoring_network, frozen.data.crop.size_px)  # refuses before any work
    splits = [name for name in frozen.data.splits if len(frozen.data.patients(name))]
    explained = {name: _explain(frozen, name) for name in splits}
    make_folder(out)
    numbers = _numbered(explained)
    chosen = _to_draw(explained, numbers, None if patients is not None else drawn) if wants_maps else []
    _clear(out / "attribution")
    pictures = draw_patients(frozen, chosen, out / "attribution") if chosen else []
    tables = {
        "explained_predictions": _prediction_rows(frozen, explained, numbers),
        "contributions": _contribution_rows(explained, numbers),
        "jitter": _jitter_rows(explained, numbers),
    }
    about = _about(frozen, explained, seed)
    about["attribution"] = {
        "method": "Grad-CAM (Selvaraju et al. 2017), signed: above 0 towards residual disease, below 0 towards ypN0",
        "fewest_cells": FEWEST_CELLS,
        "layers": {name: {"module": one.name, "cells": one.cells} for name, one in layers.items()}
        if wants_maps
        else {},
        "pictures": [{"file": f"attribution/{one.path.name}", "number": one.number} for one in pictures],
        "reason": None if pictures else ("no heat map was asked for" if reads_images else "the run reads no image"),
    }
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table)
    write_json(out / "explain.json", about)
    return write_page(out / "explain.html", json_ready(about), tables, _swarms(explained), pictures)


def _explain(frozen: FrozenRun, split: str) -> SplitExplained:
    contributions = explain_split(frozen, split)
    scores = frozen.scores(contributions.subset_logits)
    patients = frozen.data.patients(split)
    moved = jitter_split(frozen, split)
    moved = moved.assign(score=frozen.scores(moved["logit"].to_numpy(float)))
    return SplitExplained(
        patients,
        contributions,
        shapley_values(contributions.subset_logits),
        shapley_values(scores),
        scores[-1],
        scores[0],
        jitter_table(moved, scores[-1], frozen.threshold),
    )


def _numbered(explained: dict[str, SplitExplained]) -> dict[str, NDArray[np.int64]]:
    """Running numbers from 1 over all splits: what stands for a patient wherever no identifier may."""
    numbers, first = {}, 1
    for split, found in explained.items():
        numbers[split] = np.arange(first, first + len(found.patients))
        first += len(found.patients)
    return numbers


def _to_draw(
    explained: dict[str, SplitExplained], numbers: dict[str, NDArray[np.int64]], drawn: int | None
) -> list[tuple[int, str, int]]:
    """Patients whose maps are drawn, from the highest score down: all, or `drawn` of them evenly over the order."""
    every = [
        (float(found.scores[place]), int(numbers[split][place]), split, place)
        for split, found in explained.items()
        for place in range(len(found.patients))
    ]
    every.sort(key=lambda one: (-one[0], one[1]))
    if drawn is not None and drawn < len(every):
        picked = np.unique(np.round(np.linspace(0, len(every) - 1, drawn)).astype(int))
        every = [every[place] for place in picked]
    return [(number, split, place) for _, number, split, place in every]


def _clear(folder: Path) -> None:
    """Pictures of an earlier call would be taken for this one's."""
    for old in folder.glob("patient_*.png") if folder.is_dir() else ():
        old.unlink()


def _prediction_rows(
    frozen: FrozenRun, explained: dict[str, SplitExplained], numbers: dict[str, NDArray[np.int64]]
) -> pd.DataFrame:
    parts = []
    for split, found in explained.items():
        sides = ["side"] if "side" in found.patients and found.patients["side"].notna().any() else []
        part = found.patients[["patient_id", *sides, "center", "split"]].copy()
        part.insert(0, "number", numbers[split])
        part.insert(1, "run_id", frozen.run_id)
        part["score"], part["logit"] = found.scores, found.contributions.logits
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _contribution_rows(explained: dict[str, SplitExplained], numbers: dict[str, NDArray[np.int64]]) -> pd.DataFrame:
    parts = []
    for split, found in explained.items():
        part = pd.DataFrame({"number": numbers[split], "center": found.patients["center"], "split": split})
        part["score"], part["score_none"] = found.scores, found.none_score
        part["logit"], part["logit_none"] = found.contributions.logits, found.contributions.subset_logits[0]
        for place, name in enumerate(found.contributions.inputs):
            part[f"present_{name}"] = found.contributions.present[:, place]
            part[f"shapley_logit_{name}"] = found.shapley_logit[place]
            part[f"shapley_score_{name}"] = found.shapley_score[place]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _jitter_rows(explained: dict[str, SplitExplained], numbers: dict[str, NDArray[np.int64]]) -> pd.DataFrame:
    parts = []
    for split, found in explained.items():
        part = found.jitter.copy()
        place = part.pop("index").to_numpy(int)
        part.insert(0, "number", numbers[split][place])
        part.insert(1, "split", split)
        parts.append(part)
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _swarms(explained: dict[str, SplitExplained]) -> dict[str, tuple[Sequence[str], Any, Any]]:
    return {
        split: (found.contributions.inputs, found.shapley_logit, found.contributions.present)
        for split, found in explained.items()
    }


def _about(frozen: FrozenRun, explained: dict[str, SplitExplained], seed: int) -> dict[str, Any]:
    """`explain.json`, but for the pictures."""
    who = {split: found.patients["patient_id"].tolist() for split, found in explained.items()}
    recipe = json.dumps(json_ready(frozen.data.recipe), sort_keys=True).encode()
    shares = {
        split: summarise_shares(
            found.contributions.inputs, found.contributions.present, found.shapley_logit, who[split], seed=seed
        )
        for split, found in explained.items()
    }
    jitter = {
        split: summarise_jitter(found.jitter, [who[split][place] for place in found.jitter["index"]], seed=seed)
        for split, found in explained.items()
        if len(found.jitter)
    }
    notes = [ABSENT] + ([NEVER_HIDDEN] if frozen.settings.model.modality_dropout == 0 else [])
    for note in notes[1:]:
        say(note)
    strategy = frozen.settings.crop.strategy
    no_box = f"no crop that the run reads ({strategy}) is placed by a drawn box, so moving one changes nothing"
    return {
        "schema_version": 1,
        "package_version": __version__,
        "run_id": frozen.run_id,
        "weights_sha256": frozen.weights_sha256,
        "cohort": {"name": frozen.data.cohort.name, "content_sha256": cohort_content(frozen.data.cohort)},
        "recipe_sha256": hashlib.sha256(recipe).hexdigest() if frozen.data.reads_images else None,
        "threshold": frozen.about["threshold"],
        "calibration": frozen.about["calibration"],
        "inputs": list(next(iter(explained.values())).contributions.inputs),
        "splits": {split: {"n": len(found.patients)} for split, found in explained.items()},
        "seed": seed,
        "resamples": RESAMPLES,
        "contributions": {"scale": "logit before calibration", "absent": notes, "splits": shares},
        "jitter": {
            "shift_mm": SHIFT_MM,
            "size_share": SIZE_SHARE,
            "splits": jitter,
            "reason": None if jitter else (no_box if frozen.data.reads_images else "the run reads no image"),
        },
    }
