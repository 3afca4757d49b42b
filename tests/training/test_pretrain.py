"""A pre-training learns from whatever labels there are, resumes exactly, and its weights begin a training."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from mammo_aln.cli import main
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import ExitCode, InputError
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.model.origin import about_pretrained
from mammo_aln.settings import (
    CropConfig,
    DataConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    PretrainSettings,
    Settings,
    TrainerConfig,
)
from mammo_aln.training.baseline import store_baseline
from mammo_aln.training.data.batches import StepBatch
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.pretraining.contrastive import nt_xent
from mammo_aln.training.pretraining.data import PretrainData, draw_pair
from mammo_aln.training.pretraining.module import PretrainModule
from mammo_aln.training.pretraining.pretrain import pretrain_run
from mammo_aln.training.train import train_run
from tests.support.processes import default_signals
from tests.support.run_folders import linked_copy, untimed
from tests.support.tiny_settings import TINY, tiny_settings

LABELS = ("birads", "margin", "age", "images.acr:categorical")


def settings(
    mode: str = "supervised", *labels: str, epochs: int = 1, strategy: str = "fixed_5cm", **more
) -> PretrainSettings:
    return PretrainSettings(
        crop=CropConfig(strategy=strategy, size_px=64),
        model=ModelConfig(backbone="resnet50", backbone_args=TINY["resnet50"], embed_dim=8, inputs=("primary",)),
        data=DataConfig(batch_size=8),
        trainer=TrainerConfig(max_epochs=epochs, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
        seed=1,
        pretrain=PretrainConfig(mode=mode, labels=labels, val_share=0.2, **more),
    )


@pytest.fixture(scope="module")
def screening(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of another kind: no outcome, no split, labels per patient and per image, most of them missing."""
    folder = linked_copy(phantom, tmp_path_factory.mktemp("screening") / "cohort")
    declared = (folder / "cohort.yaml").read_text().replace("name: phantom", "name: screening")
    (folder / "cohort.yaml").write_text(declared)
    patients = pd.read_csv(folder / "patients.csv", dtype=str).drop(columns=["aln_status", "split"])
    rng = np.random.default_rng(0)
    patients.loc[rng.random(len(patients)) < 0.5, "birads"] = ""
    patients.loc[:1, ["birads", "margin", "age"]] = ""
    patients.to_csv(folder / "patients.csv", index=False)
    images = pd.read_csv(folder / "images.csv", dtype=str)
    images["acr"] = np.where(rng.random(len(images)) < 0.5, rng.choice(list("abcd"), len(images)), "")
    images.loc[images["patient_id"].isin(patients["patient_id"][:2]), "acr"] = ""
    images.to_csv(folder / "images.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def pretrained(screening: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain_run(screening, tmp_path_factory.mktemp("runs"), settings("both", *LABELS, epochs=3), store=store)


def test_several_heads_with_missing_labels_end_to_end(pretrained: Path, screening: Path) -> None:
    run = pretrained.parent
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "environment.json", "recipe.json", "metrics.csv", "state.json", "checkpoints"} <= names
    assert json.loads((run / "state.json").read_text())["state"] == "completed"
    metrics = pd.read_csv(run / "metrics.csv")
    assert len(metrics) == 3
    assert np.isfinite(metrics[["train_loss", "val_loss", "val_contrastive_loss"]]).all(axis=None)
    assert {"val_birads_balanced_accuracy", "val_margin_auc", "val_age_r", "val_images.acr_balanced_accuracy"} <= set(
        metrics
    )
    about = about_pretrained(str(pretrained))
    assert about is not None
    assert (about.run_id, about.backbone, about.size_px, about.in_chans) == (run.name, "resnet50", 64, 1)
    for patient in read_cohort(screening, outcome=False).patients["patient_id"]:
        assert patient.encode() not in pretrained.read_bytes()[:20_000]


def test_rows_whose_labels_are_all_missing_are_skipped(screening: Path, store: Path) -> None:
    data = PretrainData(read_cohort(screening, outcome=False), settings("supervised", *LABELS), store)
    data.setup()
    skipped = set(pd.read_csv(screening / "patients.csv", dtype=str)["patient_id"][:2])
    assert not skipped & set(data.learnt_from()["patient_id"])
    labels = np.concatenate([arrays.labels for arrays in data.breasts.values()])
    assert (~np.isnan(labels)).any(axis=1).all()
    assert np.isnan(labels).any()
    assert [head.kind for head in data.heads] == ["categorical", "binary", "continuous", "categorical"]
    assert abs(np.nanmean(data.breasts["train"].labels[:, 2])) < 0.5  # standardised


