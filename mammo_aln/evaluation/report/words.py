"""Sentences of the report: the headline, the head of the page, the methods paragraph and the model card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mammo_aln import __version__
from mammo_aln.evaluation.inputs import seen_inputs
from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Figures, Metric
from mammo_aln.evaluation.people import People
from mammo_aln.evaluation.report.plots import figure_text, safer_auc, spoken
from mammo_aln.evaluation.samples import LEARNT_FROM

CROSS_VALIDATED = "cv"
INPUTS = {"primary": "the main crop", "auxiliary": "further crops", "clinical": "clinical features"}


def plain(value: object) -> str:
    """A setting or parameter as people write it: lists joined, numbers rounded, ranges as `from to`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        if set(value) == {"min", "max"}:
            return f"{plain(value['min'])} to {plain(value['max'])}"
        return ", ".join(f"{str(key).replace('_', ' ')} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def about(facts: Mapping[str, Any], trained: str) -> list[tuple[str, str]]:
    """Head of the page: run, day of its training, cohort, model and crop, as far as the files state them."""
    settings = facts.get("settings") or {}
    model, crop = settings.get("model") or {}, settings.get("crop") or {}
    stated = {
        "run": facts.get("run_id"),
        "trained": trained,
        "cohort": facts.get("cohort"),
        "model": model.get("backbone"),
        "reads": ", ".join(INPUTS.get(name, name) for name in sorted(model.get("inputs") or [], key=_input_order)),
        "inputs known": (facts.get("timing") or {}).get("inputs"),
        "features kept": (facts.get("timing") or {}).get("kept"),
        "crop": f"{crop['strategy']}, {crop.get('size_px', '?')} px" if crop.get("strategy") else "",
        "data and weights": "; ".join(
            f"{source.get('name')} ({source.get('licence') or 'licence not stated'})"
            for source in facts.get("lineage") or []
        ),
    }
    return [(name, str(value)) for name, value in stated.items() if value]


def _input_order(name: str) -> int:
    return [*INPUTS, name].index(name)


def tested(judgement: Judgement) -> dict[str, Figures]:
    """Splits that the run did not learn from, or all where there is no such."""
    return {name: figures for name, figures in judgement.splits.items() if name not in LEARNT_FROM} or judgement.splits


def counted(figures: Figures) -> str:
    """`40 patients`, or `12 axillae of 11 patients` where a patient has both sides."""
    n = figures["n"].value
    return f"{n} axillae of {figures['n_patients'].value} patients" if "n_patients" in figures else f"{n} patients"


def headline(judgement: Judgement) -> list[str]:
    """The answer, in a sentence per tested split."""
    sentences = []
    for name, figures in tested(judgement).items():
        text = f"{spoken(name)}: {counted(figures)}, {figures['n_positive'].value} with the outcome"
        area = safer_auc(figures)
        if area.value is None:
            sentences.append(f"{text}; the AUC is unknown ({area.reason}).")
            continue
        text += f"; AUC {figure_text(area)}"
        if figures["sensitivity"].value is not None and figures["specificity"].value is not None:
            both = (figure_text(figures[key]) for key in ("sensitivity", "specificity"))
            text += "; at the frozen threshold sensitivity {}, specificity {}".format(*both)
        sentences.append(text + ".")
    return sentences


def outcome_words(facts: Mapping[str, Any]) -> str:
    """Name what a score is the probability of, in the run's own words; neutral where no file says."""
    return str((facts.get("outcome") or {}).get("words", "the outcome (aln_status = 1)"))


def openings(facts: Mapping[str, Any], tested: Iterable[str] = ()) -> list[str]:
    """Tell the openings of each labelled test split: how many, by which runs, and what had been declared before.

    Args:
        facts: of the predictions.
        tested: splits that are judged.
    """
    sentences = []
    for name, opening in (facts.get("splits") or {}).items():
        count = opening.get("opened")
        if count is None:
            continue
        text = f"The labelled split {spoken(name)} has been opened {_times(count)}"
        before = opening.get("runs_before")
        if before is not None:
            others = {0: "no other run had opened it before", 1: "1 other run had opened it before"}
            text += f", this one on {opening['time'][:10]} included; "
            text += others.get(before, f"{before} other runs had opened it before")
            own = opening["by_this_run"]
            text += f", this run {'never' if own == 1 else 'once' if own == 2 else f'{own - 1} times'}"
            text += f". {_plan_words(opening)}"
            if opening["contents"] > 1:
                text += f". The cohort's tables were in {opening['contents']} different states at these openings"
            text += "".join(f". {sentence}" for sentence in _past_words(opening, spoken(name)))
        sentences.append(text + ".")
    recorded = {name for name, opening in (facts.get("splits") or {}).items() if opening.get("opened") is not None}
    for name in (name for name in tested if name not in (*recorded, *LEARNT_FROM, CROSS_VALIDATED)):
        sentences.append(
            f"No opening of {spoken(name)} is recorded beside these predictions: nothing says how often its outcomes"
            " were looked at before."
        )
    sentences += [str(warning) for warning in facts.get("warnings") or []]
    leaks = facts.get("leaks") or {}
    if leaks:
        cases = "; ".join(f"{count} x {words}" for words, count in leaks["counts"].items())
        sentences.append(
            f"Persons or exposures stand on both sides of the run's cohort ({cases}), by its owner's leave, with this"
            f" reason: {leaks['reason']}"
        )
    return sentences


def _past_words(opening: Mapping[str, Any], split: str) -> list[str]:
    """Tell what the ledgers say of the patients' past, and where they are not whole."""
    past = opening.get("past")
    if not past:
        return []
    sentences = []
    began, trained = past["begins"], past.get("trained")
    if trained and began > trained:
        sentences.append(
            f"The ledger is younger than the run: it begins on {moment(began)}, the run was trained by"
            f" {moment(trained)}; what was opened in between is not known"
        )
    if past["lost"]:
        sentences.append(
            f"{past['lost']} of these openings are missing from the cohort's ledger and stand in another copy of it:"
            " the ledger was lost, shortened or left behind by a copy of the cohort"
        )
    if past["broken"]:
        sentences.append(
            f"The ledger was changed by hand: {past['broken']} of its lines do not follow the line above them"
        )
    if past["under_other_names"]:
        sentences.append(
            f"The cohort's ledger also holds {_plural(past['under_other_names'], 'opening')} of another cohort's name"
        )
    for before in past["before"]:
        as_what = f"as {spoken(before['split'])}, " if spoken(before["split"]) != split else ""
        how = "with their outcomes" if before["by"] == "opening" else f"without outcome by {before['by']}"
        sentences.append(
            f"{before['patients']} of its {past['patients']} patients were scored before, {as_what}{how} (run"
            f" {before['run_id']}, {moment(before['time'])})"
        )
    return sentences


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _plan_words(opening: Mapping[str, Any]) -> str:
    """Tell whether a plan announced an opening, when it was declared, and when validation chose the model under it."""
    if not opening["declared"]:
        beside = opening.get("beside_plan")
        return "It belongs to no plan declared beforehand" + f": {beside}" * bool(beside)
    declared = moment(opening["plan_time"])
    plan = f"{opening['plan_what']} (plan {opening['plan']})"
    before = opening.get("opened_before_plan")
    if before:
        last = opening.get("opened_before_plan_time")
        text = f"It was not declared beforehand: its plan is of {declared}, after this split had been opened "
        text += f"{_times(before)}, last {f'on {moment(last)}' if last else 'at an unknown time'}: {plan}"
    else:
        sealed = " before its first opening" if before == 0 else ""  # an earlier version did not look
        text = f"It was declared beforehand, on {declared}{sealed}: {plan}"
    chosen = opening.get("choice_time")
    if chosen:
        ranked, models = opening.get("choice_ranked"), opening.get("plan_models")
        among = f"{ranked}" if models in (None, ranked) else f"{ranked} of the {models} that the plan names"
        text += f". Validation chose this model among {among}, on {moment(chosen)}"
        later = (opening.get("opened_before_choice") or 0) - (before or 0)
        text += f", after {_times(later)} of opening it since the plan" if later else ""
    return text


def _times(count: int) -> str:
    return f"{count} time{'s' if count != 1 else ''}"


def moment(time: str) -> str:
    """Write a time of the ledger as `2026-11-27 04:27:16 UTC`."""
    return f"{time[:19].replace('T', ' ')} UTC"


def methods(
    facts: Mapping[str, Any], judgement: Judgement, heterogeneity: Metric, people: People | None, resamples: int
) -> str:
    """A paragraph for a paper's statistics section, of what was done here and nothing else."""
    splits = judgement.splits
    sizes = ", ".join(
        f"{spoken(name)} (n = {figures['n'].value}, {figures['n_positive'].value} positive)"
        for name, figures in splits.items()
    )
    sentences = [
        *map(str, facts.get("methods") or ()),
        f"The unit of analysis was the patient (each treated axilla); the outcome was {outcome_words(facts)}. "
        f"Patients with a known outcome: {sizes}.",
        "Discrimination was measured by the area under the ROC curve (AUC) with DeLong's variance and 95 % limits on "
        f"the logit scale, and by a stratified percentile bootstrap ({resamples} resamples).",
    ]
    if any("auc_clustered" in figures for figures in splits.values()):
        sentences.append("Where a patient had several rows, patients were taken as clusters (Obuchowski's variance).")
    threshold = judgement.threshold
    if threshold.value is not None:
        where = _on_split(threshold.details)
        sentences.append(
            f"The threshold ({threshold.value:.4g}, rule {threshold.details['rule']}) was fixed{where} before any test "
            "outcome was seen; proportions carry Wilson's 95 % limits."
        )
    fitted = facts.get("calibration") or {}
    if fitted.get("method") not in (None, "none"):
        how = f"{fitted['method']} scaling fitted{_on_split(fitted)}"
        sentences.append(f"Probabilities were calibrated by {how} and then left alone.")
    if any(figures["brier"].value is not None for figures in splits.values()):
        sentences.append(
            "Calibration was described by slope and intercept of a logistic fit on the logit of the score, calibration "
            "in the large, Brier score (raw and scaled), expected calibration error (10 bins of equal width), the "
            "integrated calibration index (lowess) and the Hosmer-Lemeshow test (10 groups); usefulness by "
            "decision curves."
        )
    if any(gap.delong is not None for gap in judgement.gaps):
        sentences.append(
            "The fall of the AUC from training to each other split was tested by unpaired DeLong (Student's t, Welch's "
            f"degrees of freedom) and by a bootstrap ({resamples} resamples per split)."
        )
    if people and people.subgroups:
        sentences.append(
            "Subgroup AUCs were compared by an interaction test on the logit scale; continuous features were cut at "
            "their median."
        )
    if heterogeneity.value is not None:
        sentences.append("Heterogeneity between centres was judged by Cochran's Q and I2 of logit AUCs.")
    return " ".join([*sentences, f"Computed with mammo_aln {__version__}."])


def _on_split(stated: Mapping[str, Any]) -> str:
    return f" on the {spoken(stated['split'])} split" if stated.get("split") else ""


def model_card(facts: Mapping[str, Any], judgement: Judgement) -> list[tuple[str, str]]:
    """Lines of the model card: what the run's files say, what was measured, and what only the author can add."""
    card, settings = dict(facts.get("model_card") or {}), facts.get("settings") or {}
    model = settings.get("model") or {}
    lines = [
        ("Run", str(facts.get("run_id", "not recorded"))),
        ("Task", f"probability of {outcome_words(facts)}"),
        ("Intended use", str(card.pop("intended_use", "author"))),
        ("Inputs", _inputs(facts, model.get("inputs") or [])),
        ("Network", str(model.get("backbone", "not recorded"))),
        ("Measured", " ".join(headline(judgement))),
        ("Not for", str(card.pop("not_for", "decisions on its own; patients unlike those of the centres above"))),
    ]
    return lines + [(str(key).replace("_", " ").capitalize(), plain(value)) for key, value in card.items()]


def _inputs(facts: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Inputs that the model reads, and what it did not see of them in the patients judged."""
    seen = seen_inputs(facts)
    read = ", ".join(inputs) if inputs else "not recorded"
    return f"{read}. {' '.join(seen.warnings)}" if seen and seen.warnings else read
