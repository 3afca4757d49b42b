"""Frozen networks opened on a cohort: what it does not give them is told or refused before the first crop is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln import __version__
from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.declaration import Outcome
from mammo_aln.cohort.likeness.guard import accepted_patients
from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.keys import PIXEL_PATH_VERSION, SAME_CROPS
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, read_object
from mammo_aln.inference.ensemble import Member
from mammo_aln.inference.needs import Needs, needs_of, refuse_unmet, with_columns
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.origin import Seen
from mammo_aln.progress import say, say_once
from mammo_aln.runs.lineage import LINEAGE_FILE, read_lineage
from mammo_aln.runs.predecessor import trained_by
from mammo_aln.runs.record import read_settings
from mammo_aln.runs.seal import RECIPE_FILE, digest_of, holds_recipe
from mammo_aln.settings import Settings
from mammo_aln.training.data.datamodule import LEARNT_FROM, MammoDataModule
from mammo_aln.training.data.lacking import InputsOfScored, refuse_lacking
from mammo_aln.training.data.presence import InputCount, InputProfile, inputs_seen
from mammo_aln.training.data.seen import counts_of, presence_of, read_regions
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.leak_guard import Tested, refuse_seen_files, refuse_seen_patients, salted_each
from mammo_aln.training.prediction_facts import OperatingPoint

CHOSEN_BY = "those that chose the run's checkpoint and threshold"
CHANGED_SINCE = (
    "the tables have changed since the run was trained on them (a label or a value was corrected?): they count as"
    " another cohort, whose splits are all tests"
)
SCRUBBED = "the run is a scrubbed copy: whether some of these patients trained it cannot be known"
OTHERS = "Leave them out; or, if they are other people, give the two cohorts different names in cohort.yaml"
CHANGED = (
    "These tables are not those that the run learnt from (a label or a value was changed since?), so that each of their"
    " splits counts as a test: score the tests alone, e.g. --split external_test"
)


@dataclass(frozen=True)
class OpenedMember:
    """A completed run's network, and a cohort as it reads it.

    Attributes:
        member: the run.
        module: its frozen network.
        data: the cohort; no crop is built before `prepare`.
        pretraining: whom the weights that it began from had seen.
        learnt_from: rows of the cohort that are a test, and whom it trained on; then by whom it was chosen.
        outcome: what it learnt to tell; None where the run does not say.
        accepted: patients who are like others whom it trained on, which `leaks_accepted` accepts.
        changed_since: the cohort holds those who trained the run, and its tables are others than they were then.
        scrubbed: it is a copy that does not know any more whom it learnt from.
    """

    member: Member
    module: AxillaryClassifier
    data: MammoDataModule
    pretraining: tuple[Seen, ...]
    learnt_from: tuple[Tested, ...]
    outcome: Outcome | None
    accepted: frozenset[str] = frozenset()
    changed_since: bool = False
    scrubbed: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """Say what a reader must know of the patients' past, in sentences."""
        changed = (f"In this cohort {CHANGED_SINCE}.",) if self.changed_since else ()
        return (*changed, f"{SCRUBBED.capitalize()}.") if self.scrubbed else changed

    def prepare(self) -> None:
        """Build every missing crop; `InputError` where an image, or a copy of it, was pre-trained or trained on."""
        self.data.prepare_data()
        if self.data.reads_images:
            crops, contents = self.data.crop_set.table, self.data.crop_set.contents
            refuse_seen_files(self.pretraining, self.data.cohort, crops, contents, self.accepted)
            for tested in self.learnt_from:
                tested.refuse_images(crops, contents, self.data.store)


def open_members(
    members: Sequence[Member],
    cohort: Cohort,
    splits: Sequence[str],
    store: Path | None,
    patients: Sequence[str] | None = None,
    *,
    chosen_by: bool = True,
    one_patient: bool = False,
) -> list[OpenedMember]:
    """Open each member on a cohort, or some patients of it; no crop is built yet.

    Args:
        members: the runs.
        cohort: the cohort.
        splits: splits that are read.
        store: crop store.
        patients: these patients only.
        chosen_by: patients who chose a run's checkpoint and threshold are no test of it either.
        one_patient: an exam that is scored for its own sake is no test, so that it is only told who trained the run.

    Raises:
        InputError: a run's pixels were made by other code, a test patient was trained or pre-trained on, or a patient
            is unknown.
    """
    asked = cohort if patients is None else only_patients(cohort, patients, splits)
    opened = [_opened(member, cohort, asked, splits, store, chosen_by, one_patient) for member in members]
    profiles = [own.data.profile for own in opened]
    known = [profile for profile in profiles if profile is not None]
    for own in opened:
        own.data.profile = InputProfile.of_all(known) if len(known) == len(profiles) else None
        if patients is not None:
            own.data.cohort = only_patients(own.data.cohort, patients, splits)
    return opened


