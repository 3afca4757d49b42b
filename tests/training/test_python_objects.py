"""The two objects of the README in a plain Lightning trainer, own backbones, and the form of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mammo_aln import AxillaryClassifier, MammoDataModule
from mammo_aln.errors import InputError
from mammo_aln.settings import CropConfig, DataConfig, OptimConfig
from tests.support.tiny_settings import TINY


@pytest.fixture(scope="module")
def data(phantom: Path, store: Path) -> MammoDataModule:
    module = MammoDataModule(phantom, CropConfig(size_px=64), store=store)
    module.prepare_data()
    module.setup()
    return module


def trainer(**more) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(accelerator="cpu", **quiet, **more)


class OwnNetwork(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, width, 5, stride=4), nn.ReLU())

    def forward(self, crops: Tensor) -> Tensor:
        return self.layers(crops)


def test_fit_test_and_predict_work_with_two_objects(data: MammoDataModule) -> None:
    model = AxillaryClassifier.for_data(data, backbone="resnet50", backbone_args=TINY["resnet50"], embed_dim=8)
    runner = trainer(max_epochs=1)
    runner.fit(model, data)
    [judged] = runner.test(model, data, verbose=False)
    assert judged["val_auc"] == runner.validate(model, data, verbose=False)[0]["val_auc"]
    train, val = runner.predict(model, data)
    for split, batches in (("train", train), ("val", val)):
        index = torch.cat([batch["index"] for batch in batches])
        assert index.tolist() == list(range(len(data.patients(split))))
        assert torch.cat([batch["logit"] for batch in batches]).isfinite().all()


def test_a_test_split_is_not_opened_by_the_trainer(phantom: Path, store: Path) -> None:
    data = MammoDataModule(
        phantom, CropConfig(size_px=64), inputs=("clinical",), store=store, splits=("external_test",)
    )
    with pytest.raises(InputError, match="mammo-aln predict"):
        trainer().test(AxillaryClassifier.for_data(data, embed_dim=8), data)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"crop": "fixed5cm"}, "crop.strategy: .* did you mean fixed_5cm"),
        ({"crop": CropConfig(size_px=2)}, "crop.size_px: expected 8 to 4096 pixels, got 2"),
        ({"inputs": ("primry",)}, "model.inputs: .* did you mean primary"),
        ({"data": DataConfig(batch_size=0)}, "data.batch_size: expected 1 to 1000000, got 0"),
        ({"splits": ("train", "vall")}, "splits: expected any of train, val, internal_test, external_test, got vall"),
    ],
)
def test_a_wrong_setting_from_python_is_refused_at_once(wrong: dict, expected: str, phantom: Path) -> None:
    with pytest.raises(InputError, match=expected):
        MammoDataModule(phantom, **wrong)


def test_a_wrong_fusion_from_python_is_refused(data: MammoDataModule) -> None:
    with pytest.raises(InputError, match=r"model\.fusion: expected one of concat, gated, attention, got gate"):
        AxillaryClassifier.for_data(data, fusion="gate")


def test_a_batch_has_the_form_that_is_stated(data: MammoDataModule) -> None:
    batch = next(iter(data.val_dataloader()))
    orders = [f"order_{number}" for number in range(len(data.regions))]
    assert set(batch) == {"crops", "unit", "region", "view", "clinical", "label", "index", *orders}
    crops, patients = len(batch["crops"]), len(batch["label"])
    assert batch["crops"].shape == (crops, 1, 64, 64)
    assert batch["crops"].dtype == batch["clinical"].dtype == batch["label"].dtype == torch.float32
    assert 0.0 <= float(batch["crops"].min()) <= float(batch["crops"].max()) <= 1.0
    for name in ("unit", "region", "view"):
        assert batch[name].shape == (crops,)
        assert batch[name].dtype == torch.int64
    assert set(batch["unit"].tolist()) <= set(range(patients))
    assert set(batch["region"].tolist()) <= set(range(len(data.regions)))
    assert set(batch["view"].tolist()) <= {0, 1, 2}
    assert batch["clinical"].shape == (patients, len(data.clinical_columns))
    assert batch["index"].tolist() == list(range(patients))
    for number, name in enumerate(orders):
        assert torch.equal(batch[name], (batch["region"] == number).nonzero().squeeze(1))
    trained = next(iter(data.train_dataloader()))
    assert set(trained) == {*batch, "hiding_draws"}
    assert trained["hiding_draws"].shape == (len(trained["label"]), 2 + len(data.regions))
    documented = AxillaryClassifier.__doc__ or ""
    assert all(f"`{name}`" in documented for name in batch)


@pytest.mark.parametrize("own", [OwnNetwork(), OwnNetwork, lambda: nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 5))])
def test_an_own_backbone_learns_and_comes_back(own, data: MammoDataModule, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AxillaryClassifier.for_data(data, OptimConfig(lr=1e-2), backbone=own, embed_dim=8)
    backbones = [encoder.backbone.body for encoder in model.network.encoders.values()]
    assert len(backbones) == len(data.regions) > 1
    assert len({id(weight) for body in backbones for weight in body.parameters()}) == sum(
        len(list(body.parameters())) for body in backbones
    )
    before = [weight.detach().clone() for weight in backbones[0].parameters()]
    runner = trainer(max_epochs=1)
    runner.fit(model, data)
    after = list(backbones[0].parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    runner.save_checkpoint(tmp_path / "own.ckpt")
    batch = next(iter(data.val_dataloader()))
    back = AxillaryClassifier.load(tmp_path / "own.ckpt", own_backbone=own)
    with torch.no_grad():
        assert torch.equal(back(batch), model.eval()(batch))
    with pytest.raises(InputError, match="own_backbone"):
        AxillaryClassifier.load(tmp_path / "own.ckpt")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (nn.Conv2d(3, 4, 3), r"Conv2d: expected features .* of crops \(n, 1, 64, 64\); it fails"),
        (nn.Flatten(0), r"Flatten: expected .* gave \(8192,\)"),
        (nn.LSTM(64, 4), "LSTM: expected"),
        (lambda: "resnet", "factory returned str"),
        (7, "got int"),
        ("resnet51", "expected one of swinv2"),
    ],
)
def test_what_is_no_backbone_is_refused_in_words(own, expected: str, data: MammoDataModule) -> None:
    with pytest.raises(InputError, match=expected):
        AxillaryClassifier.for_data(data, backbone=own, embed_dim=8)
