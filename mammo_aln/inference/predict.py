"""Scoring a cohort with a frozen run: weights, threshold, calibration, clinical encoding and pixel recipe unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.likeness.guard import refuse_leaks
from mammo_aln.cohort.lineage import Source, joined, stated_or_not
from mammo_aln.cohort.tables import Cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.files import require_room_for, write_csv
from mammo_aln.inference.ensemble import UNIT, Ensemble, Member, ensemble_of, mean_of_members, read_member
from mammo_aln.inference.opened import (
    OpenedMember,
    check_needs,
    learnt_from,
    open_members,
    scored_inputs,
    seen_of_all,
)
from mammo_aln.machine.hardware import compiler_lacks, computes_on_gpu, resolved_precision
from mammo_aln.progress import say, say_once
from mammo_aln.runs.ledger import require_writable
from mammo_aln.runs.lineage import read_lineage
from mammo_aln.runs.openings import labelled_rows, record_opening
from mammo_aln.runs.record import read_settings
from mammo_aln.runs.scored import record_scored
from mammo_aln.runs.seal import NOT_A_TEST, require_unchanged
from mammo_aln.settings import TrainerConfig
from mammo_aln.training.data.base import read_for
from mammo_aln.training.data.datamodule import LEARNT_FROM, MammoDataModule
from mammo_aln.training.data.lacking import InputsOfScored, refuse_lacking
from mammo_aln.training.data.units import cohort_flow
from mammo_aln.training.prediction_facts import PredictionFacts
from mammo_aln.training.scoring import predict_logits, prediction_table


@dataclass(frozen=True)
class ScoredCohort:
    """A cohort's rows as a frozen model scored them.

    Attributes:
        table: rows of predictions.csv.
        facts: what stands in the JSON beside the predictions.
        inputs: what the model saw of the patients, and what it did not.
        data: the cohort as the run read it.
    """

    table: pd.DataFrame
    facts: PredictionFacts
    inputs: InputsOfScored
    data: MammoDataModule

    @property
    def exclusions(self) -> pd.DataFrame:
        """Crops that were asked for and could not be had; empty where no image is read."""
        return self.data.crop_set.exclusions if self.data.reads_images else pd.DataFrame()


def predict_cohort(
    run: Path | Sequence[Path],
    cohort_folder: Path,
    out: Path,
    *,
    split: str | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    plan: str | None = None,
    allow_missing: bool = False,
) -> Path:
    """Write the scores of a cohort's rows into `out`, and beside it, as JSON, what a reader must know of them.

    Args:
        run: see `score_cohort`, as the other parameters.
        cohort_folder: cohort to score.
        out: CSV file to be written.
        split: score this split only.
        store: crop store.
        ledger: file that records openings.
        plan: id of the declared plan that these openings belong to.
        allow_missing: score patients who lack what the run was trained with.

    Raises:
        InputError: `out` is no CSV file's name, or whatever `score_cohort` refuses.
    """
    if out.is_dir() or out.suffix == ".json":
        raise InputError(f"--out {out}: expected the name of a CSV file; its JSON gets the same name with .json")
    require_room_for(out)  # before a test is opened, not after
    scored = score_cohort(
        run, cohort_folder, split=split, store=store, ledger=ledger, plan=plan, allow_missing=allow_missing
    )
    write_scored(scored, out)
    return out


def write_scored(scored: ScoredCohort, out: Path) -> None:
    """Write predictions, their JSON, and the crops that could not be had where there are such."""
    if len(scored.exclusions):
        write_csv(out.with_suffix(".exclusions.csv"), scored.exclusions)
    scored.facts.write(out, scored.table)


def score_cohort(
    run: Path | Sequence[Path],
    cohort_folder: Path,
    *,
    split: str | None = None,
    patients: Sequence[str] | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    plan: str | None = None,
    allow_missing: bool = False,
    one_patient: bool = False,
) -> ScoredCohort:
    """Score a cohort's rows with a frozen run, and record the opening of every labelled test split.

    Args:
        run: directory of a completed run; several are one model, the mean of their logits (see `ensemble`).
        cohort_folder: cohort to score.
        split: score this split only.
        patients: score these patients only.
        store: crop store; by default `.crops` in the cohort folder.
        ledger: file that records openings of labelled test splits, instead of `openings.jsonl` in both folders.
        plan: id of the declared plan that these openings belong to; by default it is looked up.
        allow_missing: score patients who lack what the run was trained with: in a split, more than `MOST_LACKING` of
            them beyond training's share. It is told, counted and recorded.
        one_patient: of a single patient only the lesion's crop, or all clinical values together, may not lack.

    Raises:
        InputError: `run` is no completed run or changed since, nothing is left to score, the run's pixels were made by
            other code, runs that don't go together, an unknown patient, an opening cannot be recorded, or patients lack
            an input too often and `allow_missing` is not set.
    """
    members = [read_member(path) for path in ([run] if isinstance(run, Path) else run)]
    if not members:
        raise InputError("--run: at least one run directory is needed")
    digests = {member.run_id: require_unchanged(member.run) for member in members}
    ensemble = ensemble_of(members) if len(members) > 1 else None
    run_id = members[0].run_id if ensemble is None else ensemble.run_id
    operating = members[0].facts.operating if ensemble is None else ensemble.operating
    cohort = with_split(read_for(read_settings(members[0].run).model.inputs, cohort_folder, store))
    pooled = None
    if ensemble is not None and ensemble.out_of_fold and members[0].cohort == cohort_content(cohort):
        splits = _outside_the_folds(cohort, split)
        pooled = _pooled_rows(ensemble, cohort) if split in (None, "val") else None
    else:
        splits = chosen_splits(cohort, split)
    # The openings of an ensemble stand in the cohort's ledger alone: it has no directory of its own.
    own = members[0].run if ensemble is None else None
    learnt = NOT_A_TEST if members[0].cohort == cohort_content(cohort) else ()
    if labelled_rows(cohort.patients[cohort.patients["split"].isin(splits)], learnt):
        require_writable(cohort, ledger, own)
    opened = open_members(members, cohort, splits, store, patients, one_patient=one_patient)
    data = opened[0].data
    said = check_needs(opened, cohort, splits, allow_missing=allow_missing, one_patient=one_patient)
    leaks = None
    if learnt and splits and not one_patient:
        leaks = refuse_leaks(cohort, "split", store, pixels=data.reads_images)
    scored = _score(opened, cohort, splits)
    crops = data.readable_crops() if data.reads_images else None
    rows = cohort.patients
    if patients is not None:
        rows = rows[rows["patient_id"].isin(patients)]
        pooled = None if pooled is None else pooled[pooled["patient_id"].isin(patients)]
    if pooled is not None:
        scored = pd.concat([pooled, scored], ignore_index=True)
        if crops is not None and splits:
            crops = pd.concat([crops, _crops_learnt_from(members[0], cohort, store)])
    inputs = scored_inputs(opened, scored, crops, allow_missing=allow_missing)
    for line in inputs.lines():
        if line not in said:
            say(line)
    refuse_lacking(inputs, cohort.name, learnt_from(opened, cohort), whole=one_patient)
    missing = inputs.missing_by_split()
    names = {str(name): rows["patient_id"].tolist() for name, rows in scored.groupby("split", sort=True)}
    openings = {
        name: record_opening(
            cohort,
            run_id,
            name,
            n,
            plan=plan,
            run=own,
            ledger=ledger,
            missing=dict(missing.get(name, {})),
            patients=names[name],
            frozen=digests,
        )
        for name, n in labelled_rows(scored, learnt).items()
    }
    if not one_patient:
        unlabelled = {name: people for name, people in names.items() if name not in (*openings, *learnt)}
        record_scored(cohort, run_id, unlabelled, by="predict", run=own, ledger=ledger)
    read = [*splits, *(["val"] if pooled is not None else [])]
    facts = PredictionFacts(
        run_id=run_id,
        frozen=digests if ensemble is not None else digests[run_id],
        splits={name: asdict(opening) for name, opening in openings.items()},
        cohort=cohort.name,
        operating=operating,
        recipe=data.recipe,
        fallbacks=data.fallbacks,
        cohort_flow=cohort_flow(rows, read, scored, data.crop_set if data.reads_images else None),
        settings=members[0].facts.settings if ensemble is None else ensemble.settings,
        absent_regions=tuple(sorted(set(data.regions) - {"primary", *data.crop.auxiliary})),
        members=None if ensemble is None else tuple(member.run_id for member in members),
        out_of_fold=None if ensemble is None else ensemble.out_of_fold,
        lineage=tuple(source.to_state() for source in _sources(members, cohort)),
        inputs=inputs.to_json(),
        outcome=opened[0].outcome.to_json() if opened[0].outcome else None,
        warnings=tuple(dict.fromkeys(words for each in opened for words in each.warnings)) or None,
        leaks=leaks.to_json() if leaks else next((m.facts.leaks for m in members if m.facts.leaks), None),
    )
    table = prediction_table(scored, run_id, operating, seen_of_all(opened, scored, crops))
    return ScoredCohort(table, facts, inputs, data)


def _sources(members: Sequence[Member], cohort: Cohort) -> tuple[Source, ...]:
    """Data sets and weights behind the members, and those of the cohort that they score."""
    return joined(*(read_lineage(member.run) for member in members), stated_or_not(cohort.sources))


def _score(opened: Sequence[OpenedMember], cohort: Cohort, splits: Sequence[str]) -> pd.DataFrame:
    """Rows with the mean of the members' logits; none where `splits` is empty."""
    if not splits:
        return cohort.patients.iloc[:0].assign(logit=0.0)
    tables = []
    for own in opened:
        own.prepare()
        if not any(len(own.data.patients(name)) for name in splits):
            raise InputError(
                f"{cohort.name}: no eligible patient of {', '.join(splits)} has an input that the run reads"
            )
        trainer = scored_here(read_settings(own.member.run).trainer)
        tables.append(predict_logits(own.module, own.data, trainer))
    return mean_of_members(tables)


