"""Five backbones by name, their input rules and what they say when something does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from mammo_aln.errors import InputError
from mammo_aln.model.backbones import RULES, Backbone
from mammo_aln.model.windows import fits_windows
from mammo_aln.settings import BACKBONES
from mammo_aln.settings.steps import WITHOUT_DROPPED_BRANCHES
from tests.support.tiny_settings import TINY

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "backbones"


def test_the_table_holds_the_five_names_of_the_settings():
    assert tuple(RULES) == BACKBONES


@pytest.mark.parametrize("name", BACKBONES)
def test_forward_and_backward(name, tiny_args):
    backbone = Backbone(name, tiny_args[name], 64)
    features = backbone(torch.rand(3, 1, 64, 64))
    assert features.shape == (3, backbone.features)
    features.square().sum().backward()
    lost = [key for key, weight in backbone.named_parameters() if weight.grad is None]
    assert lost == []


@pytest.mark.parametrize("name", BACKBONES)
def test_features_are_float32_under_bf16(name, tiny_args):
    backbone = Backbone(name, tiny_args[name], 64).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert backbone(torch.rand(2, 1, 64, 64)).dtype is torch.float32


@pytest.mark.parametrize("name", BACKBONES)
def test_shipped_small_variant_builds(name):
    model = yaml.safe_load((CONFIGS / f"{name}_small.yaml").read_text())["model"]
    assert model["backbone"] == name
    backbone = Backbone(name, model["backbone_args"], 128)
    assert sum(weight.numel() for weight in backbone.parameters()) < 1_000_000


@pytest.mark.parametrize("name", BACKBONES)
def test_shipped_full_size_is_timms_own(name):
    model = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]
    assert model["backbone"] == name
    assert set(model["backbone_args"]) <= {"drop_path_rate"}


def test_input_is_normalised_by_timms_constants(tiny_args):
    backbone = Backbone("efficientnetv2", tiny_args["efficientnetv2"], 64).eval()
    crops = torch.rand(2, 1, 64, 64)
    assert torch.allclose(backbone(crops), backbone.body((crops - 0.5) / 0.5), atol=1e-6)


def test_gradient_checkpointing_changes_no_gradient(tiny_args):
    plain = Backbone("swinv2", {**tiny_args["swinv2"], "drop_path_rate": 0.0}, 64)
    saving = Backbone("swinv2", {**tiny_args["swinv2"], "drop_path_rate": 0.0}, 64, grad_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    crops = torch.rand(2, 1, 64, 64)
    for backbone in (plain, saving):
        backbone(crops).square().sum().backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


@pytest.mark.parametrize("size_px", [64, 96, 128, 192, 224, 256])
def test_swin_takes_the_window_that_fits(size_px):
    backbone = Backbone("swinv2", {"embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 1, 1]}, size_px).eval()
    side = size_px // 4
    for stage in backbone.body.layers:
        window = stage.blocks[0].window_size[0]
        assert side % window == 0
        side //= 2
    with torch.no_grad():
        assert backbone(torch.rand(1, 1, size_px, size_px)).shape == (1, 32)


@pytest.mark.parametrize(
    ("size_px", "window", "stages", "fits"),
    [(256, 8, 4, True), (128, 8, 4, True), (96, 8, 3, False), (96, 6, 3, True), (224, 7, 4, True), (100, 5, 3, False)],
)
def test_window_rule_by_hand(size_px, window, stages, fits):
    assert fits_windows(size_px, window, stages) is fits


@pytest.mark.parametrize(
    ("name", "args", "size_px", "told"),
    [
        ("swinv2", {"window_size": 8}, 200, ["crop.size_px = 200", "swinv2", "windows of 8", "256"]),
        ("swinv2", {}, 130, ["crop.size_px = 130", "128"]),
        ("convnextv2", {}, 100, ["crop.size_px = 100", "96", "128"]),
        ("resnet50", {}, 16, ["crop.size_px = 16", "64"]),
        ("swin", {}, 64, ["model.backbone = 'swin'", "swinv2, convnextv2", "timm:NAME"]),
        ("timm:", {}, 64, ["timm:", "expected a name after the colon"]),
        ("timm:no_such_model", {}, 64, ["timm:no_such_model", "timm knows"]),
        ("timm:inception_v3", {}, 64, ["model.backbone = timm:inception_v3", "crop.size_px = 64", "299"]),
        ("timm:csatv2", {}, 64, ["model.backbone = timm:csatv2", "crop.size_px = 64"]),
        ("resnet50", {"layer": [1]}, 64, ["model.backbone_args", "'layer'", "resnet50"]),
    ],
)
def test_what_does_not_fit_is_told(name, args, size_px, told):
    with pytest.raises(InputError) as error:
        Backbone(name, args, size_px)
    assert [part for part in told if part not in str(error.value)] == []


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:vit_tiny_patch16_224"])
def test_any_other_timm_model(name):
    backbone = Backbone(name, {}, 96).eval()
    with torch.no_grad():
        assert backbone(torch.rand(1, 1, 96, 96)).shape == (1, backbone.features)


@pytest.mark.parametrize("name", BACKBONES)
def test_only_a_backbone_that_the_run_ids_know_drops_branches_unasked(name):
    dropping = [each for each in Backbone(name, TINY[name], 64).modules() if getattr(each, "drop_prob", 0)]
    assert bool(dropping) is (name not in WITHOUT_DROPPED_BRANCHES)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "densenet121"])
def test_drop_path_rises_to_its_rate(name):
    args = {"resnet50": {"layers": [2, 2, 2, 2], "channels": [8, 8, 8, 8], "stem_width": 8}}.get(name, {})
    body = Backbone(name, args, 64, drop_path_rate=0.3).body
    rates = [module.drop_prob for module in body.modules() if type(module).__name__ == "DropPath"]
    assert rates == sorted(rates)
    assert 0.2 < rates[-1] < 0.3001


def test_drop_path_is_refused_where_there_is_none_and_where_it_is_given_twice(tiny_args):
    with pytest.raises(InputError, match=r"densenet121.*no such branches"):
        Backbone("densenet121", tiny_args["densenet121"], 64, drop_path_rate=0.1)
    with pytest.raises(InputError, match="give one"):
        Backbone("convnextv2", {**tiny_args["convnextv2"], "drop_path_rate": 0.1}, 64, drop_path_rate=0.1)
