"""One pre-training, from a cohort to `pretrained.safetensors`, the file that `train --model.pretrained` begins from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch

from mammo_aln import __version__
from mammo_aln.cohort.lineage import joined, stated_or_not, warn_of
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, require_folder, write_csv, write_json, written_whole
from mammo_aln.machine.hardware import require_hardware, resolved
from mammo_aln.machine.launch import require_launch
from mammo_aln.model.backbones import rule_of
from mammo_aln.model.lineage import weight_sources
from mammo_aln.model.network import crop_encoder
from mammo_aln.model.origin import PRETRAINED_FILE, PRETRAINED_KEY, PretrainedFacts, Seen, origin_of, stored_checkpoint
from mammo_aln.progress import say
from mammo_aln.runs.identity import RunIdentity, file_digest, run_identity
from mammo_aln.runs.lineage import read_lineage, write_lineage
from mammo_aln.runs.names import name_run, refuse_taken, with_weights_of_named
from mammo_aln.runs.record import read_state
from mammo_aln.settings import PretrainSettings
from mammo_aln.settings.steps import step_shape
from mammo_aln.training.attempt import Finished, carry_out, leads, tidied
from mammo_aln.training.checkpoints import LAST, refuse_kept_and_pruned
from mammo_aln.training.fit import fit_module
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.leak_guard import seen_by
from mammo_aln.training.pretraining.data import PretrainData
from mammo_aln.training.pretraining.module import PretrainModule
from mammo_aln.training.traces import traces_of
from mammo_aln.training.trackers.mirrored import Mirrored
from mammo_aln.training.trackers.registry import Mirrors, require_trackers


def pretrain_run(
    cohort_folder: Path,
    out: Path,
    settings: PretrainSettings,
    *,
    store: Path | None = None,
    name: str | None = None,
) -> Path:
    """Pre-train, or go on with it, or do nothing where it is done; returns the run's `pretrained.safetensors`.

    Args:
        cohort_folder: cohort with patients.csv and images.csv; outcome, regions and split are optional. Patients of a
            test split are never read.
        out: folder of runs; the run's own folder in it is named by its identity.
        settings: all settings.
        store: crop store; by default `.crops` in the cohort folder.
        name: what its user calls it, see `runs.names`; None leaves a name that it has.

    Raises:
        InputError: whatever of the cohort, the settings or the machine does not allow it (nothing is written then), or
            another process that trains this very run.
    """
    require_folder("--out", out)
    settings = of_images(settings)
    require_launch(settings.trainer)
    require_hardware(settings.trainer)
    settings = with_weights_of_named(resolved(settings))
    require_trackers(settings)
    refuse_kept_and_pruned(settings.trainer)
    refuse_taken(out, name, settings)
    step_shape(settings)
    crop_encoder(settings.model, settings.crop.size_px)  # a network that cannot be built ends here, not after the crops
    data, run, identity = _planned(cohort_folder, out, settings, store)
    if read_state(run).state == "completed":
        if leads():
            name_run(run, name)
        say(f"run {tidied(run, settings).name} is completed already; nothing to train")
        return run / PRETRAINED_FILE
    refuse_taken(out, name, settings, run.name)
    data.stage_crops()
    data.setup("fit")
    torch.manual_seed(settings.seed)
    module = PretrainModule(settings.model, settings.optim, settings.pretrain, data.heads, settings.crop.size_px)
    with Mirrors(Mirrored(run, settings, identity)) as mirrors:
        carry_out(
            run,
            settings,
            identity,
            fit=lambda: _fit(run, data, module, settings, mirrors),
            finish=lambda: _export(run, data, module, settings),
            mirror=mirrors.complete,
            name=name,
        )
    return run / PRETRAINED_FILE


def finished_weights(
    cohort_folder: Path, out: Path, settings: PretrainSettings, *, store: Path | None = None
) -> Path | None:
    """The file that `pretrain_run` has made of the same arguments, or None; nothing is trained, any machine may ask."""
    run = _planned(cohort_folder, out, of_images(settings), store)[1]
    return run / PRETRAINED_FILE if read_state(run).state == "completed" else None


def _planned(
    cohort_folder: Path, out: Path, settings: PretrainSettings, store: Path | None
) -> tuple[PretrainData, Path, RunIdentity]:
    """Data with its crops built, the run's directory, and what its id was made from."""
    cohort = read_cohort(
        cohort_folder, need=("patients", "images"), outcome=False, kept_in=store or Path(cohort_folder) / ".crops"
    )
    data = PretrainData(cohort, settings, store)
    data.prepare_data()
    identity = run_identity(settings, data.content(), data.crop_set.table["key"].tolist())
    return data, out / identity.run_id, identity


