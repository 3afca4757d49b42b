"""The verb `radiomics predict`: a saved signature scores patients, its calibration and threshold as they were fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.likeness.guard import accepted_patients
from mammo_aln.cohort.lineage import joined, stated_or_not
from mammo_aln.cohort.schemas import numbers
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.files import require_room_for
from mammo_aln.inference.needs import range_notes, table_needs
from mammo_aln.inference.opened import OTHERS
from mammo_aln.inference.predict import chosen_splits
from mammo_aln.progress import say
from mammo_aln.radiomics.scoring.inputs import PatientInputs, profile_of
from mammo_aln.radiomics.scoring.patients import Given, cohort_of, features_of
from mammo_aln.radiomics.signatures.portable.signature import SavedSignature, read_signature
from mammo_aln.runs.ledger import require_writable
from mammo_aln.runs.openings import labelled_rows, record_opening
from mammo_aln.runs.record import read_state
from mammo_aln.runs.scored import record_scored
from mammo_aln.runs.seal import NOT_A_TEST
from mammo_aln.training.data.lacking import InputsOfScored, refuse_lacking
from mammo_aln.training.data.units import cohort_flow
from mammo_aln.training.leak_guard import Tested
from mammo_aln.training.prediction_facts import PredictionFacts
from mammo_aln.training.scoring import prediction_table

LEARNT_FROM = ("train",)


def predict_signature(
    signature: Path,
    out: Path,
    *,
    cohort_folder: Path | None = None,
    features: Path | None = None,
    split: str | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    allow_missing: bool = False,
    workers: int | None = None,
) -> Path:
    """Score patients by a saved signature: predictions as every model's, with a column `outside_training`.

    Args:
        signature: file that `radiomics fit` wrote.
        out: CSV file to be written, its JSON beside it.
        cohort_folder: cohort to score; without it the table's patients are scored, without outcomes.
        features: table of features; without it they are extracted by the signature's settings.
        split: score this split only.
        store: crop store of mammograms.
        ledger: file that records openings.
        allow_missing: score patients although many lack what the signature reads.
        workers: processes of the extraction.

    Raises:
        InputError: no whole signature; features of other settings; a patient that it was fitted on; columns, levels or
            too many values that are missing; an opening that cannot be recorded.
    """
    if out.is_dir() or out.suffix == ".json":
        raise InputError(f"--out {out}: expected the name of a CSV file; its JSON gets the same name with .json")
    require_room_for(out)  # before a test is opened, not after
    saved, digest = read_signature(signature)
    run = _fit_of(signature, saved, digest)
    given = Given(cohort_folder, features, out.with_suffix(".features.csv"), store, workers)
    cohort = cohort_of(given, saved)
    splits = chosen_splits(cohort, split)
    patients = cohort.patients
    patients = patients[patients["eligible"] & patients["split"].isin(splits)].set_index("unit_id", drop=False)
    if patients.empty:
        raise InputError(f"{cohort.name}: no eligible patient of {', '.join(splits)}")
    own = saved.cohort_content == cohort_content(cohort)
    needs = signature_needs(saved, cohort, patients)
    _refuse_unmet(needs, cohort, allow_missing=allow_missing)
    for line in needs.notes:
        say(line)
    patients = needs.patients
    refuse_learnt_from(saved, cohort, patients, own=own)
    learnt = NOT_A_TEST if own else ()
    if labelled_rows(patients, learnt):
        require_writable(cohort, ledger, run)
    features_read, unsure = features_of(given, cohort, saved)
    if both := sorted(map(str, set(features_read) & set(patients))):
        raise InputError(f"{', '.join(both)}: a column of patients.csv and of the features; rename it in patients.csv")
    patients = patients.join(features_read, how="left")
    refuse_learnt_from(saved, cohort, patients, own=own)
    patients = _with_images(saved, patients)
    seen = PatientInputs.of(saved.model, patients)
    inputs = InputsOfScored(profile_of(saved.model, saved.training_rows), seen.counts(patients), allow_missing)
    lines = [lack.in_words(inputs.profile) for lack in inputs.lacks() if lack.kind == "missing"]
    for line in [*lines, *seen.strange_lines(patients)]:
        say(line)
    refuse_lacking(inputs, cohort.name, LEARNT_FROM if own else ())
    notes = [*unsure, *_center_notes(saved, patients, own=own)]
    for note in notes:
        say(f"note: {note}")
    scored = patients.assign(logit=saved.model.log_odds(patients, patients["center"])).reset_index(drop=True)
    if not np.isfinite(scored["logit"]).all():
        raise InputError(
            f"{saved.name}: a score is no finite number: a value lies beyond all bounds (see the features)"
        )
    opened = {} if cohort_folder is None else _openings(saved, digest, cohort, scored, inputs, learnt, run, ledger)
    facts = PredictionFacts(
        run_id=saved.run_id,
        frozen={"signature": digest},
        splits=opened,
        cohort=cohort.name,
        operating=saved.operating,
        recipe={},
        fallbacks={},
        cohort_flow=cohort_flow(cohort.patients, splits, scored),
        settings={"model": {"inputs": [saved.name], "backbone": "none (table of features)"}, "fit": saved.settings},
        lineage=tuple(source.to_state() for source in joined(saved.lineage, stated_or_not(cohort.sources))),
        inputs=inputs.to_json(),
        outcome=saved.outcome.to_json(),
        warnings=tuple(notes) or None,
        leaks=saved.leaks,
    )
    table = prediction_table(scored, saved.run_id, saved.operating, seen.seen())
    facts.write(out, table.assign(outside_training=list(seen.strange(patients))))
    return out


def _fit_of(signature: Path, saved: SavedSignature, digest: str) -> Path | None:
    """The fit whose folder holds the file, which keeps a copy of openings; None for a file that was passed on.

    Raises:
        InputError: the fit did not end, or ended with another signature.
    """
    run = signature.resolve().parent.parent
    state = read_state(run)
    if state.run_id != saved.fit_id:
        return None
    if state.state != "completed":
        raise InputError(f"{run}: its state is {state.state!r}; predictions need a completed fit")
    if (state.frozen or {}).get(saved.name) != digest:
        raise InputError(f"{signature}: changed after the fit ended (state.json holds another digest)")
    return run


@dataclass(frozen=True)
class SignatureNeeds:
    """Needs of a signature that a cohort's tables do not meet; see `inference.needs.Needs`.

    Attributes:
        patients: the rows, with an empty column for each clinical feature that there is none of.
        faults: never scored.
        absent: clinical columns that there are none of.
        notes: told and scored.
    """

    patients: pd.DataFrame
    faults: tuple[str, ...]
    absent: tuple[str, ...]
    notes: tuple[str, ...]


def signature_needs(saved: SavedSignature, cohort: Cohort, patients: pd.DataFrame) -> SignatureNeeds:
    """Compare patients with the clinical features and the outcome that a signature learnt from."""
    features = saved.model.clinical
    absent = [feature.name for feature in features if feature.name not in patients]
    filled = patients.assign(**dict.fromkeys(absent, pd.Series(np.nan, patients.index, dtype=object)))
    needs = table_needs(features, cohort, filled, saved.outcome)
    continuous = [feature for feature in features if feature.kind == "continuous"]
    numbers_of = {feature.name: numbers(filled[feature.name]) for feature in continuous}
    ranges = profile_of(saved.model, saved.training_rows).ranges
    notes = [] if needs.faults else range_notes(continuous, numbers_of, ranges)
    return SignatureNeeds(filled, needs.faults, needs.absent, (*needs.notes, *notes))


def _refuse_unmet(needs: SignatureNeeds, cohort: Cohort, *, allow_missing: bool) -> None:
    faults = [*needs.faults, *(() if allow_missing else needs.absent)]
    if faults:
        way = "" if needs.faults else "\n--allow_missing scores its patients without such a column"
        listed = "\n".join(f"  {line}" for line in faults)
        table = cohort.root / "patients.csv"
        raise InputError(f"{cohort.name}: {table} does not give what the signature needs:\n{listed}{way}")


def refuse_learnt_from(saved: SavedSignature, cohort: Cohort, patients: pd.DataFrame, *, own: bool) -> None:
    """Refuse patients that a signature was fitted on, where they would be a test of it.

    Args:
        saved: the signature.
        cohort: of the patients.
        patients: rows, with the image features where they are known.
        own: it is the cohort that the signature learnt from, whose training split is no test.

    Raises:
        InputError: there are such patients.
    """
    tests = patients[~patients["split"].isin(LEARNT_FROM)] if own else patients
    seen = [each.seen for each in saved.learnt_from]
    remedy = f"their test would be no test. {OTHERS}"
    if len(tests):
        accepted = accepted_patients(cohort, None, pixels=bool(saved.model.columns)) if own else frozenset()
        rows, deed = tests.reset_index(drop=True), f"fitted on by {saved.run_id}"
        Tested(cohort, rows, seen, deed, remedy, accepted).refuse_names()


def _with_images(saved: SavedSignature, patients: pd.DataFrame) -> pd.DataFrame:
    """The patients with an image feature that the signature reads; all of them where it reads none."""
    names = [column.name for column in saved.model.columns]
    if not names:
        return patients
    measured = patients[names].notna().any(axis=1)
    if not measured.any():
        raise InputError("no patient has a feature that the signature reads")
    if not measured.all():
        say(f"{int((~measured).sum())} of {len(patients)} patients have none of the signature's features: not scored")
    return patients[measured]


def _center_notes(saved: SavedSignature, patients: pd.DataFrame, *, own: bool) -> list[str]:
    """Say what ComBat does to these patients' centres; nothing where the signature has none."""
    if not saved.model.centers:
        return []
    names = patients["center"].astype(str)
    known = names.isin(saved.model.centers)
    notes = []
    if not known.all():
        others = ", ".join(sorted(names[~known].unique()))
        notes.append(
            f"{int((~known).sum())} patients are of centres unknown to ComBat ({others}): their features pass unchanged"
        )
    if known.any() and not own:
        notes.append(
            f"{int(known.sum())} patients are harmonised as of the training's centre of the same name"
            f" ({', '.join(sorted(names[known].unique()))}): is it the same hospital?"
        )
    return notes


def _openings(
    saved: SavedSignature,
    digest: str,
    cohort: Cohort,
    scored: pd.DataFrame,
    inputs: InputsOfScored,
    learnt: Sequence[str],
    run: Path | None,
    ledger: Path | None,
) -> dict[str, object]:
    """Record the opening of each labelled test split, and the scores of the others."""
    missing = inputs.missing_by_split()
    names = {str(name): rows["patient_id"].tolist() for name, rows in scored.groupby("split", sort=True)}
    openings = {
        name: record_opening(
            cohort,
            saved.run_id,
            name,
            n,
            run=run,
            ledger=ledger,
            missing=dict(missing.get(name, {})),
            patients=names[name],
            frozen={"signature": digest},
        )
        for name, n in labelled_rows(scored, learnt).items()
    }
    unlabelled = {name: people for name, people in names.items() if name not in (*openings, *learnt)}
    record_scored(cohort, saved.run_id, unlabelled, by="predict", run=run, ledger=ledger)
    return {name: asdict(opening) for name, opening in openings.items()}
