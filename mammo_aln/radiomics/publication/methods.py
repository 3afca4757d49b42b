"""Sentences for a paper on how a signature was made, from its settings, its counts and features.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo_aln.evaluation.report.words import plain
from mammo_aln.files import read_object
from mammo_aln.settings import FitConfig

NOT_KNOWN = "How the image features were extracted is not known from the files: no features.json lies beside the table."
FAMILIES = {
    **{"stat": "first order", "ih": "intensity histogram", "ivh": "intensity-volume histogram", "morph": "shape"},
    **{"loc": "local peaks", "spatial": "spatial autocorrelation", "cm": "GLCM", "rlm": "GLRLM", "szm": "GLSZM"},
    **{"dzm": "GLDZM", "ngt": "NGTDM", "ngl": "NGLDM"},
}
OF_FILTER = {
    **{"log": ("log_sigma_mm", "log_normalise"), "wavelet": ("wavelet", "wavelet_levels", "wavelet_rotation")},
    **{
        "mean": ("mean_voxels",),
        "laws": ("laws", "laws_rotation", "laws_energy_voxels"),
        "riesz": ("riesz", "riesz_of"),
    },
    "gabor": ("gabor_sigma_mm", "gabor_wavelength_mm", "gabor_aspect", "gabor_step_deg", "gabor_planes"),
    "simoncelli": ("simoncelli_levels",),
}


@dataclass(frozen=True)
class Making:
    """Facts of one signature that its methods are told of.

    Args:
        name: of the signature.
        columns: how many features it chose from, by kind (`radiomics`, `deep`, `clinical`).
        rows: training rows.
        positive: of them with the outcome.
        patients: to whom they belong.
        repeats: tables of repeated measurements.
        cross_validated: the cohort has no split, so that outer folds judge everybody.
        timing: when inputs are known, in words; of all that it chose from, and of what it kept.
        about: `signature_facts` of predictions.json.
        fit: settings.
        extraction: content of features.json; empty where there is none.
    """

    name: str
    columns: Mapping[str, int]
    rows: int
    positive: int
    patients: int
    repeats: int
    cross_validated: bool
    timing: tuple[str, str]
    about: Mapping[str, Any]
    fit: FitConfig
    extraction: Mapping[str, Any]

    @property
    def images(self) -> bool:
        """Holds image features."""
        return any(self.columns.get(kind) for kind in ("radiomics", "deep"))


def read_extraction(features: Path | None) -> Mapping[str, Any]:
    """Read features.json beside a table of features; empty where there is none."""
    beside = features.with_suffix(".json") if features else None
    return read_object(beside) if beside and beside.is_file() else {}


def bins_in_words(settings: Mapping[str, Any]) -> str:
    """Say how grey levels were made."""
    if "bins" not in settings:
        return "bins not known from the files"
    text = f"{settings['bins']} bins"
    if settings.get("bin_width"):
        origin, lowest = settings.get("bin_origin"), settings.get("resegment_range") or [None]
        begin = lowest[0] if origin is None else origin
        begins = "each region's own minimum" if begin is None else plain(begin)
        text = f"bins of {plain(settings['bin_width'])} intensity units from {begins}"
    widths = settings.get("bin_width_of")
    return f"{text}, of own width on {plain(widths)}" if widths else text


def resampling_in_words(settings: Mapping[str, Any]) -> str:
    """Say on which grid features were computed."""
    if "spacing_mm" not in settings:
        return "a grid not known from the files"
    spacing = settings["spacing_mm"]
    if not spacing:
        return "the images' own grid (no resampling)"
    how = f"{settings.get('interpolation', '?')} interpolation, masks {settings.get('mask_interpolation', '?')}"
    return f"a grid of {plain(spacing)} mm ({how})"


def filters_in_words(settings: Mapping[str, Any]) -> str:
    """Name the images that features were computed on, with each filter's parameters."""
    texts = []
    for name in settings.get("filters") or []:
        stated = {key: settings[key] for key in OF_FILTER.get(name, ()) if key in settings}
        texts.append(f"{name} ({plain(stated)})" if stated else str(name))
    return ", ".join(texts) or "not known from the files"