def _opened(
    member: Member,
    cohort: Cohort,
    asked: Cohort,
    splits: Sequence[str],
    store: Path | None,
    chosen_by: bool,
    one_patient: bool,
) -> OpenedMember:
    best = member.run / "checkpoints" / "best.ckpt"
    frozen = FrozenFacts.of_checkpoint(best)
    _refuse_other_pixels(member.run, frozen.recipe, read_settings(member.run).data.test_time_copies)
    module = AxillaryClassifier.load(best)
    encoder = ClinicalEncoder.from_state(frozen.clinical_encoder) if frozen.clinical_encoder else None
    data = MammoDataModule.from_settings(
        _folds_of(member, cohort),
        with_columns(cohort, encoder),
        store,
        splits=splits or LEARNT_FROM,
        regions=module.hparams["regions"],
        encoder=encoder,
        profile=frozen.inputs,
        opened=True,
    )
    refuse_seen_patients(frozen.pretraining, data.cohort)
    _refuse_other_than_kept(member, frozen)
    own = member.cohort == cohort_content(cohort)
    accepted = accepted_patients(cohort, store, pixels=data.reads_images) if own else frozenset()
    tested = [replace(each, accepted=accepted) for each in _tests_of(member, frozen, asked, splits, chosen_by, own=own)]
    for each in tested:
        if not one_patient:
            each.refuse_names()
            continue
        try:
            each.refuse_names()
        except InputError as error:
            say(f"note: {error}")
    changed = not own and any(
        not each.patients.isdisjoint(salted_each(each.salt, cohort.name, last=cohort.patients["patient_id"]))
        for each in frozen.trained_on
    )
    if changed:
        say_once(f"{cohort.name}: {CHANGED_SINCE}")
    seen = () if one_patient else tuple(tested)
    return OpenedMember(
        member, module, data, frozen.pretraining, seen, frozen.outcome, accepted, changed, frozen.scrubbed
    )


def _refuse_other_than_kept(member: Member, frozen: FrozenFacts) -> None:
    """Refuse facts that a second copy contradicts: the checkpoint has recipe and lineage, val rows the threshold.

    The digests in state.json could have been edited to fit.
    """
    stated, kept = member.facts.recipe, json_ready(dict(frozen.recipe))
    wrong = [] if digest_of(stated) == digest_of(kept) else ["recipe (best.ckpt holds another)"]
    if not holds_recipe(member.run, kept):
        wrong.append(f"{RECIPE_FILE} (best.ckpt holds another)")
    if frozen.lineage and read_lineage(member.run) != frozen.lineage:
        wrong.append(f"{LINEAGE_FILE} (best.ckpt holds another)")
    environment = member.run / "environment.json"
    version = read_object(environment).get("package_version")
    if version == __version__ and not frozen.scrubbed:
        again = OperatingPoint.on_validation(member.val)
        for name in ("threshold", "calibration"):
            ours, theirs = (getattr(point, name) for point in (member.facts.operating, again))
            numbers = [key for key, value in theirs.items() if isinstance(value, float)]
            if any(not np.isclose(float(ours.get(key, np.nan)), theirs[key], 1e-4, 1e-6) for key in numbers):
                wrong.append(f"{name} (the validation rows of predictions.csv give another)")
    if wrong:
        raise InputError(
            f"{member.run}: {', '.join(wrong)}: changed after the training ended, whatever state.json says; a test"
            " needs the frozen run"
        )


def _tests_of(
    member: Member, frozen: FrozenFacts, cohort: Cohort, splits: Sequence[str], chosen_by: bool, *, own: bool
) -> tuple[Tested, ...]:
    """Rows that are a test of a run: in its own cohort those that it did not learn from, in any other one all."""
    rows = cohort.patients[cohort.patients["split"].isin(splits) & cohort.patients["eligible"]]
    rows = rows[~rows["split"].isin(LEARNT_FROM)] if own else rows
    changed = member.facts.cohort in (None, cohort.name) and not own and {*splits} & {*LEARNT_FROM}
    remedy = "their test would be no test. " + (CHANGED if changed else OTHERS)
    if frozen.scrubbed:
        say_once(f"{member.run_id}: {SCRUBBED}")
    elif not all(each.whole for each in frozen.trained_on) or not frozen.trained_on:
        say_once(f"run {member.run_id} is of an earlier version: copies of its training images are not recognised")
    chosen = frozen.validated_on if chosen_by else ()
    deeds = {"trained on": frozen.trained_on, CHOSEN_BY: chosen, "pre-trained on": frozen.pretraining}
    return tuple(Tested(cohort, rows, seen, deed, remedy) for deed, seen in deeds.items() if seen and len(rows))