def of_images(settings: PretrainSettings) -> PretrainSettings:
    """The settings without what only the outcome's model has a use for.

    Raises:
        InputError: no input is an image, or a setting that would do nothing.
    """
    inputs = tuple(name for name in settings.model.inputs if name != "clinical")
    if not inputs:
        raise InputError(
            "model.inputs = clinical: pre-training learns from images; expected primary, auxiliary or both"
        )
    if settings.trainer.patience:
        raise InputError(
            "trainer.patience: a pre-training keeps its last weights; expected 0, and max_epochs to end it"
        )
    if settings.optim.class_weight != "none":
        raise InputError("optim.class_weight weighs the outcome's classes, pre-training has none; expected none")
    if settings.optim.loss != "bce":
        raise InputError(
            f"optim.loss = {settings.optim.loss}: pre-training's heads have losses of their own; expected bce"
        )
    if settings.model.pretrained and settings.model.freeze_epochs >= settings.trainer.max_epochs:
        raise InputError(
            f"model.freeze_epochs = {settings.model.freeze_epochs}: the backbone, which is all that a pre-training"
            f" leaves, would learn nothing; expected less than trainer.max_epochs = {settings.trainer.max_epochs}"
        )
    least = 2 * settings.trainer.ranks
    if settings.pretrain.mode != "supervised" and settings.data.batch_size < least:
        raise InputError(
            f"data.batch_size = {settings.data.batch_size}: pretrain.mode = {settings.pretrain.mode} compares the"
            f" patients of a batch; expected {least} or more, 2 a device"
        )
    if settings.data.folds:
        raise InputError("data.folds deals out the outcome's patients; a pre-training has one split; expected 0")
    return replace(settings, model=replace(settings.model, inputs=inputs))


def _fit(run: Path, data: PretrainData, module: PretrainModule, settings: PretrainSettings, mirrors: Mirrors) -> None:
    frozen = FrozenFacts(
        run.name,
        data.recipe,
        _inherited(settings),
        (_seen(run, data),),
        heads=tuple(head["name"] for head in module.hparams["heads"]),
        lineage=joined(stated_or_not(data.whole_cohort.sources), weight_sources(settings.model)),
    )
    data.refuse_changed_files()  # else the run would know others than those whom it learns from
    write_json(run / "recipe.json", data.recipe)
    write_lineage(run, frozen.lineage)
    fit_module(run, data, module, settings, frozen, mirrors)


def _inherited(settings: PretrainSettings) -> tuple[Seen, ...]:
    """Those whom the weights that this pre-training begins from have seen already."""
    origin = origin_of(settings.model.pretrained)
    return origin.seen if origin else ()


def _seen(run: Path, data: PretrainData) -> Seen:
    crops, cohort = data.learnt_from(), data.whole_cohort
    units = cohort.patients[cohort.patients["patient_id"].isin(crops["patient_id"])]
    traces = traces_of(cohort, units, crops["image_id"], data.store)
    return seen_by(run.name, cohort, crops, data.crop_set.contents, traces)


def _export(run: Path, data: PretrainData, module: PretrainModule, settings: PretrainSettings) -> Finished:
    """Write the backbone of `last.ckpt` and what a reader must know of it; the file's digest."""
    last = run / "checkpoints" / LAST
    checkpoint = stored_checkpoint(last, f"remove the folder {last.parent} to pre-train anew")
    module.load_state_dict(checkpoint["state_dict"])
    shape = {"pixels": data.recipe["pixels"], "crop": {**data.recipe["crop"], "auxiliary": []}}
    facts = PretrainedFacts(
        run_id=run.name,
        package_version=__version__,
        backbone=settings.model.backbone,
        timm_name=rule_of(settings.model.backbone).timm_name,
        backbone_args=json_ready(module.hparams["model"]["backbone_args"]),
        size_px=settings.crop.size_px,
        in_chans=1,
        mode=settings.pretrain.mode,
        labels=settings.pretrain.labels,
        crop=json_ready(shape["crop"]),
        recipe_digest=hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16],
        seen=(*_inherited(settings), _seen(run, data)),
        lineage=read_lineage(run),
    )
    weights = {name: value.cpu().contiguous().clone() for name, value in module.backbone_weights().items()}
    # One key: the library writes several in an order of its own, and the same run must give the same bytes.
    metadata = {PRETRAINED_KEY: facts.to_json()}
    write_csv(run / "exclusions.csv", data.crop_set.exclusions)
    with written_whole(run / PRETRAINED_FILE) as unfinished:
        unfinished.write_bytes(safetensors.torch.save(weights, metadata))  # its own writer hides a full disk
    warn_of(read_lineage(run), "weights")
    return Finished(pretrained=file_digest(run / PRETRAINED_FILE))