def extraction_sentences(extraction: Mapping[str, Any], deep: bool) -> list[str]:
    """Tell how features were extracted, deep ones where the signature holds such."""
    settings = extraction.get("settings") or {}
    if not settings:
        return [NOT_KNOWN]
    families = ", ".join(FAMILIES.get(name, str(name)) for name in settings.get("families") or [])
    sentences = [
        f"Image features ({families}) were extracted with mammo_aln {extraction.get('package_version', '?')}"
        f" (calculation version {extraction.get('calculation_version', '?')}) from"
        f" {extraction.get('images', '?')} images and {extraction.get('regions', '?')} regions, by the definitions of"
        f" IBSI, on {resampling_in_words(settings)}, with {bins_in_words(settings)} and intensities normalised by"
        f" {plain(settings.get('normalise'))} (not on {plain(settings.get('quantitative'))}); images:"
        f" {filters_in_words(settings)}; texture matrices joined by {settings.get('aggregation', '?')}."
    ]
    if deep and settings.get("deep_backbone"):
        weights = settings.get("deep_pretrained")
        learnt = {True: "timm's weights", "random": "random weights (filters that learnt nothing)"}.get(
            weights, weights
        )
        sentences.append(
            f"Deep features are pooled activations of {settings['deep_backbone']} with {learnt} on"
            f" {settings.get('deep_size_px', '?')} px squares around {plain(settings.get('deep_regions'))}"
            f" ({settings.get('deep_slices', '?')})."
        )
    return [*sentences, "All other settings are those of features.json."]


def learning_sentences(making: Making) -> list[str]:
    """Tell how the signature was learnt and judged."""
    fit, about = making.fit, making.about
    chosen_from = ", ".join(f"{count} {kind}" for kind, count in making.columns.items() if count)
    who = (
        f"{making.rows} axillae of {making.patients} patients"
        if making.rows != making.patients
        else f"{making.rows} patients"
    )
    sentences = [
        f"The signature {making.name} was learnt from {who}, {making.positive} of them with the outcome, out of"
        f" {chosen_from} features; its inputs are known {making.timing[0]}."
    ]
    if about.get("steps"):
        sentences.append(_selection(making))
    if about.get("fusion_weights"):
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in about["fusion_weights"].items())
        sentences.append(
            "It joins the log-odds of its members by a logistic regression of their inner out-of-fold scores"
            f" ({weights})."
        )
    if making.name == "clinical":
        kept = ", by backward elimination (AIC)" if fit.clinical == "backward_aic" else ""
        sentences.append(
            f"It is a logistic regression of the declared clinical features{kept}, by maximum likelihood, or Firth's"
            " estimates where features separate the outcomes; a missing value is the training median or commonest"
            " level, with a term of its own where at least ten training patients lack it."
        )
    sentences.append(
        f"Scores were calibrated (Platt) and the threshold chosen (Youden) on scores of {fit.inner_folds} inner folds"
        " of training patients."
    )
    return [*sentences, _nested(making)]


def _selection(making: Making) -> str:
    fit, about = making.fit, making.about
    icc = f"features below an ICC(2,1) of {fit.icc_min:g} over {making.repeats + 1} measurements dropped, "
    combat = "centres brought to one location and scale (ComBat), "
    fdr = " after Benjamini and Hochberg" if fit.fdr else ""
    counts = "; ".join(f"{step['step'].replace('_', ' ')} kept {step['kept']}" for step in about["steps"])
    by = (
        "the simplest of eight classifiers within one standard error of the best inner AUC"
        if fit.classifier == "auto"
        else fit.classifier.replace("_", " ")
    )
    penalty = "least deviance" if fit.lasso_rule == "min" else "one standard error above the least deviance"
    stability = about.get("stability")
    steady = (
        f" Over {stability['resamples']} bootstrap samples of the patients the selection's stability (Nogueira) was"
        f" {stability['nogueira']:.2f}."
        if stability
        else ""
    )
    return (
        f"Anew in every fold: {icc if making.repeats else ''}gaps filled with the training median,"
        f" {combat if fit.combat else ''}near-constant features dropped, z-scores, Mann-Whitney U (p <"
        f" {fit.alpha:g}{fdr}), of features with |Spearman's rho| of at least {fit.rho_max:g} the one of smaller p,"
        f" LASSO ({fit.lasso_folds} folds, penalty of {penalty}), then {by}. On all training patients: {counts};"
        f" {about['features']} features, known {making.timing[1]}, classifier"
        f" {str(about['classifier']).replace('_', ' ')}.{steady}"
    )


def _nested(making: Making) -> str:
    repeats = f", repeated {making.fit.repeats} times" if making.cross_validated else ""
    area, limits = making.about.get("nested_auc"), making.about.get("nested_auc_limits")
    text = f"Nested cross-validation ({making.fit.folds} outer folds of patients{repeats})"
    if area is None:
        return f"{text} gave no AUC."
    interval = f" (95 % interval {limits[0]:.3f} to {limits[1]:.3f})" if limits and limits[0] == limits[0] else ""
    return f"{text} gave an AUC of {area:.3f}{interval}."


def fit_methods(making: Making) -> Sequence[str]:
    """Tell how a signature was made: extraction, where it holds image features, then learning."""
    deep = bool(making.columns.get("deep"))
    return [*(extraction_sentences(making.extraction, deep) if making.images else ()), *learning_sentences(making)]
