"""The fused attention computes what timm's does, with the same weights, and never from a stale mask."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from mammo_aln.model.swin_attention import FusedWindowAttention, fuse_attention, start_from_scratch


def randomised_pair(dtype: torch.dtype, **args) -> tuple[nn.Module, nn.Module]:
    """timm's network and ours. Norms, logit scales and position biases are random: timm's initial norms are 0."""
    args = {"img_size": 64, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4, **args}
    theirs = timm.create_model("swinv2_tiny_window8_256", in_chans=1, num_classes=0, drop_path_rate=0.0, **args).to(
        dtype
    )
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if any(part in name for part in ("norm", "logit_scale", "cpb_mlp", "bias")):
                weight.add_(torch.randn_like(weight))
    ours = copy.deepcopy(theirs)
    assert fuse_attention(ours) == sum(args["depths"])
    return theirs, ours


def distance(found: torch.Tensor, true: torch.Tensor) -> float:
    return ((found - true).norm() / true.norm()).item()


FOUR_STAGES = {"embed_dim": 12, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}


@pytest.mark.parametrize(
    ("size_px", "args", "dtype", "output", "gradient"),
    [
        pytest.param(64, {}, torch.float64, 1e-10, 1e-10, id="whole windows"),
        pytest.param(80, {}, torch.float64, 1e-10, 1e-10, id="padded windows"),
        pytest.param(80, {}, torch.float32, 1e-5, 5e-4, id="float32"),
        *(
            pytest.param(32 * window, {**FOUR_STAGES, "window_size": window}, torch.float64, 1e-10, 1e-10)
            for window in (6, 7, 8)  # 192, 224 and 256 px, the sizes in use
        ),
    ],
)
def test_same_output_and_gradients_as_timm(size_px, args, dtype, output, gradient):
    torch.manual_seed(1)
    theirs, ours = randomised_pair(dtype, img_size=size_px, **args)
    crops = torch.rand(2, 1, size_px, size_px, dtype=dtype)
    direction = torch.randn(theirs.num_features, dtype=dtype)
    true, found = theirs(crops), ours(crops)
    assert distance(found, true) < output
    (true @ direction).square().sum().backward()
    (found @ direction).square().sum().backward()
    kinds = 0
    for (name, theirs_weight), ours_weight in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert distance(ours_weight.grad, theirs_weight.grad) < gradient, name
        kinds += any(part in name for part in ("cpb_mlp", "logit_scale", "qkv"))
    assert kinds == 5 * sum(len(layer.blocks) for layer in ours.layers)  # three weights of cpb_mlp, the scale, qkv
    with torch.no_grad():
        assert distance(ours.eval()(crops), theirs.eval()(crops)) < output


def test_logit_scale_is_clamped_as_in_timm():
    theirs, ours = randomised_pair(torch.float64)
    with torch.no_grad():
        for network in (theirs, ours):
            for name, weight in network.named_parameters():
                if "logit_scale" in name:
                    weight.fill_(7.0)
    crops = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    assert distance(ours(crops), theirs(crops)) < 1e-10


def test_weights_keep_their_names_and_values():
    theirs, ours = randomised_pair(torch.float32)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


def count_bias_runs(network: nn.Module) -> list[int]:
    runs = [0]

    def count(*_):
        runs[0] += 1

    for module in network.modules():
        if isinstance(module, FusedWindowAttention):
            module.cpb_mlp.register_forward_hook(count)
    return runs


def change_by_step(network: nn.Module, other: dict) -> None:
    network.zero_grad()
    network(torch.rand(1, 1, 64, 64, dtype=torch.float64)).square().sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()


def change_by_loading(network: nn.Module, other: dict) -> None:
    network.load_state_dict(other)


def change_in_training_mode(network: nn.Module, other: dict) -> None:
    network.train()
    for name, weight in network.named_parameters():
        weight.data = other[name].clone()
    network.eval()


def change_by_replacing(network: nn.Module, other: dict) -> None:
    for name, weight in network.named_parameters():
        weight.data = other[name].clone()


@pytest.mark.parametrize("change", [change_by_step, change_by_loading, change_in_training_mode, change_by_replacing])
def test_bias_is_kept_in_evaluation_until_a_weight_changes(change):
    _, ours = randomised_pair(torch.float64)
    other, _ = randomised_pair(torch.float64)
    ours.eval()
    crops = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    runs = count_bias_runs(ours)
    with torch.no_grad():
        first, second = ours(crops), ours(crops)
    assert runs[0] == 4
    assert torch.equal(first, second)
    change(ours, other.state_dict())
    theirs, _ = randomised_pair(torch.float64)
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert distance(ours(crops), theirs.eval()(crops)) < 1e-10


def test_gradients_after_inference_mode_and_in_evaluation_mode():
    theirs, ours = randomised_pair(torch.float64)
    theirs.eval()
    ours.eval()
    with torch.inference_mode():
        ours(torch.rand(1, 1, 64, 64, dtype=torch.float64))
    crops = torch.rand(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    for network in (theirs, ours):
        network(crops).square().sum().backward()
    for (name, true), found in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert distance(found.grad, true.grad) < 1e-10, name
    ours.requires_grad_(False)
    ours(crops).sum().backward()


def test_start_from_scratch_keeps_variance_and_lets_residual_branches_count():
    network = timm.create_model(
        "swinv2_tiny_window8_256", in_chans=1, num_classes=0, img_size=64, embed_dim=32, depths=(2, 2), num_heads=(2, 4)
    )
    start_from_scratch(network)
    for block in network.layers[1].blocks:
        assert block.norm1.weight.eq(1).all()
        assert block.norm2.weight.eq(1).all()
        out = block.mlp.fc1(torch.randn(2000, 64))
        assert out.std().item() == pytest.approx(1.0, abs=0.05)
    assert network.layers[1].downsample.reduction.weight.std().item() == pytest.approx(128**-0.5, rel=0.05)
