"""Answers to CLEAR, METRICS and RQS that a fit's files hold; what is absent here is not known from the files."""

from __future__ import annotations

from mammo_aln.radiomics.publication.methods import (
    FAMILIES,
    Making,
    bins_in_words,
    filters_in_words,
    resampling_in_words,
)


def fit_answers(making: Making, centers: int, tested: list[str]) -> dict[str, str]:
    """Answers by key, as `checklists.csv` names them.

    Args:
        making: facts of the signature.
        centers: centres of its training patients.
        tested: labelled splits that are predicted beside the training one.
    """
    fit, settings = making.fit, making.extraction.get("settings") or {}
    selected = bool(making.about.get("steps"))
    stability, steps = making.about.get("stability"), making.about.get("steps") or []
    kept, total = making.about.get("features"), sum(making.columns.values())
    counts = "; ".join(
        f"{step['step'].replace('_', ' ')}: kept {step['kept']}, dropped {step['dropped']}" for step in steps
    )
    again = (
        f"ICC(2,1) of at least {fit.icc_min:g} over {making.repeats} repeated measurements" if making.repeats else ""
    )
    redundant = f"|Spearman's rho| of at least {fit.rho_max:g}, then LASSO"
    n4, rarer = "N4" if settings.get("bias_correction") else "none", min(making.positive, making.rows - making.positive)
    extracted = bool(settings) and making.images
    version = f"mammo_aln {making.extraction.get('package_version', '?')}, IBSI definitions"
    families = ", ".join(FAMILIES.get(name, str(name)) for name in settings.get("families") or [])
    deep = settings.get("deep_backbone")
    stated: dict[str, object] = {
        "radiomic_data_split": f"splits {', '.join(['train', *tested])}, patients in one split each"
        if tested
        else f"no split: nested cross-validation, {fit.folds} folds, {fit.repeats} repeats, patients in one fold each",
        "radiomic_time_points": making.timing[0],
        "radiomic_preprocessing": extracted and f"normalisation {settings.get('normalise')}; bias correction {n4}",
        "radiomic_resampling": extracted and resampling_in_words(settings),
        "radiomic_discretisation": extracted and bins_in_words(settings),
        "radiomic_filters": extracted and filters_in_words(settings),
        "radiomic_software": extracted and version + (f"; deep features by {deep}" if deep else ""),
        "radiomic_families": extracted and families,
        "radiomic_settings": extracted
        and "features.json holds every parameter; defaults are those of the version named",
        "radiomic_count": ", ".join(f"{count} {kind}" for kind, count in making.columns.items() if count),
        "radiomic_missing": "training median (image features)" if selected else "",
        "radiomic_reliability": again,
        "radiomic_scaling": "z-scores by training mean and SD" if selected else "",
        "radiomic_reduction": counts,
        "radiomic_redundancy": redundant if selected else "",
        "radiomic_dimensionality": kept is not None
        and f"{kept} of {total} features for {rarer} training patients of the rarer outcome",
        "radiomic_model": str(making.about.get("classifier", "")).replace("_", " "),
        "radiomic_tuning": f"{fit.inner_folds} inner folds; settings of each classifier fixed beforehand",
        "radiomic_choice": "simplest of eight classifiers within one standard error of the best inner AUC"
        if fit.classifier == "auto" and selected
        else "fixed beforehand",
        "radiomic_confounders": "ComBat over centres" if fit.combat and selected else "",
        "radiomic_centers": centers > 1 and f"{centers} centres in training",
        "radiomic_internal": f"nested cross-validation, {fit.folds} outer folds: AUC {making.about['nested_auc']:.3f}"
        if making.about.get("nested_auc") is not None
        else "",
        "radiomic_external": "external_test" in tested and "split external_test",
        "radiomic_tested": ", ".join(tested),
        "radiomic_comparison": "all pairs of signatures, ../comparisons.json: DeLong with Holm, NRI, IDI, net benefit",
        "radiomic_simple": "eight classifiers with intervals and a test, classifiers.csv"
        if fit.classifier == "auto" and selected
        else "",
        "radiomic_explained": "Shapley values, shap.csv"
        if selected
        else "odds ratios, odds_ratios.csv"
        if making.name == "clinical"
        else "",
        "radiomic_stability": stability
        and f"Nogueira's index {stability['nogueira']:.2f} over {stability['resamples']} bootstrap samples",
        "radiomic_cutoff": "threshold by Youden on inner folds, frozen; figures at it in section Discrimination",
        "radiomic_calibrated": "Platt on inner folds; slope, in the large, Brier, curves in section Calibration",
        "radiomic_decision_curve": "section Usefulness; differences in ../net_benefit_differences.csv",
        "radiomic_multivariable": "clinical" in making.columns and "clinical features are in the model",
    }
    return {key: str(value) for key, value in stated.items() if value}
