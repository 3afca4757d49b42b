"""Loss, schedule, parameter groups and moving average against computations by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from mammo_aln.model.backbones import Backbone, LearningNetwork
from mammo_aln.model.network import AxillaryNetwork
from mammo_aln.model.optim import WeightAverage, binary_loss, learning_rate_factor, parameter_groups
from mammo_aln.settings import ModelConfig, OptimConfig

NAN = float("nan")
EVEN = torch.ones(2)


def test_loss_by_hand_ignores_unknown_labels():
    logits = torch.tensor([2.0, -1.0, 50.0], requires_grad=True)
    loss = binary_loss(logits, torch.tensor([1.0, 0.0, NAN]), EVEN, 0.0)
    assert loss.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2, rel=1e-6)
    loss.backward()
    assert logits.grad[2] == 0
    assert logits.grad[:2].abs().min() > 0


def test_loss_without_any_label_is_zero_with_zero_gradient():
    logits = torch.tensor([2.0, -1.0], requires_grad=True)
    loss = binary_loss(logits, torch.tensor([NAN, NAN]), EVEN, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.tolist() == [0, 0]


def test_smoothing_moves_the_best_probability_towards_half():
    grid = torch.linspace(0.01, 0.99, 99)
    losses = torch.stack([binary_loss(torch.logit(p)[None], torch.ones(1), EVEN, 0.2) for p in grid])
    assert grid[losses.argmin()].item() == pytest.approx(0.9, abs=0.006)


def test_class_weights_balance_the_classes():
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0])
    logits = torch.zeros(4, requires_grad=True)
    binary_loss(logits, labels, torch.tensor([4 / 6, 4 / 2]), 0.0).backward()
    assert logits.grad[0].item() == pytest.approx(-logits.grad[1:].sum().item())


def test_schedule_by_hand():
    rates = [learning_rate_factor(step, total_steps=20, warmup_fraction=0.2) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[12] == pytest.approx(0.5)
    assert rates[19] == pytest.approx(0.5 * (1 + math.cos(math.pi * 15 / 16)))
    assert learning_rate_factor(30, total_steps=20, warmup_fraction=0.2) == pytest.approx(0)
    assert learning_rate_factor(0, total_steps=20, warmup_fraction=0.0) == 1.0


def test_freed_weights_warm_up_again_to_what_the_schedule_says():
    plain = [learning_rate_factor(step, total_steps=20, warmup_fraction=0.2) for step in range(20)]
    freed = [learning_rate_factor(step, total_steps=20, warmup_fraction=0.2, released_at=8) for step in range(20)]
    assert freed[:8] == plain[:8]
    assert freed[8:12] == pytest.approx([plain[8] / 4, plain[9] / 2, plain[10] * 3 / 4, plain[11]])
    assert freed[12:] == plain[12:]
    within = [learning_rate_factor(step, total_steps=20, warmup_fraction=0.2, released_at=2) for step in (2, 3, 4)]
    assert within == pytest.approx([3 / 4 / 4, 1 / 2, 3 / 4])  # freed before the first warm-up is over


def build(tiny_args, backbone: str, loaded: bool) -> AxillaryNetwork:
    config = ModelConfig(backbone=backbone, backbone_args=tiny_args[backbone], embed_dim=8)
    network = AxillaryNetwork(config, ("primary", "axilla"), 3, 64)
    for encoder in network.encoders.values():
        encoder.backbone.loaded = loaded
    return network


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("backbone", ["swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121"])
def test_groups_hold_every_weight_once_and_spare_vectors_from_decay(backbone, loaded, tiny_args):
    network = build(tiny_args, backbone, loaded)
    groups = parameter_groups(network, OptimConfig(lr=1.0, weight_decay=0.3, layer_decay=0.5))
    held = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(held) == sorted(map(id, network.parameters()))
    decay = {id(weight): group["weight_decay"] for group in groups for weight in group["params"]}
    vectors = [weight for weight in network.parameters() if weight.ndim < 2]
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert {decay[id(weight)] for weight in vectors} == {0.0}
    assert {decay[id(weight)] for weight in kernels} == {0.3}


def test_layer_decay_acts_only_on_loaded_backbones(tiny_args):
    settings = OptimConfig(lr=1.0, layer_decay=0.5)
    assert {group["lr"] for group in parameter_groups(build(tiny_args, "convnextv2", False), settings)} == {1.0}
    network = build(tiny_args, "convnextv2", True)
    rates = {id(w): group["lr"] for group in parameter_groups(network, settings) for w in group["params"]}
    body = network.encoders["region_1"].backbone.body
    stem, *stages = (rates[id(m.weight)] for m in (body.stem[0], *(s.blocks[0].conv_dw for s in body.stages)))
    assert stem < stages[0] < stages[1] < stages[2] < stages[3] <= 1.0
    assert stem == 0.5**12
    assert rates[id(network.encoders["region_1"].project.weight)] == 1.0


LAYERS_IN_ORDER = {
    "swinv2": ("patch_embed.", *(f"layers.{stage}.blocks.0." for stage in range(4)), "norm."),
    "convnextv2": ("stem.", *(f"stages.{stage}.blocks.0." for stage in range(4)), "norm_pre.|head.norm"),
    "efficientnetv2": ("conv_stem", *(f"blocks.{stage}.0." for stage in range(6)), "conv_head"),
    "resnet50": ("conv1", *(f"layer{stage}.0." for stage in range(1, 5))),
    "densenet121": ("features.conv0", *(f"features.denseblock{stage}.denselayer1." for stage in range(1, 5))),
}


@pytest.mark.parametrize("name", LAYERS_IN_ORDER)
def test_one_layer_decay_is_one_recipe_for_the_five_backbones_at_full_size(name):
    with torch.device("meta"):
        backbone = Backbone(name, {}, 256)
    backbone.loaded = True
    network = LearningNetwork()
    network.backbone = backbone
    groups = parameter_groups(network, OptimConfig(lr=1e-3, layer_decay=0.8))
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert min(rates.values()) == pytest.approx(1e-3 * 0.8**12, rel=1e-12)
    assert max(rates.values()) == pytest.approx(1e-3, rel=1e-12)
    by_layer = [
        [
            rates[id(weight)]
            for key, weight in backbone.body.named_parameters()
            if key.startswith(tuple(start.split("|")))
        ]
        for start in LAYERS_IN_ORDER[name]
    ]
    assert by_layer[0][0] == min(rates.values())
    assert all(max(lower) < max(upper) for lower, upper in pairwise(by_layer))


def test_layer_decay_of_swinv2_by_hand():
    with torch.device("meta"):
        backbone = Backbone("swinv2", {}, 256)
    backbone.loaded = True
    network = LearningNetwork()
    network.backbone = backbone
    rates = {
        id(weight): group["lr"]
        for group in parameter_groups(network, OptimConfig(lr=1.0, layer_decay=0.5))
        for weight in group["params"]
    }
    # The patch embedding is layer 0 of 12, the blocks are 1 to 12.
    blocks = [block for stage in backbone.body.layers for block in stage.blocks]
    assert [math.log2(rates[id(block.mlp.fc1.weight)]) for block in blocks] == [float(n - 12) for n in range(1, 13)]


def test_average_by_hand():
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = WeightAverage(network, 0.25)
    weight, mean = network[0].weight.item(), 0.0
    for update in range(1, 6):
        with torch.no_grad():
            network[0].weight.add_(1.0)
        network(torch.randn(4, 1))
        average.update(network)
        decay = min(0.25, (1 + update) / (10 + update))
        weight = decay * weight + (1 - decay) * network[0].weight.item()
        mean = decay * mean + (1 - decay) * network[1].running_mean.item()
    assert average.network[0].weight.item() == pytest.approx(weight, rel=1e-6)
    assert average.network[1].running_mean.item() == pytest.approx(mean, rel=1e-5)
    assert average.network[1].num_batches_tracked == 5
    assert int(average.updates) == 5


def test_an_average_that_was_moved_goes_on_with_the_buffers_of_today():
    """To another type or device: a module's weights stay the same objects, its buffers do not."""
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = WeightAverage(network, 0.5)
    average.update(network)
    network.double()
    average.double()
    network[1].running_mean.fill_(1.0)
    average.update(network)
    assert average.network[1].running_mean.item() == pytest.approx(1 - 3 / 12)  # of 0, at update 2


