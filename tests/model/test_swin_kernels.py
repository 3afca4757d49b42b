"""The fused attention asks for kernels that a GPU has, and can be translated.

A tensor on the meta device takes every branch that one on a GPU takes, without one.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends

from mammo_aln.model.backbones import Backbone

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
