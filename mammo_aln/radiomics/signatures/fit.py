"""The verb `radiomics fit`: from a cohort's tables to the clinical, radiomics, deep and DLR signatures, judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml

from mammo_aln import __version__
from mammo_aln.cohort.clinical import refuse_late
from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.likeness.guard import OPT_OUT, refuse_leaks
from mammo_aln.cohort.likeness.rows import equal_rows
from mammo_aln.cohort.lineage import Source, joined, stated_or_not
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, make_folder, read_object, write_json, write_text
from mammo_aln.progress import say
from mammo_aln.radiomics.publication.methods import read_extraction
from mammo_aln.radiomics.signatures.enough import refuse_few, refuse_few_repeats, refuse_unfilled
from mammo_aln.radiomics.signatures.feature_table import (
    features_content,
    read_features,
    without_any_after,
    without_late,
)
from mammo_aln.radiomics.signatures.learn import Clinical, Fused, Recipe, Selected
from mammo_aln.radiomics.signatures.nested import Rows, learn_and_judge, seed_of
from mammo_aln.radiomics.signatures.portable.extraction import Extraction
from mammo_aln.radiomics.signatures.portable.saving import Origin, save_signature
from mammo_aln.radiomics.signatures.published import write_analysis
from mammo_aln.radiomics.signatures.signatures import FitFacts, Signature, write_signature
from mammo_aln.runs.ledger import require_writable
from mammo_aln.runs.lineage import write_lineage
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.openings import labelled_rows, record_opening
from mammo_aln.runs.record import environment, read_state, write_state
from mammo_aln.settings import FitConfig
from mammo_aln.training.baseline import cohort_table
from mammo_aln.training.data.units import cohort_flow

CROSS_VALIDATED = "cv"


@dataclass(frozen=True)
class Inputs:
    """Tables that a fit reads.

    Args:
        cohort: the cohort; `patients` is indexed by unit and holds the eligible rows alone.
        patients: see `cohort`.
        table: clinical columns, and image features where there are any (NaN for patients without), by unit.
        names: signature -> its feature columns.
        repeats: feature tables of repeated measurements.
        late: features of images taken after NAT that were left out.
        content: digest of the features.
    """

    cohort: Cohort
    patients: pd.DataFrame
    table: pd.DataFrame
    names: dict[str, tuple[str, ...]]
    repeats: tuple[pd.DataFrame, ...]
    late: int
    content: str


def read_inputs(cohort_folder: Path, features: Path | None, repeats: Sequence[Path], settings: FitConfig) -> Inputs:
    """Read and check everything before any work begins.

    Raises:
        InputError: a table is wrong, a feature is known too late, or there is neither a clinical nor an image feature.
    """
    cohort = read_cohort(cohort_folder, need=("patients",))
    clinical = list(cohort.clinical.values())
    refuse_late(clinical, allow_post_nat=settings.allow_post_nat, setting="fit.allow_post_nat")
    patients = cohort.patients[cohort.patients["eligible"]].set_index("unit_id", drop=False)
    images, late = pd.DataFrame(index=patients.index[:0]), 0
    if features is not None:
        images, late = without_late(read_features(features, patients.reset_index(drop=True)), settings.allow_post_nat)
    again = [read_features(path, patients.reset_index(drop=True)) for path in repeats]
    for path, table in zip(repeats, again, strict=True):
        if features is None:
            raise InputError(f"--repeats {path}: needs --features, whose repeated measurement it is")
        if not set(images.columns) & set(table.columns):
            raise InputError(f"--repeats {path}: has no feature column in common with {features}")
    names = {"clinical": tuple(cohort.clinical)}
    for prefix in ("radiomics", "deep"):
        names[prefix] = tuple(name for name in images.columns if name.startswith(f"{prefix}_"))
    names = {name: columns for name, columns in names.items() if columns}
    if not names:
        raise InputError(
            f"{cohort.root}: nothing to learn from: cohort.yaml declares no clinical feature, and no --features"
        )
    if {"radiomics", "deep"} <= set(names):
        names["dlr"] = names["radiomics"] + names["deep"]
    both = sorted(set(cohort.clinical) & set(images.columns))
    if both:
        raise InputError(
            f"{', '.join(both)}: a clinical feature of cohort.yaml and a column of {features}; rename it in one of them"
        )
    table = patients[list(cohort.clinical)].join(images, how="left")
    return Inputs(cohort, patients, table, names, tuple(again), late, features_content([images, *again]))


def recipes_of(inputs: Inputs, settings: FitConfig) -> dict[str, Recipe]:
    """Recipes of all signatures whose inputs are there."""
    recipes: dict[str, Recipe] = {}
    centers = inputs.patients["center"]
    clinical = Clinical(tuple(inputs.cohort.clinical.values()))
    for name, columns in inputs.names.items():
        recipes[name] = clinical if name == "clinical" else Selected(columns, inputs.repeats, centers)
    if "dlr" in recipes:
        images = ("radiomics", "deep") if settings.fusion == "score" else ("dlr",)
        members = {"image" if name == "dlr" else name: recipes[name] for name in images}
        if settings.dlr_clinical and "clinical" in recipes:
            members["clinical"] = clinical
        if len(members) > 1:
            recipes["dlr"] = Fused(members)
    return recipes


def _sources(cohort: Cohort, features: Path | None) -> tuple[Source, ...]:
    """Data sets behind the cohort, and what lies behind its features by the JSON beside their table."""
    if features is None:
        return stated_or_not(cohort.sources)
    facts = features.with_suffix(".json")
    states = read_object(facts).get("lineage") if facts.is_file() else None
    unknown = (Source(f"features {features.name}"),)
    return joined(stated_or_not(cohort.sources), unknown if states is None else map(Source.from_state, states))


def identity(inputs: Inputs, settings: FitConfig, seed: int) -> str:
    """Id of the fit: settings, cohort content, features, seed and version; never paths or times."""
    plain = {
        "version": __version__,
        "fit": json_ready(asdict(settings)),
        "cohort": cohort_content(inputs.cohort),
        "features": inputs.content,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def training_rows(inputs: Inputs, name: str, *, split: bool) -> Rows:
    """Rows that a signature learns from: labelled, of split `train` where there are splits, with its inputs.

    Raises:
        InputError: no row, or one outcome only.
    """
    patients = inputs.patients
    use = patients["aln_status"].notna() & usable(inputs, name)
    if split:
        use &= patients["split"] == "train"
    rows = patients[use]
    labels = rows["aln_status"].to_numpy(float)
    if np.unique(labels).size < 2:
        where = "with split = train " if split else ""
        raise InputError(
            f"{name}: {labels.size} labelled patients {where}have its inputs, {int(labels.sum())} of them positive; "
            "both outcomes are needed"
        )
    return Rows(inputs.table.loc[rows.index], labels, rows["patient_id"].to_numpy())


def usable(inputs: Inputs, name: str) -> pd.Series:
    """Patients that have the inputs of a signature (any image feature; clinical gaps are filled)."""
    if name == "clinical":
        return pd.Series(True, index=inputs.patients.index)
    return inputs.table[list(inputs.names[name])].notna().any(axis=1)


def fit_signatures(
    cohort_folder: Path,
    out: Path,
    *,
    features: Path | None = None,
    repeats: Sequence[Path] = (),
    settings: FitConfig = FitConfig(),
    seed: int = 0,
    ledger: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Fit and judge every signature whose inputs are there.

    With a column `split`, `train` is learnt from and the other splits are predicted; without one every patient gets the
    out-of-fold score of a repeated nested cross-validation (split `cv`). A fit that is done is not done again.

    Raises:
        InputError: see `read_inputs`; OUT holds another fit; an opening of a labelled test cannot be recorded.
    """
    inputs = read_inputs(Path(cohort_folder), features, repeats, settings)
    split = "split" in inputs.patients
    recipes = recipes_of(inputs, settings)
    rows = {name: training_rows(inputs, name, split=split) for name in recipes}
    refuse_few(rows, settings)
    refuse_unfilled(rows, inputs.names)
    refuse_few_repeats(rows, inputs.names, inputs.repeats, settings)
    between: Literal["split", "patient_id"] = "split" if split else "patient_id"
    leaks = refuse_leaks(inputs.cohort, between, None, pixels=features is not None)
    refuse_equal_features(inputs, split=split)
    run_id = identity(inputs, settings, seed)
    tested = labelled_rows(inputs.patients) if split else {}
    if tested:
        require_writable(inputs.cohort, ledger)
    out = make_folder(out)
    _refuse_other_fit(out, run_id)
    with held_alone(out):
        state = read_state(out)
        if state.state == "completed":
            say(f"{out}: this fit ({run_id}) is done already")
            return out
        write_state(out, "running", run_id=run_id)
        plain = {"fit": asdict(settings), "seed": seed}
        write_text(out / "config.yaml", yaml.safe_dump(json_ready(plain), sort_keys=False))
        write_json(out / "environment.json", asdict(environment()))
        extraction = None if features is None else Extraction.beside(features)
        origin = Origin(inputs.cohort, extraction, _sources(inputs.cohort, features))
        write_lineage(out, origin.sources)
        _announce(rows, split)
        learnt, nested = learn_and_judge(
            recipes, rows, settings, repeats=1 if split else settings.repeats, seed=seed, workers=workers
        )
        people = inputs.patients
        named = {name: people.loc[people["split"] == name, "patient_id"].tolist() for name in tested}
        opened = {
            name: asdict(record_opening(inputs.cohort, run_id, name, n, run=out, ledger=ledger, patients=named[name]))
            for name, n in tested.items()
        }
        written, digests = [], {}
        for name in recipes:
            signature = Signature(name, inputs.names[name], rows[name], learnt[name], nested[name])
            facts = replace(_facts(inputs, name, settings, run_id, split), splits=opened)
            facts = replace(facts, leaks=leaks.to_json() if leaks else None, extraction=read_extraction(features))
            predicted = _to_predict(inputs, name, split)
            written.append(write_signature(out / name, signature, predicted, facts, seed=seed, workers=workers))
            digests[name] = save_signature(out / name, signature, facts, origin)
        write_analysis(
            out,
            written,
            cohort_table(inputs.cohort),
            inputs.cohort.outcome.in_words,
            settings,
            seed=seed_of(seed, 3),
        )
        write_state(out, "completed", frozen=digests)
    return out