def test_average_begins_as_the_network_and_is_not_trained():
    network = nn.Linear(2, 1)
    average = WeightAverage(network, 0.9)
    assert torch.equal(average.network.weight, network.weight)
    assert average.network.weight is not network.weight
    assert not any(weight.requires_grad for weight in average.parameters())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_by_its_formula(gamma):
    logits = torch.tensor([2.0, -1.0, 0.3, -4.0])
    labels = torch.tensor([1.0, 1.0, 0.0, float("nan")])
    expected = 0.0
    for logit, label in zip(logits[:3].tolist(), labels[:3].tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        p_t = p if label == 1 else 1 - p
        expected += -((1 - p_t) ** gamma) * math.log(p_t) / 3
    assert binary_loss(logits, labels, torch.ones(2), 0.0, gamma).item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_of_far_logits_has_a_finite_gradient():
    logits = torch.tensor([80.0, -80.0, 80.0], requires_grad=True)
    loss = binary_loss(logits, torch.tensor([1.0, 1.0, 0.0]), torch.ones(2), 0.0, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(160 / 3)
    assert logits.grad.isfinite().all()


def test_an_average_that_was_loaded_goes_on_where_it_stood() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

    def step(*averages: WeightAverage) -> None:
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight))
        for average in averages:
            average.update(network)

    one, other = WeightAverage(network, 0.9), WeightAverage(network, 0.9)
    step(one)
    step(one, other)  # so `other` has gathered tensors and counted before it is loaded
    other.load_state_dict(one.state_dict(), assign=True)
    one.load_state_dict({name: value.clone() for name, value in one.state_dict().items()}, assign=True)
    step(one, other)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0)
    assert int(other.updates) == 3
