"""The logistic model behind the nomogram: clinical features and one image score, and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from mammo_aln.evaluation.statistics.discrimination import auc, choose_threshold
from mammo_aln.files import read_object, write_csv, write_json
from mammo_aln.radiomics.publication.timing import joined_times
from mammo_aln.radiomics.signatures.cautions import odds_cautions
from mammo_aln.radiomics.signatures.clinical_model import Floats, Model, Term, fit_terms, odds_ratio_report
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic
from mammo_aln.radiomics.signatures.learn import Fusion, dealt
from mammo_aln.radiomics.signatures.signatures import Written

NOMOGRAM = "nomogram"
IMAGE_FIRST = ("dlr", "radiomics", "deep")
LOGIT_LIMIT = 5.0


@dataclass(frozen=True)
class JointModel:
    """The logistic model behind the nomogram, fitted on training patients.

    Args:
        name: the signatures in it.
        model: the fit.
        table: its rows, a column per variable.
        groups: patient of each row.
        levels: names of ordinal features' levels.
        odds: its odds ratios; None where the clinical signature's own table holds them.
        image: the image signature in it, and the column of its score; empty where there is none.
    """

    name: str
    model: Model
    table: pd.DataFrame
    groups: np.ndarray
    levels: Mapping[str, Sequence[str]]
    odds: pd.DataFrame | None = None
    image: str = ""

    @property
    def column(self) -> str:
        """Name of the image score's column."""
        return f"{self.image} score"


def joint_model(written: Mapping[str, Written]) -> JointModel | None:
    """Clinical features and the strongest image signature in one logistic model of the training patients.

    The image signature enters by its out-of-fold log-odds: its scores of patients it was fitted on would outweigh the
    rest. One that holds the clinical model already is passed over, which would be counted twice. None without clinical
    features.
    """
    if "clinical" not in written:
        return None
    clinical = written["clinical"].signature
    model = clinical.learnt.model
    assert isinstance(model, ClinicalLogistic)
    rows = clinical.rows
    table, terms = model.table_.encode(rows.table), list(model.model_.terms)
    levels = {feature.name: feature.levels for feature in model.features if feature.kind == "ordinal"}
    image = next(
        (written[name].signature for name in IMAGE_FIRST if name in written and not _clinical(written[name])), None
    )
    if image is None:
        return JointModel("clinical", model.model_, table, rows.groups, levels) if terms else None
    # calibrated in each outer fold, so that folds which chose different classifiers share one scale
    scores = pd.Series(_log_odds(image.nested.score), image.rows.table.index)
    common = table.index.intersection(scores.index)
    column = f"{image.name} score"
    table = table.loc[common].assign(**{column: scores.loc[common]})
    labels = pd.Series(rows.labels, index=rows.table.index).loc[common].to_numpy()
    groups = pd.Series(rows.groups, index=rows.table.index).loc[common].to_numpy()
    terms.append(Term(column))
    odds = odds_ratio_report(table, labels, terms, observed=model.table_.observed(rows.table.loc[common]))
    fitted = fit_terms(table, labels, terms)
    return JointModel(f"clinical and {image.name}", fitted, table, groups, levels, odds, image.name)


def _clinical(written: Written) -> bool:
    model = written.signature.learnt.model
    return isinstance(model, Fusion) and "clinical" in model.members


def _log_odds(score: Floats) -> Floats:
    return np.clip(logit(np.clip(score, 1e-12, 1 - 1e-12)), -LOGIT_LIMIT, LOGIT_LIMIT)


def held_out_scores(joint: JointModel, folds: int, seed: int) -> Floats:
    """Score every training patient by the logistic model fitted on the other folds' patients."""
    labels, scores = joint.model.labels, np.empty(len(joint.table))
    for inside, out in dealt(labels, joint.groups, folds, seed):
        fitted = fit_terms(joint.table.iloc[inside], labels[inside], joint.model.terms)
        scores[out] = expit(fitted.linear_predictor(joint.table.iloc[out]))
    return scores


def write_nomogram(out: Path, joint: JointModel, written: Mapping[str, Written], *, folds: int, seed: int) -> float:
    """Write OUT/predictions.csv and .json of the nomogram's model; returns its AUC by folds of the training patients.

    The image score of a patient it was learnt from is the out-of-fold one, as in the model's own fit. Where all is
    cross-validated, the nomogram's score is that of a model refitted without the patient's fold.
    """
    image, clinical = written[joint.image], written["clinical"].signature.learnt.model
    assert isinstance(clinical, ClinicalLogistic)
    labels, held_out = joint.model.labels, held_out_scores(joint, folds, seed)
    predictions = image.predictions
    cross_validated = bool((predictions["split"] == "cv").all())
    table = clinical.table_.encode(image.rows.loc[predictions.index])
    table[joint.column] = _log_odds(predictions["score"].to_numpy(float))
    table.loc[joint.table.index, joint.column] = joint.table[joint.column]
    log_odds = pd.Series(joint.model.linear_predictor(table), predictions.index)
    if cross_validated:
        log_odds[joint.table.index] = logit(held_out)
    facts = read_object(image.folder / "predictions.json")
    run_id = f"{facts['fit_id']}-{NOMOGRAM}"
    where = "cv" if cross_validated else "train"
    threshold = choose_threshold(held_out, labels, "youden")
    notes = [*dict.fromkeys([*written["clinical"].notes, *image.notes])]
    of_clinical = read_object(written["clinical"].folder / "predictions.json")
    both = [of_clinical, facts]
    joined = (
        "The nomogram is a logistic regression (Firth's where it separates the outcomes) of the clinical features and"
        f" the out-of-fold log-odds of {joint.image} (cut at {LOGIT_LIMIT:g}), fitted on {len(labels)} training rows."
    )
    own = {
        "timing": {key: joined_times(one["timing"][key] for one in both) for key in ("inputs", "kept")},
        "methods": [*(sentence for one in both for sentence in one["methods"]), joined],
        "answers": facts["answers"]
        | {"radiomic_multivariable": "clinical features and image score, odds_ratios_nomogram.csv"},
        "run_id": run_id,
        "signature": NOMOGRAM,
        "settings": {**facts["settings"], "model": {"inputs": ["clinical", joint.image], "backbone": "logistic model"}},
        "threshold": threshold | {"split": where, "rows": "held-out folds of the training patients"},
        "calibration": {"method": "none", "note": "probabilities are the logistic model's own"},
        "model_card": {"classifier": "logistic", "signature": NOMOGRAM, "training_rows": len(labels)},
        "signature_facts": {"classifier": "logistic", "nested_auc": auc(held_out, labels)},
        "notes": [note for note in notes if not note.startswith("Odds ratios")] + cautions(joint),
    }
    scored = predictions.assign(run_id=run_id, score=expit(log_odds), logit=log_odds)
    write_json(out / "predictions.json", facts | own)
    write_csv(out / "predictions.csv", scored)
    return auc(held_out, labels)


def cautions(joint: JointModel) -> list[str]:
    """Say what is unsure about the nomogram's odds ratios."""
    sentences = odds_cautions(joint.odds) if joint.odds is not None else []
    return [sentence.replace("Odds ratios,", "Nomogram's odds ratios,", 1) for sentence in sentences]
