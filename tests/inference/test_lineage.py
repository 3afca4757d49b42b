"""Licences go with what is made: cohort, pre-training, run, checkpoint, predictions, crops."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from mammo_aln.cli import main
from mammo_aln.cohort.lineage import lineage_lines
from mammo_aln.crops.crop import crop_cohort
from mammo_aln.errors import InputError
from mammo_aln.inference.lineage import lineage_of
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.model.lineage import released_source, weight_sources
from mammo_aln.settings import ModelConfig, PretrainConfig, PretrainSettings
from mammo_aln.training.pretraining.pretrain import pretrain_run
from mammo_aln.training.train import train_run
from tests.support.run_folders import linked_copy
from tests.support.tiny_settings import tiny_settings

NONE = "a cohort whose cohort.yaml states no dataset"
EMBED = (
    "dataset: {name: EMBED-like, licence: research use agreement, terms: [no-published-weights, no-redistribution]}\n"
)
DUKE = "dataset: {name: Duke-like, licence: CC BY-NC 4.0, citation: Saha 2018}\n"


def named(phantom: Path, folder: Path, name: str, block: str) -> Path:
    """A copy of the phantom under another name, with a `dataset` block."""
    linked_copy(phantom, folder)
    text = (folder / "cohort.yaml").read_text().replace("name: phantom", f"name: {name}")
    (folder / "cohort.yaml").write_text(text + block)
    return folder


@pytest.fixture(scope="module")
def chain(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pre-training on one data set, a training on another that begins from its weights."""
    folder = tmp_path_factory.mktemp("chain")
    first = named(phantom, folder / "first", "first", EMBED)
    second = named(phantom, folder / "second", "second", DUKE)
    tiny = tiny_settings(inputs=("primary",))
    before = PretrainSettings(
        crop=tiny.crop, model=tiny.model, data=tiny.data, trainer=tiny.trainer, log=tiny.log, seed=1,
        pretrain=PretrainConfig(mode="supervised", labels=("age",), val_share=0.2),
    )  # fmt: skip
    weights = pretrain_run(first, folder / "weights", before, store=store)
    settings = replace(tiny, model=replace(tiny.model, pretrained=str(weights)))
    run = train_run(second, folder / "runs", settings, store=store)
    return {"first": first, "second": second, "weights": weights, "run": run}


def names(path: Path) -> list[str]:
    return [source.name for source in lineage_of(path)]


def test_a_run_tells_its_data_and_that_of_its_weights(
    chain: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(chain["first"]) == ["EMBED-like"]
    assert names(chain["weights"]) == ["EMBED-like"]
    assert names(chain["run"]) == ["Duke-like", "EMBED-like"]
    assert names(chain["run"] / "checkpoints" / "best.ckpt") == ["Duke-like", "EMBED-like"]
    assert names(chain["run"] / "predictions.csv") == ["Duke-like", "EMBED-like"]
    assert names(chain["run"].parent) == ["Duke-like", "EMBED-like"]
    assert main(["lineage", str(chain["run"]), str(chain["first"])]) == 0
    said = capsys.readouterr().out
    assert said.count("EMBED-like: licence research use agreement") == 1
    assert "weights: EMBED-like (research use agreement): no-published-weights" in said
    assert "weights: Duke-like (CC BY-NC 4.0): non-commercial" in said


def test_predictions_tell_the_run_and_the_cohort_that_is_scored(
    chain: dict[str, Path], phantom: Path, store: Path, tmp_path: Path
) -> None:
    free = train_run(phantom, tmp_path, tiny_settings(inputs=("primary",)), store=store)
    assert names(free) == [NONE]
    out = predict_cohort(free, chain["second"], tmp_path / "p.csv", split="external_test", store=store)
    assert names(out) == [NONE, "Duke-like"]
    assert main(["evaluate", str(out), "--out", str(tmp_path / "e"), "--resamples", "10"]) == 0
    assert "Duke-like (CC BY-NC 4.0)" in (tmp_path / "e" / "report.html").read_text()


def test_a_dataset_block_leaves_the_run_id_as_it_is(phantom: Path, store: Path, tmp_path: Path) -> None:
    settings = tiny_settings(inputs=("primary",))
    with_block = named(phantom, tmp_path / "with", "phantom", DUKE)
    runs = [train_run(folder, tmp_path / "runs", settings, store=store) for folder in (phantom, with_block)]
    assert runs[0] == runs[1]


def test_exported_crops_lie_beside_their_licence(
    chain: dict[str, Path], store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny_settings()
    crop_cohort(chain["first"], settings.pixels, settings.crop, store=store, export=tmp_path / "crops")
    assert "EMBED-like (research use agreement): no-redistribution" in capsys.readouterr().err
    text = (tmp_path / "crops" / "LICENCE.txt").read_text()
    assert "EMBED-like" in text
    assert "must not be passed on" in text


def test_a_run_older_than_the_record_says_so(chain: dict[str, Path], tmp_path: Path) -> None:
    old = Path(shutil.copytree(chain["run"], tmp_path / "old"))
    (old / "lineage.json").unlink()
    assert names(old) == ["a run or weights made before lineage was recorded"]
    (old / "lineage.json").write_text("[")
    with pytest.raises(InputError, match=r"lineage\.json: cannot be read"):
        lineage_of(old)
    facts = json.loads((old / "predictions.json").read_text())
    del facts["lineage"]
    (old / "predictions.json").write_text(json.dumps(facts))
    assert names(old / "predictions.csv") == ["a run or weights made before lineage was recorded"]


def test_what_has_no_lineage_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note.txt").write_text("x")
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "a.csv")
    for path in (tmp_path / "nowhere", tmp_path / "note.txt", tmp_path / "a.csv", tmp_path):
        assert main(["lineage", str(path)]) == 2
        assert "expected a cohort, a run" in capsys.readouterr().err


def test_releases_of_timm_carry_their_licence() -> None:
    """The licences that the releases' own cards state: resnet50.a1_in1k Apache-2.0, ConvNeXt V2 CC BY-NC 4.0."""
    resnet = released_source("resnet50.a1_in1k")
    assert (resnet.licence, resnet.terms) == ("apache-2.0", ("imagenet",))
    convnext = released_source("convnextv2_tiny.fcmae_ft_in22k_in1k")
    assert convnext.licence == "cc-by-nc-4.0"
    assert "non-commercial" in convnext.all_terms


def test_weights_without_a_record_say_so(tmp_path: Path) -> None:
    """A file in timm's layout names no licence: the run that begins from it carries that, and does not pass as free."""
    file = tmp_path / "clinic_x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, file)
    (source,) = weight_sources(ModelConfig(pretrained=str(file)))
    assert source.name == "weights clinic_x.safetensors"
    assert lineage_lines([source]) == ["weights clinic_x.safetensors: licence not stated"]
    assert weight_sources(ModelConfig(pretrained=False)) == ()
    (release,) = weight_sources(ModelConfig(backbone="convnextv2", pretrained=True))
    assert "non-commercial" in release.all_terms
