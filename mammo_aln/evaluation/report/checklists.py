"""TRIPOD+AI (BMJ 2024;385:e078378) and CLAIM 2024 (Radiology: AI 2024;6:e240300), each item in our words.

Where the files hold no answer the item is the author's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Metric
from mammo_aln.evaluation.people import People
from mammo_aln.evaluation.report.plots import spoken
from mammo_aln.evaluation.report.words import plain
from mammo_aln.evaluation.samples import LEARNT_FROM

AUTHOR = "author"

# item, what it asks, key of the answer ("" = only the author can know)
TRIPOD_AI = (
    ("1", "Title names the model, population and outcome", ""),
    ("2", "Structured abstract", ""),
    ("3a", "Health-care context and existing models", ""),
    ("3b", "Target population and intended use in the care pathway", "intended_use"),
    ("3c", "Known health inequalities", ""),
    ("4", "Objectives: development, evaluation or both", "objective"),
    ("5a", "Sources of data and their representativeness", "centers"),
    ("5b", "Dates of accrual and follow-up", ""),
    ("6a", "Setting, number and place of centres", "centers"),
    ("6b", "Eligibility criteria", "flow"),
    ("6c", "Treatments received", ""),
    ("7", "Preparation and quality checks of the data", "preprocessing"),
    ("8a", "Outcome, time of assessment and how it was assessed", "outcome"),
    ("8b", "Who assessed the outcome, if it needs judgement", ""),
    ("8c", "Blinding of the outcome assessment", ""),
    ("9a", "Choice of initial predictors", "predictors"),
    ("9b", "Definition and time of each predictor", "predictors"),
    ("9c", "Who assessed predictors, if they need judgement", ""),
    ("10", "How the sample size was reached", ""),
    ("11", "Missing data and how they were handled", "missing"),
    ("12a", "How data were used: development and evaluation, partitions", "partitions"),
    ("12b", "Handling of predictors: form, scaling, transformation", "preprocessing"),
    ("12c", "Type of model, rationale, building, internal validation", "model"),
    ("12d", "Heterogeneity of performance across clusters (centres)", "heterogeneity"),
    ("12e", "Measures and plots of performance", "measures"),
    ("12f", "Model updating after evaluation", ""),
    ("12g", "How predictions were calculated in the evaluation", "predictions"),
    ("13", "Class imbalance and recalibration", "calibration"),
    ("14", "Approaches to fairness", "subgroups"),
    ("15", "Model output and thresholds", "threshold"),
    ("16", "Differences between development and evaluation data", "shift"),
    ("17", "Ethical approval", ""),
    ("18a", "Funding", ""),
    ("18b", "Conflicts of interest", ""),
    ("18c", "Study protocol", ""),
    ("18d", "Registration", ""),
    ("18e", "Availability of data", ""),
    ("18f", "Availability of code", "software"),
    ("19", "Patient and public involvement", ""),
    ("20a", "Flow of participants and numbers with the outcome", "flow"),
    ("20b", "Characteristics of participants, missing values, by centre or split", "baseline"),
    ("20c", "Distribution of predictors, development against evaluation", "predictor_shift"),
    ("21", "Numbers of participants and outcomes in each analysis", "partitions"),
    ("22", "Full model, so that others can predict and evaluate", "software"),
    ("23a", "Performance with confidence intervals, also in subgroups", "performance"),
    ("23b", "Results on heterogeneity across clusters", "heterogeneity"),
    ("24", "Results of model updating", ""),
    ("25", "Interpretation", ""),
    ("26", "Limitations", ""),
    ("27a", "Handling of poor or missing input when used", "fallbacks"),
    ("27b", "What users must do and know", ""),
    ("27c", "Next steps for research", ""),
)
CLAIM_2024 = (
    ("1", "Title or abstract names the AI methodology", ""),
    ("2", "Structured abstract", ""),
    ("3", "Background, intended use and clinical role", "intended_use"),
    ("4", "Aims, objectives and hypotheses", "objective"),
    ("5", "Prospective or retrospective", ""),
    ("6", "Study goal", "objective"),
    ("7", "Data sources", "centers"),
    ("8", "Inclusion and exclusion criteria", "flow"),
    ("9", "Preprocessing", "preprocessing"),
    ("10", "Selection of data subsets", "crops"),
    ("11", "De-identification", "deidentified"),
    ("12", "Missing data", "missing"),
    ("13", "Image acquisition protocol", "acquisition"),
    ("14", "Definition of the reference standard", "outcome"),
    ("15", "Rationale for the reference standard", ""),
    ("16", "Source of the reference standard annotations", ""),
    ("17", "Annotation of the test set", ""),
    ("18", "Variability within and between raters", ""),
    ("19", "How data were assigned to partitions", "partitions"),
    ("20", "Level at which partitions are disjoint", "disjoint"),
    ("21", "Intended sample size", ""),
    ("22", "Description of the model", "model"),
    ("23", "Software and versions", "software"),
    ("24", "Initialisation of the parameters", "model"),
    ("25", "Training approach", "training"),
    ("26", "How the final model was chosen", "training"),
    ("27", "Ensembling", ""),
    ("28", "Metrics of performance", "measures"),
    ("29", "Measures of significance and uncertainty", "measures"),
    ("30", "Robustness or sensitivity analysis", "subgroups"),
    ("31", "Explainability", ""),
    ("32", "Evaluation on internal data", "internal"),
    ("33", "Testing on external data", "external"),
    ("34", "Registration of a clinical trial", ""),
    ("35", "Numbers included and excluded (flow)", "flow"),
    ("36", "Demographic and clinical characteristics by partition", "baseline"),
    ("37", "Performance and benchmarks", "performance"),
    ("38", "Accuracy estimates with their precision", "performance"),
    ("39", "Failure analysis", ""),
    ("40", "Limitations", ""),
    ("41", "Implications for practice", ""),
    ("42", "Reference to the full protocol", ""),
    ("43", "Availability of software, trained model and data", "software"),
    ("44", "Funding and the role of funders", ""),
)


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
        "outcome": "aln_status: 1 = residual nodal metastasis after neoadjuvant therapy (ypN+), 0 = ypN0",
        "centers": ", ".join(judgement.centers),
        "flow": facts.get("cohort_flow") and "section Patients",
        "preprocessing": recipe.get("cards") and "section From file to pixels",
        "crops": _listed(settings.get("crop") or recipe.get("crop") or {}),
        "fallbacks": facts.get("fallbacks") and "fallback ledger, section From file to pixels",
        "predictors": model and f"inputs: {plain(model.get('inputs'))}",
        "model": _listed(model),
        "training": _listed((settings.get("optim") or {}) | (settings.get("trainer") or {})),
        "software": _listed(facts.get("environment") or {}),
        "missing": people and "shares in the baseline table",
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


def _development_against_evaluation(people: People | None) -> str:
    """Answer only where the baseline table holds patients the run learnt from and others."""
    groups = set(people.by_split.rows) if people else set()
    learnt_from = groups & {spoken(name) for name in LEARNT_FROM}
    return "baseline table by split, section Patients" if learnt_from and groups - learnt_from else ""


def filled(
    facts: Mapping[str, Any], judgement: Judgement, heterogeneity: Metric, people: People | None
) -> dict[str, list[tuple[str, str, str]]]:
    """Both lists with each item's answer, or `author`."""
    known = answers(facts, judgement, heterogeneity, people)
    lists = {
        "TRIPOD+AI (BMJ 2024;385:e078378)": TRIPOD_AI,
        "CLAIM 2024 (Radiol Artif Intell 2024;6:e240300)": CLAIM_2024,
    }
    return {
        name: [(number, text, known.get(key, AUTHOR)) for number, text, key in items] for name, items in lists.items()
    }