def refuse_equal_features(inputs: Inputs, *, split: bool) -> None:
    """Refuse patients whose image features are all equal, in several splits (or folds): they are of one image.

    Raises:
        InputError: there are such, and cohort.yaml does not accept them.
    """
    images = [str(name) for name in inputs.table if name not in inputs.cohort.clinical]
    if not images or inputs.cohort.leaks_accepted:
        return
    patients = inputs.patients
    side = dict(zip(patients["patient_id"], patients["split" if split else "patient_id"], strict=True))
    for shared in equal_rows(inputs.table, patients["patient_id"], images, "image features"):
        if shared.certain and len({side[name] for name in shared.patients}) > 1:
            raise InputError(
                f"{inputs.cohort.name}: the patients {', '.join(shared.patients)}: {shared.words}: their images are"
                f" one. Give all rows of a person one patient_id, or leave a patient out (eligible = 0). {OPT_OUT}"
            )


def _refuse_other_fit(out: Path, run_id: str) -> None:
    there = read_state(out).run_id
    if there not in (None, run_id):
        raise InputError(f"{out}: holds another fit ({there}; this one is {run_id}); choose another folder")


def _announce(rows: dict[str, Rows], split: bool) -> None:
    for name, training in rows.items():
        n, positive = training.labels.size, int(training.labels.sum())
        where = "training rows" if split else "rows, cross-validated"
        say(f"{name}: {n} {where}, {positive} with the outcome")


