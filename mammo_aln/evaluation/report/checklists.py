"""TRIPOD+AI (BMJ 2024;385:e078378), CLAIM 2024 (Radiology: AI 2024;6:e240300), and of radiomics CLEAR, METRICS and RQS.

Each item is in our words. Where the files hold no answer the item is the author's, or not known from the files. Of RQS
2.0 the sixteen criteria of the first version and the themes that the second adds are listed, without its numbering.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo_aln.evaluation.inputs import seen_inputs
from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Metric
from mammo_aln.evaluation.people import People
from mammo_aln.evaluation.report.plots import spoken
from mammo_aln.evaluation.report.words import plain
from mammo_aln.evaluation.samples import LEARNT_FROM

AUTHOR = "author"
NOT_KNOWN = "not known from the files"

SOURCES = {
    "TRIPOD+AI": "TRIPOD+AI (BMJ 2024;385:e078378)",
    "CLAIM 2024": "CLAIM 2024 (Radiol Artif Intell 2024;6:e240300)",
}
OF_RADIOMICS = {
    "CLEAR": "CLEAR (Insights Imaging 2023;14:75)",
    "METRICS": "METRICS (Insights Imaging 2024;15:8)",
    "RQS 2.0": "RQS: the criteria of 2017 and the themes that RQS 2.0 adds (Nat Rev Clin Oncol 2025)",
}
ANSWERED = "tables TRIPOD+AI, CLAIM, CLEAR, METRICS and RQS of this page"


@dataclass(frozen=True)
class Item:
    """One item: its number, what it asks for, and the key of the answer ("" = only the author can know)."""

    number: str
    asks_for: str
    answer: str


def checklist(name: str) -> list[Item]:
    """Items of a list, as `templates/checklists.csv` lists them."""
    text = (Path(__file__).parent / "templates" / "checklists.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return [Item(row["item"], row["asks_for"], row["answer"]) for row in rows if row["checklist"] == name]


def _listed(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{key.replace('_', ' ')}: {plain(value)}" for key, value in values.items())


def answers(
    facts: Mapping[str, Any], judgement: Judgement, heterogeneity: Metric, people: People | None
) -> dict[str, str]:
    """Answers of the run's files and the figures, by key; a key without an answer is absent."""
    sizes = {
        name: f"{figures['n'].value} ({figures['n_positive'].value} positive)"
        for name, figures in judgement.splits.items()
    }
    settings, card, recipe = (facts.get(name) or {} for name in ("settings", "model_card", "recipe"))
    model, threshold = settings.get("model") or {}, judgement.threshold
    shift = people.shift if people else ()
    stated: dict[str, object] = {
        "intended_use": card.get("intended_use"),
        "objective": card.get("objective"),
        "outcome": (facts.get("outcome") or {}).get("meaning"),
        "centers": ", ".join(judgement.centers),
        "flow": facts.get("cohort_flow") and "section Patients",
        "preprocessing": recipe.get("cards") and "section From file to pixels",
        "crops": _listed(settings.get("crop") or recipe.get("crop") or {}),
        "fallbacks": facts.get("fallbacks") and "fallback ledger, section From file to pixels",
        "predictors": model and f"inputs: {plain(model.get('inputs'))}",
        "model": _listed(model),
        "training": _listed((settings.get("optim") or {}) | (settings.get("trainer") or {})),
        "software": _listed(facts.get("environment") or {}),
        "missing": _missing(facts, people),
        "baseline": people and "baseline table, section Patients",
        "predictor_shift": _development_against_evaluation(people),
        "shift": shift and "centre shift, section Across people and places",
        "acquisition": any(row.features == "image acquisition" for row in shift)
        and "vendor, spacing, VOI by centre, section Across people and places",
        "subgroups": people and people.subgroups and "subgroups, section Across people and places",
        "heterogeneity": heterogeneity.value is not None and "section Across people and places",
        "partitions": _listed(sizes),
        "disjoint": "patient: a patient in two splits is refused",
        "deidentified": "tables are pseudonymised; reports hold no patient identifiers",
        "measures": "section Methods",
        "predictions": "score = calibrated probability, read from prediction files; section Methods",
        "calibration": facts.get("calibration") and _listed(facts["calibration"]),
        "threshold": threshold.value is not None and f"{threshold.value:.4g} ({threshold.details['rule']})",
        "performance": "section All figures",
        "internal": "internal_test" in sizes and f"n = {sizes['internal_test']}",
        "external": "external_test" in sizes and f"n = {sizes['external_test']}",
    }
    return {key: str(value) for key, value in stated.items() if value}


def _missing(facts: Mapping[str, Any], people: People | None) -> str:
    """Answer with the sections that hold missing shares, and how the model fills in what is missing."""
    inputs = seen_inputs(facts)
    shares = ["shares in the baseline table"] if people else []
    if inputs is None or not inputs.lines:
        return "; ".join([*shares, *(inputs.warnings if inputs else ())])
    return " ".join(
        [
            "; ".join(["inputs by split and centre, section Patients", *shares])
            + "; a missing crop has a learned stand-in, a missing number is the training median, a missing or unknown "
            "level no column.",
            *inputs.warnings,
        ]
    )


def _development_against_evaluation(people: People | None) -> str:
    """Answer only where the baseline table holds patients the run learnt from and others."""
    groups = set(people.by_split.sizes) if people else set()
    learnt_from = groups & {spoken(name) for name in LEARNT_FROM}
    return "baseline table by split, section Patients" if learnt_from and groups - learnt_from else ""


def filled(
    facts: Mapping[str, Any], judgement: Judgement, heterogeneity: Metric, people: People | None
) -> dict[str, list[tuple[str, str, str]]]:
    """Fill each list with its items' answers, or `author`; those of radiomics where a fit's facts answer them."""
    known = answers(facts, judgement, heterogeneity, people)
    lists = {source: [(one, AUTHOR) for one in checklist(name)] for name, source in SOURCES.items()}
    if of_fit := facts.get("answers"):
        known |= of_fit | {"lists": ANSWERED}
        lists |= {source: [(one, NOT_KNOWN) for one in checklist(name)] for name, source in OF_RADIOMICS.items()}
    return {
        source: [(item.number, item.asks_for, known.get(item.answer, otherwise)) for item, otherwise in items]
        for source, items in lists.items()
    }
