"""A batch in parts gives the gradients, the statistics and the weights of the whole batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mammo_aln.model.network import AxillaryNetwork
from mammo_aln.model.optim import binary_loss
from mammo_aln.model.parts import features_in_parts
from mammo_aln.settings import ModelConfig

CROPS = [(unit, region, view) for unit in range(16) for region in (0, 1) for view in (0, 1) if (unit + view) % 5]
LABELS = [float(unit % 3 == 0) for unit in range(15)] + [float("nan")]


def network(args: dict, backbone: str, **more) -> AxillaryNetwork:
    torch.manual_seed(1)
    config = ModelConfig(backbone=backbone, backbone_args=args[backbone], embed_dim=8, **{"drop_rate": 0.0, **more})
    return AxillaryNetwork(config, ["primary", "axilla"], 3, 64).double()


def gradients(own: AxillaryNetwork, batch: dict[str, Tensor]) -> list[Tensor]:
    own.zero_grad()
    binary_loss(own(batch), batch["label"], torch.tensor([1.0, 2.0]), 0.0).backward()
    return [weight.grad for weight in own.parameters()]


@pytest.fixture
def batch(make_batch: Callable[..., dict[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: value.double() if value.is_floating_point() else value
        for name, value in make_batch(CROPS, LABELS).items()
    }


@pytest.mark.parametrize("backbone", ["swinv2", "convnextv2"])
@pytest.mark.parametrize("shared", [False, True])
def test_four_parts_give_the_whole_batchs_gradient_and_statistics(
    backbone: str, shared: bool, tiny_args: dict, batch: dict[str, Tensor]
) -> None:
    whole = network(tiny_args, backbone, shared_backbone=shared, modality_dropout=0.0)
    parts = network(tiny_args, backbone, shared_backbone=shared, modality_dropout=0.0)
    parts.parts = 4
    for mine, theirs in zip(gradients(parts, batch), gradients(whole, batch), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(parts.buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=0)


def test_accumulating_four_times_four_learns_the_weights_of_a_batch_of_sixteen(
    tiny_args: dict, batch: dict[str, Tensor]
) -> None:
    """Twenty steps of AdamW with clipping, in float64: float32 would compare the noise of gradients that are 0."""
    learnt = []
    for count in (1, 4):
        own = network(tiny_args, "swinv2", modality_dropout=0.0)
        own.parts = count
        optimizer = torch.optim.AdamW(own.parameters(), lr=1e-3)
        for step in range(20):
            loss = binary_loss(
                own({**batch, "crops": batch["crops"].roll(step, 2)}), batch["label"], torch.ones(2), 0.0
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(own.parameters(), 1.0)
            optimizer.step()
        learnt.append([weight.detach() for weight in own.parameters()])
    for mine, theirs in zip(*learnt, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_batch_normalisation_sees_each_part_and_counts_it_once(tiny_args: dict) -> None:
    """The statistics of a loop over the parts; what the backward pass computes anew moves nothing."""
    torch.manual_seed(0)
    norm, by_hand = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    crops = torch.randn(10, 3, 4, 4)
    features_in_parts(norm, crops.requires_grad_(), 3).square().sum().backward()
    for chunk in crops.detach().tensor_split(3):
        by_hand(chunk)
    assert int(norm.num_batches_tracked) == 3
    torch.testing.assert_close(norm.running_mean, by_hand.running_mean, rtol=0, atol=0)
    torch.testing.assert_close(norm.running_var, by_hand.running_var, rtol=0, atol=0)
    assert norm.momentum == 0.1


def test_activations_of_one_part_are_kept_at_a_time() -> None:
    """Bytes that the graph keeps after the forward pass, counted by torch's own hooks."""
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(8)])
    crops = torch.randn(64, 64)

    def kept(parts: int) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.nbytes), t)[1], lambda t: t):
            features_in_parts(layers, crops, parts).sum()
        return sum(sizes)

    weights = sum(weight.nbytes for weight in layers.parameters())
    assert kept(8) - weights < (kept(1) - weights) / 4