def test_labels_are_those_of_the_tables(screening: Path, store: Path) -> None:
    data = PretrainData(read_cohort(screening, outcome=False), settings("supervised", *LABELS), store)
    data.setup()
    patients = pd.read_csv(screening / "patients.csv", dtype=str).set_index("patient_id")
    acr = pd.read_csv(screening / "images.csv", dtype=str).set_index("image_id")["acr"]
    table = data.crop_set.table.set_index("key")
    arrays = data.breasts["train"]
    for key, row in zip(arrays.keys, arrays.labels, strict=True):
        patient, image = table.loc[key, "patient_id"], table.loc[key, "image_id"]
        expected = [patients.loc[patient, "birads"], patients.loc[patient, "margin"]]
        for head, label, cell in zip(data.heads, row[:2], expected, strict=False):
            assert (head.classes[int(label)] if np.isfinite(label) else "") == (cell if isinstance(cell, str) else "")
        cell = acr[image]
        assert (data.heads[3].classes[int(row[3])] if np.isfinite(row[3]) else "") == (
            cell if isinstance(cell, str) else ""
        )


def test_no_patient_trains_and_validates_and_no_test_row_is_read(phantom: Path, store: Path) -> None:
    data = PretrainData(read_cohort(phantom, outcome=False), settings("supervised", "margin"), store)
    split = pd.read_csv(phantom / "patients.csv", dtype=str).set_index("patient_id")["split"]
    assert set(split[data.cohort.patients["patient_id"]]) == {"train", "val"}
    data.setup()
    assert set(split[data.learnt_from()["patient_id"]]) == {"train"}


def test_the_dealt_split_is_by_patient_and_by_seed(screening: Path, store: Path) -> None:
    def validating(seed: int, share: float = 0.2) -> set[str]:
        plain = settings("contrastive")
        given = replace(plain, seed=seed, pretrain=replace(plain.pretrain, val_share=share))
        data = PretrainData(read_cohort(screening, outcome=False), given, store)
        rows = data.cohort.patients
        assert not set(rows.loc[rows["split"] == "val", "patient_id"]) & set(
            rows.loc[rows["split"] == "train", "patient_id"]
        )
        return set(rows.loc[rows["split"] == "val", "patient_id"])

    assert len(validating(1)) == 7  # 7.2
    assert len(validating(1, share=0.1)) == 4  # 3.6
    assert validating(1) == validating(1) != validating(2)