def _to_predict(inputs: Inputs, name: str, split: bool) -> pd.DataFrame:
    """Rows of the predictions file with the table's columns; those without a split have `cv` and an outcome."""
    patients = inputs.patients[usable(inputs, name)]
    if split:
        usable_rows = patients["aln_status"].notna() | (patients["split"] != "train")
        patients = patients[usable_rows & patients["split"].notna()]
    else:
        patients = patients[patients["aln_status"].notna()].assign(split=CROSS_VALIDATED)
    kept = ["unit_id", "patient_id", "side", "center", "split", "aln_status"]
    return patients[kept].join(inputs.table.loc[patients.index].drop(columns=kept, errors="ignore"))


def _facts(inputs: Inputs, name: str, settings: FitConfig, run_id: str, split: bool) -> FitFacts:
    everyone = inputs.cohort.patients if split else inputs.cohort.patients.assign(split=CROSS_VALIDATED)
    splits = list(dict.fromkeys(everyone["split"].dropna()))
    late = f"{inputs.late} features of images taken after NAT were left out (fit.allow_post_nat)"
    return FitFacts(
        run_id=f"{run_id}-{name}",
        fit_id=run_id,
        signature=name,
        cohort=inputs.cohort.name,
        splits={},
        cohort_flow=cohort_flow(everyone, splits, _to_predict(inputs, name, split)),
        fit=settings,
        notes=((late,) if inputs.late else ()) + _lacking_after(inputs, name),
        outcome=inputs.cohort.outcome,
        known_at={name: feature.known_at for name, feature in inputs.cohort.clinical.items()},
        repeats=len(inputs.repeats),
    )


def _lacking_after(inputs: Inputs, name: str) -> tuple[str, ...]:
    """Tell of patients without any feature after NAT, whom a median would make average responders."""
    count = 0 if name == "clinical" else without_any_after(inputs.table[list(inputs.names[name])].dropna(how="all"))
    if not count:
        return ()
    note = (
        f"{count} patients have image features before NAT and none after it, which get the training median: a missing"
        " scan. A region that is gone is another matter: its volume after NAT is 0"
    )
    say(f"{name}: {note}")
    return (note,)
