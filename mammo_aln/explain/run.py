"""The verb `explain`: a frozen run and a cohort in; tables, heat maps and one self-contained page out.

No outcome is read: explaining a labelled test split says nothing about how well the run does there. Its patients get
scores all the same, which the ledger of openings tells.
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
from mammo_aln.explain.attribution import FEWEST_CELLS, layers_of
from mammo_aln.explain.contributions import Contributions, explain_split
from mammo_aln.explain.heatmaps import Drawn, draw_patients
from mammo_aln.explain.page import write_page
from mammo_aln.explain.robustness import SHIFT_MM, SIZE_SHARE, jitter_split
from mammo_aln.explain.summaries import RESAMPLES, jitter_table, summarise_jitter, summarise_shares
from mammo_aln.files import json_ready, make_folder, require_folder, require_room_for, write_csv, write_json
from mammo_aln.inference.frozen import FrozenRun, open_run
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.progress import say
from mammo_aln.runs.scored import record_scored
from mammo_aln.training.data.datamodule import MammoDataModule

ABSENT = (
    "A hidden input is replaced by the network's learned token for a missing one. Training shows all inputs, all but "
    "one (model.modality_dropout) or one alone (optim.unimodal_weight): other subsets, and above all none, are "
    "extrapolated."
)
NEVER_HIDDEN = (
    "This run was trained with modality_dropout 0 and unimodal_weight 0: its missing tokens were learned only from "
    "patients who lacked that input, and where all had it they are untrained. Read the shares with that in mind."
)

FEATURES = (
    "Owen values: the features form one union among the inputs, so their values sum to the Shapley value of the "
    "clinical input. A hidden feature is encoded as a missing one; a feature that a patient lacks has the value 0."
)


@dataclass(frozen=True)
class SplitExplained:
    """One split; rows of `patients` are in the order of the contributions.

    Attributes:
        split: its name.
        numbers: running numbers over all splits: they stand for patients wherever no identifier may.
        patients: rows of the cohort's table.
        contributions: shares of inputs and features.
        jitter: rows of `jitter_table`.
    """

    split: str
    numbers: NDArray[np.int64]
    patients: pd.DataFrame
    contributions: Contributions
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
    """Explain a run's scores of a cohort; returns the path of the page. The verb `explain` tells the parameters.

    Args:
        out: folder for `explain.html`, `explain.json`, `contributions.csv`, `jitter.csv`, `explained_predictions.csv`
            (the only file that names patients) and `attribution/*.png`.

    Raises:
        InputError: what `open_run` refuses, a network without a spatial map, or files that are not the store's.
    """
    require_folder("--out", out)
    maps = patients is not None or drawn > 0

    def fits(module: AxillaryClassifier, data: MammoDataModule) -> None:
        if maps and data.reads_images:
            layers_of(module.scoring_network, data.crop.size_px)

    frozen = open_run(run, cohort_folder, split=split, patients=patients, store=store, fits=fits)
    reads_images = frozen.data.reads_images
    wants_maps = reads_images and maps
    layers = layers_of(frozen.module.scoring_network, frozen.data.crop.size_px) if wants_maps else {}
    explained: list[SplitExplained] = []
    for name in frozen.data.splits:
        if len(frozen.data.patients(name)):
            explained.append(_explain(frozen, name, first=1 + sum(len(done.numbers) for done in explained)))
    make_folder(out)
    require_room_for(out / "explain.json")
    data = frozen.data
    tests = {done.split: done.patients["patient_id"].tolist() for done in explained if frozen.tests(done.split)}
    record_scored(data.as_given, frozen.run_id, tests, by="explain", run=frozen.run)
    chosen = _to_draw(explained, None if patients is not None else drawn) if wants_maps else []
    _clear(out / "attribution")
    pictures = draw_patients(frozen, chosen, out / "attribution") if chosen else []
    tables = {
        "explained_predictions": pd.concat([_predictions(frozen, done) for done in explained], ignore_index=True),
        "contributions": pd.concat([_contributions(done) for done in explained], ignore_index=True),
        "jitter": _jitter(explained),
    }
    about = _about(frozen, explained, seed)
    about["attribution"] = {
        "method": "Grad-CAM (Selvaraju et al. 2017), signed: above 0 towards the outcome, below 0 away from it",
        "fewest_cells": FEWEST_CELLS,
        "layers": {name: {"module": layer.name, "cells": layer.cells} for name, layer in layers.items()},
        "pictures": [{"file": f"attribution/{picture.path.name}", "number": picture.number} for picture in pictures],
        "reason": None if pictures else ("no heat map was asked for" if reads_images else "the run reads no image"),
    }
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table)
    write_json(out / "explain.json", about)
    swarms = {done.split: done.contributions for done in explained}
    return write_page(out / "explain.html", json_ready(about), tables, swarms, pictures)


def _explain(frozen: FrozenRun, split: str, first: int) -> SplitExplained:
    contributions, patients = explain_split(frozen, split), frozen.data.patients(split)
    moved = jitter_split(frozen, split)
    moved = moved.assign(score=frozen.scores(moved["logit"].to_numpy(float)))
    jitter = jitter_table(moved, contributions.scores, frozen.threshold)
    return SplitExplained(split, np.arange(first, first + len(patients)), patients, contributions, jitter)


def _to_draw(explained: Sequence[SplitExplained], drawn: int | None) -> list[Drawn]:
    """Choose the patients whose maps are drawn, from the highest score down: all, or `drawn` of them evenly."""
    every = [
        (-float(score), Drawn(int(number), done.split, index))
        for done in explained
        for index, (number, score) in enumerate(zip(done.numbers, done.contributions.scores, strict=True))
    ]
    every.sort(key=lambda item: (item[0], item[1].number))
    if drawn is not None and drawn < len(every):
        picked = np.unique(np.round(np.linspace(0, len(every) - 1, drawn)).astype(int))
        every = [every[nth] for nth in picked]
    return [patient for _, patient in every]


def _clear(folder: Path) -> None:
    """Pictures of an earlier call would be taken for this one's."""
    for old in folder.glob("patient_*.png") if folder.is_dir() else ():
        old.unlink()


