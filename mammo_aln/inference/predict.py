"""Scoring a cohort with a frozen run: weights, threshold, calibration, clinical encoding and pixel recipe unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.lineage import Source, joined, stated_or_not
from mammo_aln.cohort.tables import Cohort, with_split
from mammo_aln.crops.keys import PIXEL_PATH_VERSION
from mammo_aln.errors import InputError
from mammo_aln.files import write_csv
from mammo_aln.inference.ensemble import UNIT, Ensemble, Member, ensemble_of, mean_of_members, read_member
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.progress import say
from mammo_aln.runs.lineage import read_lineage
from mammo_aln.runs.record import read_settings
from mammo_aln.runs.seal import labelled_rows, record_opening, require_unchanged, require_writable
from mammo_aln.settings import Settings, TrainerConfig
from mammo_aln.training.data.base import read_for
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.units import cohort_flow
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.leak_guard import refuse_seen_files, refuse_seen_patients
from mammo_aln.training.prediction_facts import PredictionFacts
from mammo_aln.training.scoring import predict_logits, prediction_table


@dataclass(frozen=True)
class ScoredCohort:
    """A cohort's rows as a frozen model scored them.

    Attributes:
        table: rows of predictions.csv.
        inputs_seen: for each row, the regions and `clinical` that the model had of it, joined by `;`.
        facts: what stands in the JSON beside the predictions.
        exclusions: crops that were asked for and could not be had; None where no image is read.
    """

    table: pd.DataFrame
    inputs_seen: tuple[str, ...]
    facts: PredictionFacts
    exclusions: pd.DataFrame | None


def predict_cohort(
    run: Path | Sequence[Path],
    cohort_folder: Path,
    out: Path,
    *,
    split: str | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    plan: str | None = None,
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

    Raises:
        InputError: `out` is no CSV file's name, or whatever `score_cohort` refuses.
    """
    if out.is_dir() or out.suffix == ".json":
        raise InputError(f"--out {out}: expected the name of a CSV file; its JSON gets the same name with .json")
    scored = score_cohort(run, cohort_folder, split=split, store=store, ledger=ledger, plan=plan)
    if scored.exclusions is not None and len(scored.exclusions):
        write_csv(out.with_suffix(".exclusions.csv"), scored.exclusions)
    scored.facts.write(out, scored.table)
    return out