def test_whole_breasts_need_no_boxes_and_the_other_breast_follows_without_labels(
    screening: Path, store: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(screening, tmp_path / "cohort")
    (folder / "regions.csv").unlink()
    told = settings("both", "margin", strategy="whole_breast")
    cohort = read_cohort(folder, need=("patients", "images"), outcome=False)
    rows = PretrainData(cohort, told, store).cohort.patients
    images = cohort.images[["patient_id", "laterality"]].drop_duplicates()
    assert set(rows["unit_id"]) == set(images["patient_id"] + "/" + images["laterality"])
    assert rows.loc[~rows["labelled"], "margin"].isna().all()
    assert (~rows["labelled"]).any()
    assert pretrain_run(folder, tmp_path / "runs", told, store=store).is_file()


def test_pairs_are_of_one_breast_and_views_cross_in_their_share() -> None:
    rng = np.random.default_rng(0)
    views = np.array([0, 0, 1])
    drawn = [draw_pair(views, 0.5, rng) for _ in range(2000)]
    crossing = np.mean([views[a] != views[b] for a, b in drawn])
    assert crossing == pytest.approx(0.5, abs=0.04)
    assert all(a == b for a, b in drawn if views[a] == views[b])
    assert all(a == b for a, b in (draw_pair(np.array([1]), 1.0, rng) for _ in range(20)))


def test_batches_pair_crops_of_one_patient(screening: Path, store: Path) -> None:
    data = PretrainData(read_cohort(screening, outcome=False), settings("contrastive", cross_view_share=1.0), store)
    data.setup()
    owner = data.crop_set.table.set_index("key")["unit_id"]
    arrays = data.breasts["train"]
    for item in range(len(arrays.patient)):
        assert owner[arrays.keys[arrays.first[item] : arrays.first[item + 1]]].nunique() == 1
    batch = next(iter(data.train_dataloader()))
    pairs = len(batch["patient"])
    assert batch["role"].tolist() == [0] * pairs + [1] * pairs
    assert batch["unit"].tolist() == [*range(pairs)] * 2
    again = next(iter(data.train_dataloader()))
    assert torch.equal(batch["crops"], again["crops"])


def test_crops_of_every_region_move_by_millimetres_of_their_own(phantom: Path, store: Path) -> None:
    given = settings()
    crop = replace(given.crop, auxiliary=("axilla",), auxiliary_size_mm=25.0)
    given = replace(given, crop=crop, model=replace(given.model, inputs=("primary", "auxiliary")))
    given = replace(given, pretrain=PretrainConfig(mode="contrastive"))
    data = PretrainData(read_cohort(phantom, outcome=False), given, store)
    data.setup()
    arrays = data.breasts["train"]
    region = data.crop_set.table.set_index("key")["region"][arrays.keys[arrays.first[:-1]]]
    poses = data.train_dataloader().dataset.augmentation
    sides = np.where(region == "axilla", 25.0, 50.0)
    assert set(sides) == {25.0, 50.0}
    np.testing.assert_array_equal(poses.size_mm, np.repeat(sides, np.diff(arrays.first) + 2))
    assert np.abs(poses.draws(0).degrees).max() > 10


def same_weights(one: Path, other: Path) -> None:
    states = [
        torch.load(path.parent / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for path in (one, other)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("sent", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stop_in_the_middle_loses_nothing(
    sent: signal.Signals,
    pretrained: Path,
    screening: Path,
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["pretrain", str(screening), "--out", str(tmp_path), "--store", str(store)]
    words += ["--config", str(pretrained.parent / "config.yaml")]
    command = [sys.executable, "-m", "mammo_aln", *words]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, preexec_fn=default_signals, **silent)
    last = tmp_path / pretrained.parent.name / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(sent)
    assert process.wait() == (-sent if sent == signal.SIGKILL else ExitCode.AGAIN), "it had ended before"
    assert main(words) == 0
    resumed = last.parents[1] / "pretrained.safetensors"
    assert capsys.readouterr().out == f"{resumed}\n"
    pd.testing.assert_frame_equal(
        untimed(resumed.parent / "metrics.csv"), untimed(pretrained.parent / "metrics.csv"), check_exact=True
    )
    same_weights(resumed, pretrained)


def test_a_changed_label_is_another_run_and_a_changed_outcome_model_setting_is_not(
    screening: Path, store: Path, tmp_path: Path
) -> None:
    told = settings("supervised", "margin")
    first = pretrain_run(screening, tmp_path / "runs", told, store=store)
    fused = replace(told, model=replace(told.model, fusion="gated", inputs=("primary", "clinical")))
    assert pretrain_run(screening, tmp_path / "runs", fused, store=store) == first
    folder = shutil.copytree(screening, tmp_path / "cohort")
    table = pd.read_csv(folder / "patients.csv", dtype=str)
    table.loc[5, "margin"] = "spiculated" if table.loc[5, "margin"] != "spiculated" else "circumscribed"
    table.to_csv(folder / "patients.csv", index=False)
    assert pretrain_run(folder, tmp_path / "runs", told, store=store) != first


@pytest.fixture
def untested(phantom: Path, tmp_path: Path) -> Path:
    """The phantom without the patients of its test, who were pre-trained on."""
    folder = linked_copy(phantom, tmp_path / "untested")
    patients = pd.read_csv(folder / "patients.csv", dtype=str)
    patients[patients["split"].isin(["train", "val"])].to_csv(folder / "patients.csv", index=False)
    for table in ("images", "regions"):
        rows = pd.read_csv(folder / f"{table}.csv", dtype=str)
        kept = patients["patient_id"][patients["split"].isin(["train", "val"])]
        own = rows["image_id"].str.split("_").str[0].isin(kept)
        rows[own].to_csv(folder / f"{table}.csv", index=False)
    return folder


def test_the_weights_begin_a_training_and_change_it(
    pretrained: Path, phantom: Path, untested: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Named otherwise in `screening`, these are the phantom's own patients: their identifiers and pixels tell.
    tiny = tiny_settings(inputs=("primary",))
    told = replace(tiny, model=replace(tiny.model, pretrained=str(pretrained)))
    with pytest.raises(InputError, match=r"of the test were pre-trained on \(same StudyInstanceUID"):
        train_run(phantom, tmp_path / "leaking", told, store=store)
    assert not (tmp_path / "leaking").exists()
    scratch = train_run(untested, tmp_path, tiny, store=store)
    capsys.readouterr()
    begun = train_run(untested, tmp_path, told, store=store)
    assert begun != scratch
    said = capsys.readouterr().err
    assert "of val were pre-trained on (same StudyInstanceUID or SOPInstanceUID): validation may be too kind" in said
    assert "rests to the end" not in said
    train_run(untested, tmp_path, replace(told, model=replace(told.model, freeze_epochs=1)), store=store)
    assert "model.freeze_epochs = 1 of trainer.max_epochs = 1: the loaded backbone rests" in capsys.readouterr().err
    losses = [pd.read_csv(run / "metrics.csv")["train_loss"].iloc[0] for run in (scratch, begun)]
    assert losses[0] != losses[1]
    from mammo_aln.training.build import build_model
    from mammo_aln.training.data.datamodule import MammoDataModule

    module = build_model(told, MammoDataModule.from_settings(told, untested, store))
    weights = safetensors.torch.load_file(pretrained)
    loaded = module.network.state_dict()
    for name, value in weights.items():
        assert torch.equal(loaded[name.replace("shared", "region_0")], value)
    with pytest.raises(InputError, match=r"of the test were pre-trained on \(same StudyInstanceUID"):
        predict_cohort(begun, phantom, tmp_path / "p.csv", split="external_test", store=store)
    assert not (tmp_path / "p.csv").exists()
    assert predict_cohort(scratch, phantom, tmp_path / "p.csv", split="external_test", store=store).is_file()


def test_test_patients_who_were_pre_trained_on_are_refused(phantom: Path, store: Path, tmp_path: Path) -> None:
    """One cohort name: patient_id says who is who, before any image is opened."""
    whole = linked_copy(phantom, tmp_path / "whole")
    pd.read_csv(whole / "patients.csv", dtype=str).drop(columns="split").to_csv(whole / "patients.csv", index=False)
    leaking = pretrain_run(whole, tmp_path / "runs", settings("supervised", "margin"), store=store)
    tiny = tiny_settings(inputs=("primary",))
    with pytest.raises(InputError, match=r"patients of external_test and internal_test were pre-trained on"):
        train_run(
            phantom, tmp_path / "t", replace(tiny, model=replace(tiny.model, pretrained=str(leaking))), store=store
        )
    assert not (tmp_path / "t").exists()
    # So are the checkpoints of that very run.
    last = str(leaking.parent / "checkpoints" / "last.ckpt")
    with pytest.raises(InputError, match="were pre-trained on"):
        train_run(phantom, tmp_path / "t", replace(tiny, model=replace(tiny.model, pretrained=last)), store=store)
    assert not (tmp_path / "t").exists()
    sound = pretrain_run(phantom, tmp_path / "runs", settings("supervised", "margin"), store=store)
    run = train_run(
        phantom, tmp_path / "t", replace(tiny, model=replace(tiny.model, pretrained=str(sound))), store=store
    )
    assert predict_cohort(run, phantom, tmp_path / "p.csv", split="external_test", store=store).is_file()
    # A second pre-training that begins from the first passes on whom that one has seen.
    told = settings("supervised", "birads")
    told = replace(told, model=replace(told.model, pretrained=str(leaking)))
    second = pretrain_run(phantom, tmp_path / "runs", told, store=store)
    with pytest.raises(InputError, match="were pre-trained on"):
        train_run(
            phantom, tmp_path / "u", replace(tiny, model=replace(tiny.model, pretrained=str(second))), store=store
        )


def test_a_run_begun_from_another_runs_checkpoint_is_guarded(phantom: Path, store: Path, tmp_path: Path) -> None:
    """Whom the first run trained on, and whom its own weights had seen, are no test patients of the second."""
    tiny = tiny_settings(inputs=("primary",))
    first = train_run(phantom, tmp_path / "runs", tiny, store=store)

    def from_run(run: Path) -> Settings:
        weights = str(run / "checkpoints" / "best.ckpt")
        return replace(tiny, model=replace(tiny.model, pretrained=weights))

    second = train_run(phantom, tmp_path / "runs", from_run(first), store=store)
    third = train_run(phantom, tmp_path / "runs", from_run(second), store=store)
    seen = torch.load(third / "checkpoints" / "best.ckpt", weights_only=True)["mammo_aln"]
    assert [one["salt"] for one in seen["pretraining"]] == [first.name, second.name]
    patients = pd.read_csv(phantom / "patients.csv", dtype=str)
    assert not any(patient in json.dumps(seen) for patient in patients["patient_id"])
    swapped = linked_copy(phantom, tmp_path / "swapped")
    swap = {"train": "external_test", "external_test": "train"}
    patients["split"] = patients["split"].replace(swap)
    patients.to_csv(swapped / "patients.csv", index=False)
    with pytest.raises(InputError, match=r"of external_test were pre-trained on"):
        train_run(swapped, tmp_path / "u", from_run(first), store=store)
    assert not (tmp_path / "u").exists()


def test_another_backbone_or_size_gets_one_clear_message(
    pretrained: Path, untested: Path, store: Path, tmp_path: Path
) -> None:
    dense = tiny_settings("densenet121", inputs=("primary",), pretrained=str(pretrained))
    with pytest.raises(InputError, match=r"holds a pre-trained resnet50 .*densenet121"):
        train_run(untested, tmp_path, dense, store=store)
    wider = tiny_settings(inputs=("primary",), pretrained=str(pretrained))
    wider = replace(wider, model=replace(wider.model, backbone_args={**TINY["resnet50"], "channels": [8, 8, 8, 16]}))
    with pytest.raises(InputError, match=r"layer4.*It was made with backbone_args"):
        train_run(untested, tmp_path, wider, store=store)


def test_a_pre_training_is_no_run_to_predict_with(pretrained: Path, phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a pre-training; `train --model\.pretrained="):
        predict_cohort(pretrained.parent, phantom, tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (settings("supervised"), "pretrain.labels is empty"),
        (settings("contrastive", "margin"), "reads no labels"),
        (settings("supervised", "density"), r"no such column; patients\.csv: .*margin.*images\.csv: .*acr"),
        (settings("supervised", "margin:ordinal"), "KIND one of binary, categorical, continuous"),
        (settings("supervised", "center"), "it is no label"),
        (settings("supervised", "margin", "patients.margin"), "named twice"),
        (settings("supervised", "birads:binary"), "a binary label has two"),
        (settings("supervised", "margin:continuous"), "expected a finite number"),
        (settings("supervised", "same"), r"only 'x' among the training rows"),
        (replace(settings("contrastive"), trainer=TrainerConfig(patience=3, accelerator="cpu")), r"trainer\.patience"),
        (replace(settings("supervised", "margin"), optim=OptimConfig(loss="focal")), r"optim\.loss = focal"),
        (replace(settings("contrastive"), data=DataConfig(folds=5)), r"data\.folds"),
        (
            replace(settings("contrastive"), model=ModelConfig(pretrained="x.safetensors", freeze_epochs=1)),
            r"model\.freeze_epochs = 1: .* less than trainer\.max_epochs = 1",
        ),
        (replace(settings("contrastive"), data=DataConfig(batch_size=1)), r"data\.batch_size = 1: .* 2 or more"),
        (
            replace(settings("both", "age"), data=DataConfig(batch_size=2), trainer=TrainerConfig(devices=2)),
            r"data\.batch_size = 2: .* 4 or more",
        ),
        (replace(settings("contrastive"), model=ModelConfig(inputs=("clinical",))), r"model\.inputs = clinical"),
        (replace(settings("contrastive"), crop=CropConfig(strategy="all")), r"crop\.strategy"),
    ],
)
def test_wrong_input_is_told_and_leaves_nothing(
    told: PretrainSettings, message: str, screening: Path, store: Path, tmp_path: Path
) -> None:
    folder = screening
    if told.pretrain.labels == ("same",):
        folder = shutil.copytree(screening, tmp_path / "cohort")
        pd.read_csv(folder / "patients.csv", dtype=str).assign(same="x").to_csv(folder / "patients.csv", index=False)
    with pytest.raises(InputError, match=message) as error:
        pretrain_run(folder, tmp_path / "runs", told, store=store)
    assert re.search(r"\n", str(error.value)) is None
    assert not (tmp_path / "runs").exists()


def test_a_last_batch_of_one_patient_is_no_contrastive_loss_of_zero(screening: Path, store: Path) -> None:
    """The validation's loss is the mean over batches that compare patients, whatever `micro_batch` is."""
    told = replace(settings("contrastive"), data=DataConfig(batch_size=2, augment=False, micro_batch=1))
    data = PretrainData(read_cohort(screening, outcome=False), told, store)
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    module = PretrainModule(told.model, told.optim, told.pretrain, data.heads, 64).eval()
    batches = list(data.val_dataloader())
    assert max(len(batch["patient"]) for batch in batches) == 2
    module.on_validation_epoch_start()
    losses = []
    with torch.no_grad():
        for batch in batches:
            module.validation_step(batch, 0)
            _, embedding = module(batch["crops"])
            pairs = len(batch["patient"])
            if len(set(batch["patient"].tolist())) > 1:
                losses += [nt_xent(embedding[:pairs], embedding[pairs:], batch["patient"], 0.2).item()] * pairs
        module.validation_step(one_pair(batches[0]), 0)
    assert losses
    assert module.val_contrast.compute().item() == pytest.approx(np.mean(losses))


def one_pair(batch: StepBatch) -> dict[str, torch.Tensor]:
    """The first pair of a batch alone."""
    pairs = len(batch["patient"])
    return {"crops": batch["crops"][[0, pairs]], "labels": batch["labels"][[0, pairs]], "patient": batch["patient"][:1]}


def copied_with_learning_images(phantom: Path, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """A copy of a cohort, and the rows of its images that a training reads."""
    cohort = tmp_path / "cohort"
    shutil.copytree(phantom, cohort, ignore=shutil.ignore_patterns(".crops"))
    tables = read_cohort(cohort)
    learning = tables.patients[tables.patients["split"] == "train"]["patient_id"]
    boxed = tables.regions[tables.regions["region"] == "primary"]["image_id"]
    return cohort, tables.images[tables.images["patient_id"].isin(learning) & tables.images["image_id"].isin(boxed)]


@pytest.mark.parametrize("kind", [pytest.param(PretrainData, marks=pytest.mark.slow), MammoDataModule])
def test_a_file_that_is_replaced_behind_its_crop_ends_the_training_before_it_begins(
    kind: type[Any], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who the run learnt from is read from the files, once their crops are cut: the other patient would be noted."""
    cohort, images = copied_with_learning_images(phantom, tmp_path)
    first, second = (cohort / path for path in images["path"].iloc[[0, -1]])
    kept = first.read_bytes()
    cut = kind.prepare_data

    def replaced_behind(self: Any) -> None:
        cut(self)
        first.unlink()
        first.write_bytes(second.read_bytes())

    def run() -> Path:
        if kind is PretrainData:
            return pretrain_run(cohort, tmp_path / "runs", settings("supervised", "margin"), store=tmp_path / "store")
        return train_run(cohort, tmp_path / "runs", tiny_settings(inputs=("primary",)), store=tmp_path / "store")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "prepare_data", replaced_behind)
        with pytest.raises(InputError, match=r"files changed, or went, after their crops were cut: .*the same command"):
            run()
    assert not list((tmp_path / "runs").rglob("*.ckpt"))
    if kind is MammoDataModule:
        return
    first.write_bytes(kept)
    made = run()
    (folder,) = {path.parent for path in (tmp_path / "runs").rglob("state.json") if "completed" in path.read_text()}
    assert folder in (made, made.parent)


def test_images_that_went_while_a_run_was_frozen_are_described_once_they_are_back(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, images = copied_with_learning_images(phantom, tmp_path)
    file = cohort / images["path"].iloc[0]
    kept = file.read_bytes()

    def run(out: str) -> Path:
        return train_run(cohort, tmp_path / out, tiny_settings(inputs=("primary",)), store=tmp_path / "store")

    def gone(*words: Any) -> None:
        file.unlink()
        store_baseline(*words)

    with monkeypatch.context() as patch:
        patch.setattr("mammo_aln.training.train.store_baseline", gone)
        with pytest.raises(InputError, match=r"or went, after their crops were cut.*goes on once they are back"):
            run("runs")
    file.write_bytes(kept)
    assert (run("runs") / "baseline.json").read_bytes() == (run("other") / "baseline.json").read_bytes()