def _crops_learnt_from(member: Member, cohort: Cohort, store: Path | None) -> pd.DataFrame:
    """Crops of the patients that a member learnt from, beside those of the splits that are scored."""
    (own,) = open_members([member], cohort, LEARNT_FROM, store)
    return own.data.readable_crops()


def _outside_the_folds(cohort: Cohort, split: str | None) -> list[str]:
    """Splits of the members' own cohort that no fold touches; training rows have no honest score of all members."""
    if split == "train":
        raise InputError("--split train: each fold trained on other patients; `val` holds them all, scored out of fold")
    if split == "val":
        return []
    return [name for name in chosen_splits(cohort, split) if name not in ("train", "val")]


def _pooled_rows(ensemble: Ensemble, cohort: Cohort) -> pd.DataFrame:
    """The cohort's rows that validated a member, as split `val` with their out-of-fold logit."""
    patients = cohort.patients.assign(split="val")
    side = patients["side"].fillna("") if "side" in patients else ""
    logit = ensemble.val.set_index(list(UNIT))["logit"]
    keys = pd.MultiIndex.from_arrays([patients["patient_id"], pd.Series(side, index=patients.index)])
    return patients.assign(logit=logit.reindex(keys).to_numpy())[keys.isin(logit.index)].reset_index(drop=True)


def scored_here(trainer: TrainerConfig) -> TrainerConfig:
    """Settings with which this machine scores a run; where its arithmetic or compiler lacks here, that is said."""
    if trainer.compile and (compiler := compiler_lacks(on_gpu=computes_on_gpu(trainer))):
        say_once(f"trained with trainer.compile, which {compiler}: scored without")
        trainer = replace(trainer, compile=False)
    if computes_on_gpu(trainer):
        best = resolved_precision(replace(trainer, precision="auto"))
        lacks = trainer.precision == "bf16-mixed" and best != "bf16-mixed"
    else:
        trainer = replace(trainer, accelerator="cpu")
        lacks = trainer.precision == "16-mixed"
    if not lacks:
        return trainer
    say_once(f"trained in {trainer.precision}, which this machine does not compute: scored in 32-true")
    return replace(trainer, precision="32-true")


def chosen_splits(cohort: Cohort, split: str | None) -> list[str]:
    """The split that was asked for, or all that the cohort has; `InputError` where it has it not."""
    there = sorted(cohort.patients["split"].dropna().unique())
    if split is not None and split not in there:
        raise InputError(f"--split {split}: patients.csv holds {', '.join(there) or 'no split'}")
    return there if split is None else [split]
