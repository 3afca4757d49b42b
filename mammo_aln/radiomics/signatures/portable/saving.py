"""A fitted signature written whole, with what is needed to score strangers and to know its own patients again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd
from sklearn.pipeline import Pipeline

from mammo_aln import __version__
from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.likeness.rows import FEWEST_VALUES, written_rows
from mammo_aln.cohort.lineage import Source
from mammo_aln.cohort.tables import Cohort
from mammo_aln.files import json_ready
from mammo_aln.progress import say
from mammo_aln.radiomics.signatures.learn import Fusion, Learnt
from mammo_aln.radiomics.signatures.portable.classifiers import NearestRows, RadialKernel
from mammo_aln.radiomics.signatures.portable.extraction import Extraction
from mammo_aln.radiomics.signatures.portable.files import SIGNATURE_FILE
from mammo_aln.radiomics.signatures.portable.models import AnyModel, FusedScores, SelectedFeatures
from mammo_aln.radiomics.signatures.portable.signature import LearntFrom, SavedSignature
from mammo_aln.radiomics.signatures.selection import StepCount, selection_counts
from mammo_aln.radiomics.signatures.signatures import FitFacts, Signature
from mammo_aln.training.leak_guard import salted_each

FITTED_WITH = ("numpy", "pandas", "scikit-learn", "scipy", "lightgbm")


@dataclass(frozen=True)
class Origin:
    """Tables that a fit's signatures come from.

    Args:
        cohort: the cohort.
        extraction: how the image features were extracted; None where their table does not say.
        sources: data sets behind both.
    """

    cohort: Cohort
    extraction: Extraction | None
    sources: Sequence[Source]


def save_signature(folder: Path, signature: Signature, facts: FitFacts, origin: Origin) -> str:
    """Write FOLDER/signature.json, and return its digest."""
    rows, learnt, cohort = signature.rows, signature.learnt, origin.cohort
    model = learnt.portable
    saved = SavedSignature(
        name=signature.name,
        run_id=facts.run_id,
        fit_id=facts.fit_id,
        package_version=__version__,
        packages={name: metadata.version(name) for name in FITTED_WITH},
        cohort=cohort.name,
        cohort_content=cohort_content(cohort),
        outcome=cohort.outcome,
        training_rows=int(rows.labels.size),
        classifier=learnt.chosen,
        steps=tuple(_steps(learnt)),
        settings=json_ready(asdict(facts.fit)),
        extraction=origin.extraction.without_paths() if origin.extraction and model.columns else None,
        model=model,
        calibration=learnt.frozen.calibration,
        threshold=learnt.frozen.threshold,
        lineage=tuple(origin.sources),
        learnt_from=_learnt_from(signature, facts.run_id, cohort),
        leaks=facts.leaks,
    )
    if holders := _holders(model):
        say(
            f"{signature.name}: {SIGNATURE_FILE} holds the selected features of training patients, without names: its"
            f" classifier ({', '.join(holders)}) is made of them. Pass it on only where that is allowed"
        )
    return saved.write(folder / SIGNATURE_FILE)


def _steps(learnt: Learnt, member: str = "") -> list[Mapping[str, object]]:
    if isinstance(learnt.model, Fusion):
        return [step for name, each in learnt.model.members.items() for step in _steps(each, name)]
    counts: list[StepCount] = selection_counts(learnt.model[:-1]) if isinstance(learnt.model, Pipeline) else []
    return [{**({"member": member} if member else {}), **count} for count in counts]


def _holders(model: AnyModel) -> list[str]:
    if isinstance(model, FusedScores):
        return list(dict.fromkeys(name for member in model.members.values() for name in _holders(member)))
    holds = isinstance(model, SelectedFeatures) and isinstance(model.classifier, NearestRows | RadialKernel)
    return [model.classifier.KIND] if holds and isinstance(model, SelectedFeatures) else []


def _learnt_from(signature: Signature, salt: str, cohort: Cohort) -> tuple[LearntFrom, ...]:
    """Hash the training patients' names, and their rows of clinical values and of image features."""
    rows = signature.rows
    names = tuple(sorted(salted_each(salt, cohort.name, last=dict.fromkeys(map(str, rows.groups)))))
    patients = cohort.patients.set_index("unit_id").loc[rows.table.index]
    own = [column.name for column in signature.learnt.portable.columns]
    images = [*own, *(name for name in signature.columns if name not in own and name not in cohort.clinical)]
    images = images[: max(len(own), FEWEST_VALUES)] if own else []
    traces = [(tuple(cohort.clinical), patients), (tuple(images), rows.table)]
    learnt = [LearntFrom(salt, (), columns, _hashed(table, columns, salt)) for columns, table in traces if columns]
    return (LearntFrom(salt, names, (), ()), *learnt)


def _hashed(table: pd.DataFrame, columns: tuple[str, ...], salt: str) -> tuple[str, ...]:
    return tuple(sorted(salted_each(salt, "row", *columns, last=filter(None, written_rows(table, columns)))))
