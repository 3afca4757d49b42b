"""Facts of a signature for a paper, as predictions.json states them: time of inputs, making, answers to lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.pipeline import Pipeline

from mammo_aln.radiomics.publication.answers import fit_answers
from mammo_aln.radiomics.publication.methods import Making, fit_methods
from mammo_aln.radiomics.publication.timing import in_words, times
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic
from mammo_aln.radiomics.signatures.learn import Fusion

if TYPE_CHECKING:
    from mammo_aln.radiomics.signatures.signatures import FitFacts, Signature


def published_facts(
    signature: Signature, facts: FitFacts, about: Mapping[str, Any], rows: pd.DataFrame
) -> Mapping[str, object]:
    """Tell when inputs are known, how the signature was made, and what lists of radiomics ask for.

    Args:
        signature: the fitted signature.
        facts: of the fit.
        about: `signature_facts` of predictions.json.
        rows: patients predicted, with `split` and `center`.
    """
    columns, kept = columns_of(signature.learnt.model, signature.columns)
    kinds = {"clinical": 0, "radiomics": 0, "deep": 0}
    for name in columns:
        kinds["clinical" if name in facts.known_at else name.partition("_")[0]] += 1
    trained = rows.loc[rows.index.intersection(signature.rows.table.index)]
    inputs, of_kept = (in_words(times(names, facts.known_at)) for names in (columns, kept))
    making = Making(
        name=signature.name,
        columns={kind: count for kind, count in kinds.items() if count},
        rows=int(signature.rows.labels.size),
        positive=int(signature.rows.labels.sum()),
        patients=len(set(signature.rows.groups)),
        repeats=facts.repeats,
        cross_validated=bool((rows["split"] == "cv").all()),
        timing=(inputs, of_kept),
        about=about,
        fit=facts.fit,
        extraction=facts.extraction,
    )
    stored: dict[str, object] = {"timing": {"inputs": inputs, "kept": of_kept}, "methods": list(fit_methods(making))}
    if not making.images:
        return stored
    return stored | {"answers": fit_answers(making, int(trained["center"].nunique()), list(facts.splits))}


def columns_of(model: Pipeline | ClinicalLogistic | Fusion, columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns that a model chose from, and those that it kept."""
    if isinstance(model, ClinicalLogistic):
        names = [feature.name for feature in model.features]
        terms = {term.name for term in model.model_.terms}
        return names, [name for name in names if terms & {name, f"{name}_missing"}]
    if isinstance(model, Fusion):
        members = [columns_of(one.model, ()) for one in model.members.values()]
        clinical = [
            name
            for one, (names, _) in zip(model.members.values(), members, strict=True)
            if isinstance(one.model, ClinicalLogistic)
            for name in names
        ]
        return [*columns, *clinical], [name for _, kept in members for name in kept]
    return list(columns), list(model.named_steps["lasso"].kept_)
