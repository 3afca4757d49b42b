"""The fused attention asks for kernels that a GPU has, computes timm's numbers at real sizes, and can be translated.

A tensor on the meta device takes every branch that one on a GPU takes, without one.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends

from mammo_aln.model.backbones import Backbone
from mammo_aln.model.swin_attention import fuse_attention

GPU = {SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH}
CPU = {SDPBackend.FLASH_ATTENTION, SDPBackend.MATH}
SMALL = {"embed_dim": 24, "depths": [2, 2], "num_heads": [3, 6]}


@pytest.fixture
def calls(monkeypatch) -> list[tuple[set[SDPBackend], int]]:
    """The kernels allowed and the mask's last stride at each call of torch's attention, which goes on as it is."""
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noted(*args: torch.Tensor, attn_mask: torch.Tensor, **kwargs: float) -> torch.Tensor:
        seen.append((set(_cur_sdpa_kernel_backends()), attn_mask.stride(-1)))
        return attend(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    return seen


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("device", "kernels"), [("meta", GPU), ("cpu", CPU)])
@pytest.mark.parametrize(("size_px", "window"), [(64, 4), (96, 6), (112, 7), (128, 8)])
def test_every_mask_is_dense_and_cudnn_is_never_asked(size_px, window, device, kernels, training, calls):
    backbone = Backbone("swinv2", {**SMALL, "window_size": window}, size_px).to(device).train(training)
    crops = torch.rand(2, 1, size_px, size_px, device=device)
    with nullcontext() if training else torch.no_grad():
        backbone(crops)
    assert backbone.body.layers[0].blocks[1].shift_size == (window // 2, window // 2)
    assert calls == [(kernels, 1)] * 4
    assert SDPBackend.CUDNN_ATTENTION in _cur_sdpa_kernel_backends()  # what others may use is as it was


def test_a_recomputed_pass_asks_for_the_same_kernels(calls):
    backbone = Backbone("swinv2", SMALL, 64, grad_checkpointing=True).to("meta")
    backbone(torch.rand(2, 1, 64, 64, device="meta")).sum().backward()
    assert calls == [(GPU, 1)] * 8


@pytest.mark.parametrize("training", [True, False])
def test_translated_attention_asks_for_the_same_kernels_and_a_dense_mask(training):
    backbone = Backbone("swinv2", SMALL, 64).to("meta").train(training)
    graphs = []

    def keep(graph: torch.fx.GraphModule, inputs: list) -> nn.Module:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    with nullcontext() if training else torch.no_grad():
        torch.compile(backbone, backend=keep)(torch.rand(2, 1, 64, 64, device="meta"))
    assert len(graphs) == 1
    allowed: list[set[SDPBackend]] = []
    asked = []
    for node in graphs[0].graph.nodes:
        if getattr(node.target, "__name__", "") == "_sdpa_kernel":
            allowed.append({getattr(SDPBackend, backend.args[0]) for backend in node.args[0]})
        elif node.target is torch.nn.functional.scaled_dot_product_attention:
            asked.append((allowed[-1], node.kwargs["attn_mask"].meta["example_value"].stride(-1)))
    assert asked == [(GPU, 1)] * 4


@pytest.mark.parametrize(("size_px", "window"), [(192, 6), (224, 7), (256, 8)])
def test_timms_outputs_and_gradients_in_float64_at_the_sizes_in_use(size_px, window):
    torch.manual_seed(1)
    theirs = timm.create_model(
        "swinv2_tiny_window8_256",
        in_chans=1,
        num_classes=0,
        drop_path_rate=0.0,
        img_size=size_px,
        window_size=window,
        embed_dim=12,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
    ).double()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if any(part in name for part in ("norm", "logit_scale", "cpb_mlp", "bias")):
                weight.add_(torch.randn_like(weight))
    ours = copy.deepcopy(theirs)
    assert fuse_attention(ours) == 8
    crops = torch.rand(2, 1, size_px, size_px, dtype=torch.float64)
    direction = torch.randn(theirs.num_features, dtype=torch.float64)
    outputs = []
    for network in (theirs, ours):
        outputs.append(network(crops))
        (outputs[-1] @ direction).square().sum().backward()
    assert (outputs[0] - outputs[1]).norm() < 1e-10 * outputs[0].norm()
    compared = 0
    for (name, weight), mine in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        compared += any(part in name for part in ("cpb_mlp", "logit_scale", "qkv"))
        assert (weight.grad - mine.grad).norm() < 1e-10 * weight.grad.norm(), name
    assert compared == 8 * 5  # three weights of cpb_mlp, the scale, qkv
    with torch.no_grad():
        assert (ours.eval()(crops) - theirs.eval()(crops)).norm() < 1e-10 * outputs[0].norm()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121"])
def test_a_backbone_is_one_graph_and_can_be_exported(name, training, tiny_args):
    backbone = Backbone(name, tiny_args[name], 64).train(training)
    crops, more = torch.rand(3, 1, 64, 64), torch.rand(5, 1, 64, 64)
    torch._dynamo.reset()
    with nullcontext() if training else torch.no_grad():
        assert torch._dynamo.explain(backbone)(crops).graph_break_count == 0
    if not training:
        number = torch.export.Dim("number", min=2, max=4096)
        exported = torch.export.export(backbone, (crops,), dynamic_shapes=({0: number},)).module()
        with torch.no_grad():
            torch.testing.assert_close(exported(more), backbone(more))