def score_cohort(
    run: Path | Sequence[Path],
    cohort_folder: Path,
    *,
    split: str | None = None,
    patients: Sequence[str] | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    plan: str | None = None,
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

    Raises:
        InputError: `run` is no completed run or changed since, nothing is left to score, the run's pixels were made by
            other code, runs that don't go together, an unknown patient, or an opening cannot be recorded.
    """
    members = [read_member(path) for path in ([run] if isinstance(run, Path) else run)]
    if not members:
        raise InputError("--run: at least one run directory is needed")
    digests = {member.run_id: require_unchanged(member.run) for member in members}
    ensemble = ensemble_of(members) if len(members) > 1 else None
    run_id = members[0].run_id if ensemble is None else ensemble.run_id
    operating = members[0].facts.operating if ensemble is None else ensemble.operating
    cohort = with_split(read_for(read_settings(members[0].run).model.inputs, cohort_folder))
    pooled = None
    if ensemble is not None and ensemble.out_of_fold and members[0].cohort == cohort_content(cohort):
        splits = _outside_the_folds(cohort, split)
        pooled = _pooled_rows(ensemble, cohort) if split in (None, "val") else None
    else:
        splits = chosen_splits(cohort, split)
    # The openings of an ensemble stand in the cohort's ledger alone: it has no directory of its own.
    own = members[0].run if ensemble is None else None
    if labelled_rows(cohort.patients[cohort.patients["split"].isin(splits)]):
        require_writable(cohort, ledger, own)
    scored, data = _score(members, cohort, splits, store, patients)
    asked = cohort.patients
    if patients is not None:
        asked = asked[asked["patient_id"].isin(patients)]
        pooled = None if pooled is None else pooled[pooled["patient_id"].isin(patients)]
    if pooled is not None:
        scored = pd.concat([pooled, scored], ignore_index=True)
    opened = {
        name: record_opening(cohort, run_id, name, n, plan=plan, run=own, ledger=ledger)
        for name, n in labelled_rows(scored).items()
    }
    read = [*splits, *(["val"] if pooled is not None else [])]
    facts = PredictionFacts(
        run_id=run_id,
        frozen=digests if ensemble is not None else digests[run_id],
        splits={name: vars(opening) for name, opening in opened.items()},
        cohort=cohort.name,
        operating=operating,
        recipe=data.recipe,
        fallbacks=data.fallbacks,
        cohort_flow=cohort_flow(asked, read, scored),
        settings=members[0].facts.settings if ensemble is None else ensemble.settings,
        absent_regions=tuple(sorted(set(data.regions) - {"primary", *data.crop.auxiliary})),
        members=None if ensemble is None else tuple(member.run_id for member in members),
        out_of_fold=None if ensemble is None else ensemble.out_of_fold,
        lineage=tuple(source.to_state() for source in _sources(members, cohort)),
    )
    inputs_seen = data.inputs_seen(scored)
    _tell_missing(data.inputs, inputs_seen)
    return ScoredCohort(
        prediction_table(scored, run_id, operating),
        inputs_seen,
        facts,
        data.crop_set.exclusions if data.reads_images else None,
    )


def _sources(members: Sequence[Member], cohort: Cohort) -> tuple[Source, ...]:
    """Data sets and weights behind the members, and those of the cohort that they score."""
    return joined(*(read_lineage(member.run) for member in members), stated_or_not(cohort.sources))


def _tell_missing(inputs: Sequence[str], inputs_seen: Sequence[str]) -> None:
    """Say how many rows the model scored without an input that it was trained with."""
    for name, words in (("primary", "a crop of the lesion"), ("clinical", "any clinical value")):
        without = sum(not any(region.startswith(name) for region in seen.split(";")) for seen in inputs_seen)
        if name in inputs and without:
            say(f"{without} of {len(inputs_seen)} patients are scored without {words}, which this run was trained with")


def _score(
    members: Sequence[Member],
    cohort: Cohort,
    splits: list[str],
    store: Path | None,
    patients: Sequence[str] | None,
) -> tuple[pd.DataFrame, MammoDataModule]:
    """Rows with the mean of the members' logits (none where `splits` is empty), and the first member's data."""
    modules = [member_data(member, cohort, splits, store) for member in members]
    data = modules[0][1]
    if patients is not None:
        for _, own in modules:
            own.cohort = only_patients(own.cohort, patients, splits)
    if not splits:
        return cohort.patients.iloc[:0].assign(logit=0.0), data
    if not any(len(data.patients(name)) for name in splits):
        raise InputError(f"{cohort.name}: no eligible patient of {', '.join(splits)} has an input that the run reads")
    tables = []
    for member, (module, own) in zip(members, modules, strict=True):
        own.prepare_data()
        tables.append(predict_logits(module, own, _on_this_machine(read_settings(member.run).trainer)))
    return mean_of_members(tables), data


def member_data(
    member: Member, cohort: Cohort, splits: list[str], store: Path | None
) -> tuple[AxillaryClassifier, MammoDataModule]:
    """A member's frozen network, and a cohort as it reads it; no crop is built yet.

    Raises:
        InputError: the run's pixels were made by other code.
    """
    best = member.run / "checkpoints" / "best.ckpt"
    frozen = FrozenFacts.of_checkpoint(best)
    _refuse_other_pixels(member.run, frozen.recipe)
    module = AxillaryClassifier.load(best)
    data = MammoDataModule.from_settings(
        _folds_of(member, cohort),
        cohort,
        store,
        splits=splits or ("train", "val"),
        regions=module.hparams["regions"],
        encoder=ClinicalEncoder.from_state(frozen.clinical_encoder) if frozen.clinical_encoder else None,
    )
    refuse_seen_patients(frozen.pretraining, data.cohort)
    if frozen.pretraining and data.reads_images:
        refuse_seen_files(frozen.pretraining, data.cohort, data.crop_set.table, data.crop_set.open_store())
    return module, data


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


def _folds_of(member: Member, cohort: Cohort) -> Settings:
    """A run's folds stand for `train` and `val` in its own cohort; another cohort keeps the split that it states."""
    settings = read_settings(member.run)
    if not settings.data.folds or member.cohort == cohort_content(cohort):
        return settings
    return replace(settings, data=replace(settings.data, folds=0, fold=0))


def _on_this_machine(trainer: TrainerConfig) -> TrainerConfig:
    """A run trained on a GPU is scored where there is none as well."""
    if torch.cuda.is_available():
        return trainer
    precision: Any = "32-true" if trainer.precision == "16-mixed" else trainer.precision
    return replace(trainer, accelerator="cpu", precision=precision)


def _refuse_other_pixels(run: Path, recipe: Mapping[str, Any]) -> None:
    made_by = recipe.get("pixel_path_version", PIXEL_PATH_VERSION)
    if made_by != PIXEL_PATH_VERSION:
        raise InputError(
            f"{run}: its pixels were made by pixel path {made_by}, this version's is {PIXEL_PATH_VERSION}; "
            "score with the package version in the run's environment.json, or train again"
        )


def only_patients(cohort: Cohort, patients: Sequence[str], splits: Sequence[str]) -> Cohort:
    """The cohort with the rows of these patients alone; `InputError` where none of the splits holds one of them."""
    unknown = [name for name in patients if name not in set(cohort.patients["patient_id"])]
    if unknown:
        raise InputError(f"--patients {', '.join(unknown)}: no eligible patient of {', '.join(splits)} in patients.csv")
    rows = cohort.patients[cohort.patients["patient_id"].isin(patients)]
    return replace(cohort, patients=rows.reset_index(drop=True))


def chosen_splits(cohort: Cohort, split: str | None) -> list[str]:
    """The split that was asked for, or all that the cohort has; `InputError` where it has it not."""
    there = sorted(cohort.patients["split"].dropna().unique())
    if split is not None and split not in there:
        raise InputError(f"--split {split}: patients.csv holds {', '.join(there) or 'no split'}")
    return there if split is None else [split]