def check_needs(
    opened: Sequence[OpenedMember],
    cohort: Cohort,
    splits: Sequence[str],
    *,
    allow_missing: bool,
    one_patient: bool = False,
) -> set[str]:
    """Tell everything that a cohort does not give the runs, by its tables alone; returns the lines that were said.

    Args:
        opened: the runs.
        cohort: as it was read.
        splits: splits that are to be scored; nothing is asked where there is none.
        allow_missing: inputs may be lacking.
        one_patient: see `too_often`, `whole`.

    Raises:
        InputError: columns or values without which nothing is scored, all listed at once; or inputs that are lacking
            too often, unless `allow_missing`.
    """
    lines: dict[str, None] = {}
    every: list[Needs] = []
    if not splits:
        return set()
    for own in opened:
        needs = needs_of(own.data, cohort, splits, own.outcome, allow_missing=allow_missing)
        every.append(needs)
        lines |= dict.fromkeys([*needs.notes, *needs.inputs.lines()])
    for needs in every:
        refuse_unmet(needs, cohort.name, cohort.root)
    for line in lines:
        say(line)
    for needs in every:
        refuse_lacking(needs.inputs, cohort.name, learnt_from(opened, cohort), whole=one_patient)
    return set(lines)


def learnt_from(opened: Sequence[OpenedMember], cohort: Cohort) -> tuple[str, ...]:
    """Splits that are the runs' own training and validation; none in another cohort."""
    return LEARNT_FROM if opened[0].member.cohort == cohort_content(cohort) else ()


def seen_of_all(opened: Sequence[OpenedMember], rows: pd.DataFrame, crops: pd.DataFrame | None) -> tuple[str, ...]:
    """Name for each row the inputs that all members see, see `presence.inputs_seen`."""
    seen = [presence_of(own.data, rows, crops) for own in opened]
    every = pd.DataFrame(np.logical_and.reduce([table.to_numpy(bool) for table in seen]), columns=seen[0].columns)
    return inputs_seen(every, read_regions(opened[0].data))


def counts_of_all(
    opened: Sequence[OpenedMember], rows: pd.DataFrame, crops: pd.DataFrame | None
) -> tuple[InputCount, ...]:
    """Count what any member lacks, see `count_inputs`; of several members' counts the largest."""
    merged: dict[tuple[str, str, str, str], InputCount] = {}
    for own in opened:
        for count in counts_of(own.data, rows, crops):
            key = (count.split, count.center, count.input, count.kind)
            if key not in merged or merged[key].n < count.n:
                merged[key] = count
    return tuple(merged.values())


def scored_inputs(
    opened: Sequence[OpenedMember], rows: pd.DataFrame, crops: pd.DataFrame | None, *, allow_missing: bool
) -> InputsOfScored:
    """Gather what the members saw of scored rows, and what they did not."""
    return InputsOfScored(opened[0].data.profile, counts_of_all(opened, rows, crops), allow_missing)


def only_patients(cohort: Cohort, patients: Sequence[str], splits: Sequence[str]) -> Cohort:
    """The cohort with the rows of these patients alone; `InputError` where none of the splits holds one of them."""
    unknown = [name for name in patients if name not in set(cohort.patients["patient_id"])]
    if unknown:
        raise InputError(f"--patients {', '.join(unknown)}: no eligible patient of {', '.join(splits)} in patients.csv")
    rows = cohort.patients[cohort.patients["patient_id"].isin(patients)]
    return replace(cohort, patients=rows.reset_index(drop=True))


def _folds_of(member: Member, cohort: Cohort) -> Settings:
    """A run's folds stand for `train` and `val` in its own cohort; another cohort keeps the split that it states."""
    settings = read_settings(member.run)
    if not settings.data.folds or member.cohort == cohort_content(cohort):
        return settings
    return replace(settings, data=replace(settings.data, folds=0, fold=0))


def _refuse_other_pixels(run: Path, recipe: Mapping[str, Any], test_time_copies: int) -> None:
    made_by = recipe.get("pixel_path_version", PIXEL_PATH_VERSION)
    same = (PIXEL_PATH_VERSION,) if test_time_copies else SAME_CROPS
    if made_by not in same:
        subject = "its pixels were" if made_by not in SAME_CROPS else "its test-time copies of crops were"
        environment = run / "environment.json"
        code = trained_by(read_object(environment)) if environment.is_file() else "unknown"
        raise InputError(
            f"{run}: {subject} made by pixel path {made_by}, this version's is {PIXEL_PATH_VERSION}; "
            f"score with the code that trained it ({code}), or train again"
        )
