"""One training, from a cohort to a run directory whose weights, threshold, calibration and pixel recipe are frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.declaration import Declaration
from mammo_aln.cohort.likeness.guard import AcceptedLeaks, accepted_patients, refuse_leaks
from mammo_aln.cohort.lineage import joined, stated_or_not, warn_of
from mammo_aln.cohort.tables import Cohort
from mammo_aln.dicom.standing import looked_at_once
from mammo_aln.errors import InputError
from mammo_aln.files import require_folder, write_csv, write_json
from mammo_aln.machine.hardware import require_hardware, resolved
from mammo_aln.machine.launch import require_launch
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.lineage import weight_sources
from mammo_aln.model.origin import Seen, origin_of
from mammo_aln.progress import say
from mammo_aln.runs.identity import run_identity, shaping_settings
from mammo_aln.runs.lineage import read_lineage, write_lineage
from mammo_aln.runs.names import name_run, refuse_taken, with_weights_of_named
from mammo_aln.runs.record import read_state
from mammo_aln.runs.seal import frozen_digests
from mammo_aln.settings import Settings
from mammo_aln.settings.steps import step_shape
from mammo_aln.training.attempt import Finished, carry_out, leads, tidied
from mammo_aln.training.baseline import store_baseline
from mammo_aln.training.build import build_model
from mammo_aln.training.checkpoints import refuse_kept_and_pruned
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.lacking import InputsOfScored
from mammo_aln.training.data.seen import counts_of, seen_in_words, training_profile
from mammo_aln.training.data.units import cohort_flow, require_both_classes, require_one_each, say_whole_batch
from mammo_aln.training.fit import fit_module
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.leak_guard import TESTS, Tested, refuse_seen_patients, seen_by
from mammo_aln.training.prediction_facts import OperatingPoint, PredictionFacts
from mammo_aln.training.scoring import predict_logits, prediction_table
from mammo_aln.training.stopping import STOP
from mammo_aln.training.summary import Summary, draw_augmented, draw_training
from mammo_aln.training.traces import traces_of
from mammo_aln.training.trackers.mirrored import CellOfSweep, Mirrored
from mammo_aln.training.trackers.registry import Mirrors, mirror_again, require_trackers


@STOP.watched()
def train_run(
    cohort_folder: Path | Cohort,
    out: Path,
    settings: Settings,
    *,
    store: Path | None = None,
    planned: str | None = None,
    cell: CellOfSweep | None = None,
    name: str | None = None,
) -> Path:
    """Train one model, or go on with it, or do nothing where it is done; returns the run directory.

    Args:
        cohort_folder: cohort with a `split` column that holds `train` and `val`, or one that was read already.
        out: folder of runs; the run's own folder in it is named by its identity.
        settings: all settings.
        store: crop store; by default `.crops` in the cohort folder.
        planned: identity that a sweep froze for this run when it was planned.
        cell: its position in that sweep, for trackers.
        name: what its user calls it, see `runs.names`; None leaves a name that it has.

    Raises:
        RunIsHeld: another process trains this very run.
        InputError: whatever of the cohort, the settings or the machine does not allow the training (nothing is written
            then), or the cohort is no longer the one that `planned` was made of.
    """
    require_folder("--out", out)
    require_launch(settings.trainer)
    require_hardware(settings.trainer)
    settings = with_weights_of_named(resolved(settings))
    require_trackers(settings)
    refuse_kept_and_pruned(settings.trainer)
    refuse_taken(out, name, settings)
    step = step_shape(settings)
    data = MammoDataModule.from_settings(settings, cohort_folder, store)
    for split in ("train", "val"):
        require_both_classes(data.cohort.patients, split)
        require_one_each(data.cohort.patients, split, step.ranks)
    say_whole_batch(data.cohort.patients, settings.data.batch_size)
    pretrained_on = _pretrained_on(settings, data)
    outcome = data.whole_cohort.outcome
    if outcome.meaning != Declaration.label_meaning:
        say(f"outcome: {outcome.in_words}")
    # Before the first crop: a network that cannot be built, or a column that must not be read, ends here.
    module = build_model(settings, data)
    with looked_at_once():
        leaks = refuse_leaks(data.whole_cohort, "split", data.store, pixels=data.reads_images)
        if pretrained_on is not None:
            tests = data.whole_cohort.images["patient_id"].isin(pretrained_on.patients["patient_id"])
            pretrained_on.refuse_pixels(data.whole_cohort.images.loc[tests, "image_id"].tolist(), data.store)
        data.prepare_data()
    keys = data.crop_set.table["key"].tolist() if data.reads_images else []
    identity = run_identity(settings, cohort_content(data.as_given, data.store_folder), keys)
    run_id = identity.run_id
    if planned is not None and run_id != planned:
        raise InputError(
            f"planned as run {planned}, but the cohort's tables, its image files, the weights or mammo_aln itself have "
            f"changed since and make it {run_id}; the same sweep command plans anew"
        )
    run = out / run_id
    mirrored = Mirrored(run, settings, identity, cell)
    if read_state(run).state == "completed":
        if leads():
            name_run(run, name)
        say(f"run {run_id} is completed already; nothing to train")
        mirror_again(mirrored)
        return tidied(run, settings)
    refuse_taken(out, name, settings, run_id)
    data.stage_crops()
    data.setup("fit")
    with Mirrors(mirrored) as mirrors:
        carry_out(
            run,
            settings,
            identity,
            fit=lambda: _fit(run, data, module, settings, mirrors),
            finish=lambda: _freeze(run, data, settings, leaks),
            mirror=mirrors.complete,
            name=name,
        )
        if read_state(run).state == "completed" and leads():
            say(Summary.of_run(run).in_words(run))
            warn_of(read_lineage(run), "weights")
    return run


def _pretrained_on(settings: Settings, data: MammoDataModule) -> Tested | None:
    """Refuse test patients that were pre-trained on, under whatever name; say where crops were others.

    Returns:
        The test patients, whose pixels are to be compared too.
    """
    origin = origin_of(settings.model.pretrained)
    if origin is None:
        return None
    cohort = data.whole_cohort
    refuse_seen_patients(origin.seen, cohort)
    splits = cohort.patients["split"]
    remedy = "their test would be no test. Pre-train without them, or leave them out (eligible = 0)"
    accepted = accepted_patients(cohort, data.store, pixels=data.reads_images)
    tested = Tested(cohort, cohort.patients[splits.isin(TESTS)], origin.seen, "pre-trained on", remedy, accepted)
    tested.refuse_names()
    try:
        replace(tested, patients=cohort.patients[splits == "val"], remedy="validation may be too kind").refuse_names()
    except InputError as error:
        say(f"note: {str(error).replace(' of the test ', ' of val ')}")
    if not all(each.whole for each in origin.seen):
        say("note: the weights are of an earlier version: copies of images that they learnt from are not recognised")
    if origin.strategy not in (None, settings.crop.strategy):
        say(f"note: pre-trained on crop.strategy={origin.strategy}, this run reads {settings.crop.strategy}")
    return tested


def _fit(run: Path, data: MammoDataModule, module: AxillaryClassifier, settings: Settings, mirrors: Mirrors) -> None:
    encoder = data.fitted_encoder.to_state() if "clinical" in data.inputs else None
    origin = origin_of(settings.model.pretrained)
    frozen = FrozenFacts(
        run.name,
        data.recipe,
        origin.seen if origin else (),
        (_learnt_from(run.name, data, "train"),),
        encoder,
        lineage=joined(stated_or_not(data.whole_cohort.sources), weight_sources(settings.model)),
        inputs=training_profile(data),
        outcome=data.whole_cohort.outcome,
        validated_on=(_learnt_from(run.name, data, "val"),),
    )
    data.refuse_changed_files()  # else the run would know others than those whom it learns from
    write_json(run / "recipe.json", data.recipe)
    write_lineage(run, frozen.lineage)
    if leads():
        # Before that epoch augmentation has not its full extent yet.
        draw_augmented(run, data, min(settings.data.augment_ramp_epochs, settings.trainer.max_epochs - 1))
    fit_module(run, data, module, settings, frozen, mirrors)


def _learnt_from(run_id: str, data: MammoDataModule, split: str) -> Seen:
    """The patients of a split, whom this run, and one that begins from its weights, is not to be tested on."""
    units = data.patients(split)
    if not data.reads_images:
        traces = traces_of(data.whole_cohort, units, (), data.store)
        return seen_by(run_id, data.whole_cohort, units.assign(image_id=""), {}, traces)
    crops = data.crop_set.table
    crops = crops[crops["unit_id"].isin(units["unit_id"])]
    traces = traces_of(data.whole_cohort, units, crops["image_id"], data.store)
    return seen_by(run_id, data.whole_cohort, crops, data.crop_set.contents, traces)


def _freeze(run: Path, data: MammoDataModule, settings: Settings, leaks: AcceptedLeaks | None) -> Finished:
    """Fit calibration and threshold on validation, then write the predictions of `train` and `val`; their digests."""
    best = run / "checkpoints" / "best.ckpt"
    if not best.is_file():
        raise InputError(
            f"run {run.name}: no epoch had a finite validation AUC; look at metrics.csv in the run directory"
        )
    scored = predict_logits(AxillaryClassifier.load(best), data, settings.trainer)
    operating = OperatingPoint.on_validation(scored[scored["split"] == "val"])
    if data.reads_images:
        write_csv(run / "exclusions.csv", data.crop_set.exclusions)
    data.profile = FrozenFacts.of_checkpoint(best).inputs
    facts = PredictionFacts(
        run_id=run.name,
        operating=operating,
        recipe=data.recipe,
        fallbacks=data.fallbacks,
        cohort_flow=cohort_flow(
            data.whole_cohort.patients, data.splits, scored, data.crop_set if data.reads_images else None
        ),
        settings=shaping_settings(settings),
        lineage=tuple(source.to_state() for source in read_lineage(run)),
        inputs=InputsOfScored(data.profile, counts_of(data, scored)).to_json(),
        outcome=data.whole_cohort.outcome.to_json(),
        leaks=leaks.to_json() if leaks else None,
    )
    facts.write(run / "predictions.csv", prediction_table(scored, run.name, operating, seen_in_words(data, scored)))
    store_baseline(run, data.whole_cohort, scored, settings)
    data.refuse_changed_files()  # else it would describe other images than those that were learnt from
    draw_training(run)
    return Finished(frozen=frozen_digests(run))
