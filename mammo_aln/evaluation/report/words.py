"""Sentences of the report: the headline, the methods paragraph and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mammo_aln.evaluation.report.plots import figure_text, safer_auc, spoken
from mammo_aln.evaluation.samples import LEARNT_FROM


def tested(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Splits that the run did not learn from, or all where there is no such."""
    return {name: found for name, found in metrics["splits"].items() if name not in LEARNT_FROM} or metrics["splits"]


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """The answer, in a sentence per tested split."""
    sentences = []
    for name, found in tested(metrics).items():
        n, n_positive = found["n"]["value"], found["n_positive"]["value"]
        text = f"{spoken(name)}: {n} patients, {n_positive} with residual disease"
        area = safer_auc(found)
        if area["value"] is None:
            sentences.append(f"{text}; the AUC is unknown ({area['reason']}).")
            continue
        text += f"; AUC {figure_text(area)}"
        if found["sensitivity"]["value"] is not None and found["specificity"]["value"] is not None:
            both = (figure_text(found[key]) for key in ("sensitivity", "specificity"))
            text += "; at the frozen threshold sensitivity {}, specificity {}".format(*both)
        sentences.append(text + ".")
    return sentences


def openings(facts: Mapping[str, Any]) -> list[str]:
    """How often each labelled test split had been looked at, by whom, and whether that was declared beforehand."""
    sentences = []
    for name, told in (facts.get("splits") or {}).items():
        count = told.get("opened")
        if count is None:
            continue
        text = f"The labelled split {spoken(name)} has been opened {count} time{'s' if count != 1 else ''}"
        before = told.get("runs_before")
        if before is not None:
            others = {0: "no other run had opened it before", 1: "1 other run had opened it before"}
            text += f", this one on {told['time'][:10]} included; "
            text += others.get(before, f"{before} other runs had opened it before")
            own = told["by_this_run"]
            text += f", this run {'never' if own == 1 else 'once' if own == 2 else f'{own - 1} times'}"
            text += (
                f". It was declared beforehand, on {told['plan_time'][:10]}: {told['plan_what']} (plan {told['plan']})"
                if told["declared"]
                else ". It belongs to no plan declared beforehand"
            )
            if told["contents"] > 1:
                text += f". The cohort's tables were in {told['contents']} different states at these openings"
        sentences.append(text + ".")
    return sentences


def methods(facts: Mapping[str, Any], metrics: Mapping[str, Any], resamples: int, version: str) -> str:
    """A paragraph for a paper's statistics section, of what was done here and nothing else."""
    splits = metrics["splits"]
    sizes = ", ".join(
        f"{spoken(name)} (n = {m['n']['value']}, {m['n_positive']['value']} positive)" for name, m in splits.items()
    )
    parts = [
        "The unit of analysis was the patient (each treated axilla); the positive class was residual nodal disease "
        f"after neoadjuvant therapy (ypN+). Patients with a known outcome: {sizes}.",
        "Discrimination was measured by the area under the ROC curve (AUC) with DeLong's variance and 95 % limits on "
        f"the logit scale, and by a stratified percentile bootstrap ({resamples} resamples).",
    ]
    if any("auc_clustered" in found for found in splits.values()):
        parts.append("Where a patient had several rows, patients were taken as clusters (Obuchowski's variance).")
    threshold = next(iter(splits.values()))["threshold"]
    if threshold["value"] is not None:
        where = f" on the {spoken(threshold['split'])} split" if threshold.get("split") else ""
        parts.append(
            f"The threshold ({threshold['value']:.4g}, rule {threshold['rule']}) was fixed{where} before any test "
            "outcome was seen; proportions carry Wilson's 95 % limits."
        )
    fitted = facts.get("calibration") or {}
    if fitted.get("method") not in (None, "none"):
        where = f" on the {spoken(fitted['split'])} split" if fitted.get("split") else ""
        parts.append(f"Probabilities were calibrated by {fitted['method']} scaling fitted{where} and then left alone.")
    if any(found["brier"]["value"] is not None for found in splits.values()):
        parts.append(
            "Calibration was described by slope and intercept of a logistic fit on the logit of the score, calibration "
            "in the large, Brier score (raw and scaled), expected calibration error (10 bins of equal width), the "
            "integrated calibration index (lowess) and the Hosmer-Lemeshow test (10 groups); usefulness by "
            "decision curves."
        )
    if any(gap["difference"] is not None for gap in metrics["auc_gap"]):
        parts.append(
            "The fall of the AUC from training to each other split was tested by unpaired DeLong (Student's t, Welch's "
            f"degrees of freedom) and by a bootstrap ({resamples} resamples per split)."
        )
    if metrics.get("subgroups"):
        parts.append(
            "Subgroup AUCs were compared by an interaction test on the logit scale; continuous features were cut at "
            "their median."
        )
    if metrics["heterogeneity"]["value"] is not None:
        parts.append("Heterogeneity between centres was judged by Cochran's Q and I2 of logit AUCs.")
    return " ".join([*parts, f"Computed with mammo_aln {version}."])


def model_card(facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines of the model card: what the run's files say, what was measured, and what only the author can add."""
    card, settings = dict(facts.get("model_card") or {}), facts.get("settings") or {}
    model = settings.get("model") or {}
    lines = [
        ("Run", str(facts.get("run_id", "not recorded"))),
        (
            "Task",
            "probability of residual axillary nodal disease after neoadjuvant therapy, from images taken before it",
        ),
        ("Intended use", str(card.pop("intended_use", "author"))),
        ("Inputs", ", ".join(model["inputs"]) if model.get("inputs") else "not recorded"),
        ("Network", str(model.get("backbone", "not recorded"))),
        ("Measured", " ".join(headline(metrics))),
        ("Not for", str(card.pop("not_for", "decisions on its own; patients unlike those of the centres above"))),
    ]
    return lines + [(str(key).replace("_", " ").capitalize(), str(value)) for key, value in card.items()]
