"""SwinV2's loaded position biases mean, at another size of crop, what they meant where they were learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from mammo_aln.model.backbones import Backbone
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.windows import LearntWindows, fitting_window, learnt_windows, window_of_table
from mammo_aln.settings import ModelConfig, OptimConfig

ARGS = {"embed_dim": 8, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 2, 2]}
TIMM_ARGS = {key: tuple(value) if isinstance(value, list) else value for key, value in ARGS.items()}


def random_biases(body: torch.nn.Module) -> torch.nn.Module:
    """Position biases and norms that differ, as training leaves them."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in body.named_parameters():
            if "cpb_mlp" in name or "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.3)
    return body


def released(path: Path) -> torch.nn.Module:
    """A file in timm's layout, as a release of the 256 px network is, and the network it was learnt in."""
    body = random_biases(timm.create_model("swinv2_tiny_window8_256", in_chans=3, num_classes=10, **TIMM_ARGS))
    safetensors.torch.save_file(body.state_dict(), path)
    return body


def biases(body: torch.nn.Module, reach: int) -> list[torch.Tensor]:
    """Position biases by offset, -reach to reach both ways, of each stage's first attention (or as far as it goes)."""
    tables = []
    for stage in body.layers:
        attention = stage.blocks[0].attn
        here = min(reach, attention.window_size[0] - 1)
        middle = attention.window_size[0] - 1
        inner = slice(middle - here, middle + here + 1)
        with torch.no_grad():
            tables.append(16 * torch.sigmoid(attention.cpb_mlp(attention.relative_coords_table))[0, inner, inner])
    return tables


def same_biases(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for mine, theirs in zip(biases(one, 4), biases(other, 4), strict=True):
        reach = min(len(mine), len(theirs)) // 2
        inner = [slice(len(each) // 2 - reach, len(each) // 2 + reach + 1) for each in (mine, theirs)]
        assert (mine[inner[0], inner[0]] - theirs[inner[1], inner[1]]).abs().max() < 1e-6


@pytest.mark.parametrize(("size_px", "window"), [(192, 6), (224, 7), (256, 8), (320, 10), (384, 12), (512, 8)])
def test_a_release_has_the_same_bias_at_the_same_offset_at_any_size(size_px, window, tmp_path):
    source = released(tmp_path / "release.safetensors")
    backbone = Backbone("swinv2", ARGS, size_px, pretrained=str(tmp_path / "release.safetensors"))
    assert backbone.body.layers[0].blocks[0].window_size == (window, window)
    same_biases(backbone.body, source)


def test_without_the_argument_the_biases_would_be_others(tmp_path):
    source = released(tmp_path / "release.safetensors")
    unaware = Backbone("swinv2", ARGS, 192)
    unaware.body.load_state_dict(
        Backbone("swinv2", ARGS, 256, pretrained=str(tmp_path / "release.safetensors")).body.state_dict()
    )
    with pytest.raises(AssertionError):
        same_biases(unaware.body, source)


def checkpoint_of(network: AxillaryClassifier, path: Path) -> str:
    """A checkpoint as a training leaves it: the file that it began from is not named in it."""
    settings = dict(network.hparams)
    settings["model"] = {**settings["model"], "pretrained": False}
    torch.save({"state_dict": network.state_dict(), "hyper_parameters": settings}, path)
    return str(path)


def classifier(size_px: int, pretrained: str) -> AxillaryClassifier:
    torch.manual_seed(0)
    model = ModelConfig(backbone="swinv2", backbone_args=ARGS, inputs=("primary",), embed_dim=8, pretrained=pretrained)
    return AxillaryClassifier(model, OptimConfig(), ["primary"], [], size_px)


def test_own_weights_keep_their_meaning_over_generations_and_when_they_are_read_back(tmp_path, make_batch):
    source = released(tmp_path / "release.safetensors")
    first = classifier(192, str(tmp_path / "release.safetensors"))
    second = classifier(384, checkpoint_of(first, tmp_path / "first.ckpt"))
    third = classifier(224, checkpoint_of(second, tmp_path / "second.ckpt"))
    for network in (first, second, third):
        same_biases(network.network.encoders["region_0"].backbone.body, source)
    batch = make_batch([(0, 0, 0), (1, 0, 1)], [0.0, 1.0], columns=0)
    batch["crops"] = torch.rand(2, 1, 384, 384)
    read = AxillaryClassifier.load(checkpoint_of(second, tmp_path / "again.ckpt"))
    weights, expected = (each.scoring_network.state_dict() for each in (read, second))
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    with torch.no_grad():
        # A product of the same numbers may differ in its last digit where the library looks at addresses.
        torch.testing.assert_close(read(batch), second.eval()(batch), rtol=1e-6, atol=0)
    body = read.scoring_network.encoders["region_0"].backbone.body
    assert body.layers[0].blocks[0].window_size == (6, 6)


def test_a_file_of_our_weights_that_tells_no_size_is_told(tmp_path, capsys):
    network = classifier(192, False)
    weights = {name: value.contiguous() for name, value in network.network.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "bare.safetensors")
    Backbone("swinv2", ARGS, 224, pretrained=str(tmp_path / "bare.safetensors"))
    assert "bare.safetensors does not tell its crops' size" in capsys.readouterr().err


def test_the_user_s_own_windows_go_first(tmp_path):
    released(tmp_path / "release.safetensors")
    args = {**ARGS, "window_size": 4, "pretrained_window_sizes": [6, 6, 6, 6]}
    body = Backbone("swinv2", args, 256, pretrained=str(tmp_path / "release.safetensors")).body
    attention = body.layers[0].blocks[0].attn
    assert (attention.window_size, attention.pretrained_window_size) == ((4, 4), (6, 6))


@pytest.mark.parametrize("learnt", [5, 8, 12, 16])
@pytest.mark.parametrize("window", [4, 8, 12])
def test_the_window_of_a_table_is_the_one_that_timm_made_it_with(learnt, window):
    body = timm.create_model(
        "swinv2_tiny_window8_256",
        **{**TIMM_ARGS, "depths": (1,), "num_heads": (1,)},
        window_size=window,
        img_size=192,
        pretrained_window_sizes=(learnt,),
    )
    table = body.layers[0].blocks[0].attn.relative_coords_table
    assert window_of_table(table) == learnt
    # An older file holds its tables; they go before what the module that is built says.
    plain = timm.create_model("swinv2_tiny_window8_256", **{**TIMM_ARGS, "depths": (1,), "num_heads": (1,)})
    assert learnt_windows(plain, {}).per_stage == (8,)
    assert learnt_windows(plain, {"layers.0.blocks.0.attn.relative_coords_table": table}).per_stage == (learnt,)


@pytest.mark.parametrize(
    ("size_px", "window"), [(128, 8), (160, 5), (192, 6), (224, 7), (256, 8), (320, 10), (384, 12), (448, 14), (512, 8)]
)
def test_no_window_is_smaller_than_the_weights_own_on_larger_crops(size_px, window):
    learnt = LearntWindows(256, 8, (8, 8, 8, 8))
    assert fitting_window(size_px, learnt.preferred(size_px), {}) == window