def _predictions(frozen: FrozenRun, done: SplitExplained) -> pd.DataFrame:
    sides = ["side"] if "side" in done.patients and done.patients["side"].notna().any() else []
    rows = done.patients[["patient_id", *sides, "center", "split"]].copy()
    rows.insert(0, "number", done.numbers)
    rows.insert(1, "run_id", frozen.run_id)
    return rows.assign(score=done.contributions.scores, logit=done.contributions.logits)


def _contributions(done: SplitExplained) -> pd.DataFrame:
    shares = done.contributions
    rows = pd.DataFrame({"number": done.numbers, "center": done.patients["center"], "split": done.split})
    rows["score"], rows["score_none"] = shares.scores, shares.scores_none
    rows["logit"], rows["logit_none"] = shares.logits, shares.logits_none
    for nth, name in enumerate(shares.inputs.names):
        rows[f"present_{name}"] = shares.inputs.present[:, nth]
        rows[f"shapley_logit_{name}"] = shares.inputs.logit[nth]
        rows[f"shapley_score_{name}"] = shares.inputs.score[nth]
    if shares.features is not None:
        for nth, name in enumerate(shares.features.names):
            rows[f"shapley_logit_clinical_{name}"] = shares.features.logit[nth]
            rows[f"shapley_score_clinical_{name}"] = shares.features.score[nth]
    return rows


def _jitter(explained: Sequence[SplitExplained]) -> pd.DataFrame:
    tables = []
    for done in explained:
        rows = done.jitter.copy()
        numbers = done.numbers[rows.pop("index").to_numpy(int)]
        rows.insert(0, "number", numbers)
        rows.insert(1, "split", done.split)
        tables.append(rows)
    return pd.concat([rows for rows in tables if len(rows)] or tables[:1], ignore_index=True)


def _about(frozen: FrozenRun, explained: Sequence[SplitExplained], seed: int) -> dict[str, Any]:
    """`explain.json`, but for the pictures."""
    recipe = json.dumps(json_ready(frozen.data.recipe), sort_keys=True).encode()
    shares, features, jitter = {}, {}, {}
    for done in explained:
        who = done.patients["patient_id"].tolist()
        shares[done.split] = summarise_shares(done.contributions.inputs, who, seed=seed)
        if done.contributions.features is not None:
            features[done.split] = summarise_shares(done.contributions.features, who, seed=seed)
        if len(done.jitter):
            jitter[done.split] = summarise_jitter(
                done.jitter, [who[index] for index in done.jitter["index"]], seed=seed
            )
    hidden = frozen.settings.model.modality_dropout > 0 or frozen.settings.optim.unimodal_weight > 0
    notes = [ABSENT, *([] if hidden else [NEVER_HIDDEN])]
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
        "outcome": frozen.outcome.in_words if frozen.outcome else "the outcome that the run learnt",
        "threshold": frozen.facts.operating.threshold,
        "calibration": frozen.facts.operating.calibration,
        "inputs": list(explained[0].contributions.inputs.names),
        "splits": {done.split: {"n": len(done.patients)} for done in explained},
        "seed": seed,
        "resamples": RESAMPLES,
        "contributions": {"scale": "logit before calibration", "absent": notes, "splits": shares},
        "clinical_features": {"method": FEATURES, "splits": features},
        "jitter": {
            "shift_mm": SHIFT_MM,
            "size_share": SIZE_SHARE,
            "splits": jitter,
            "reason": None if jitter else (no_box if frozen.data.reads_images else "the run reads no image"),
        },
    }
