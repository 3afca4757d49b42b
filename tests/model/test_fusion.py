"""Pooling, fusing and hiding of branches."""

from __future__ import annotations

import math

import pytest
import torch

from mammo_aln.model.fusion import FUSIONS, GroupPool, draw_hidden


def test_pooling_starts_as_the_mean_of_each_group():
    tokens = torch.randn(5, 4)
    pooled, present = GroupPool(4)(tokens, torch.tensor([2, 0, 2, -1, 0]), 3)
    assert present.tolist() == [True, False, True]
    assert torch.allclose(pooled[0], (tokens[1] + tokens[4]) / 2)
    assert torch.allclose(pooled[2], (tokens[0] + tokens[2]) / 2)
    assert pooled[1].abs().sum() == 0


def test_pooling_weights_by_hand():
    pool = GroupPool(1)
    torch.nn.init.constant_(pool.score.weight, 2.0)
    tokens = torch.tensor([[1.0], [3.0]])
    pooled, _ = pool(tokens, torch.tensor([0, 0]), 1)
    first, second = (math.exp(2 * math.tanh(value)) for value in (1.0, 3.0))
    assert pooled.item() == pytest.approx((first * 1 + second * 3) / (first + second), rel=1e-6)


def test_pooling_of_no_tokens_has_gradients_without_nan():
    pool = GroupPool(4)
    pooled, present = pool(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 3)
    assert pooled.shape == (3, 4)
    assert not present.any()
    tokens = torch.randn(2, 4, requires_grad=True)
    pool(tokens, torch.tensor([1, 1]), 3)[0].sum().backward()
    assert torch.isfinite(tokens.grad).all()
    assert torch.isfinite(pool.score.weight.grad).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_gives_a_logit_per_patient_and_trains_every_weight(fusion):
    network = FUSIONS[fusion](3, 8, 0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    tokens = torch.randn(6, 3, 8)
    for _ in range(2):  # what starts at zero passes gradients on from the second step
        optimizer.zero_grad()
        logits = network(tokens)
        assert logits.shape == (6,)
        (logits - torch.arange(6.0)).square().sum().backward()
        optimizer.step()
    assert [name for name, weight in network.named_parameters() if not weight.grad.abs().sum() > 0] == []


def test_hiding_takes_one_present_branch_at_most_and_never_the_last():
    present = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, False, False]])
    present = present.repeat(2000, 1)
    hidden = draw_hidden(present, 0.4)
    assert (hidden & ~present).sum() == 0
    assert hidden.sum(dim=1).max() == 1
    assert hidden[present.sum(dim=1) < 2].sum() == 0
    share = hidden[present.sum(dim=1) > 1].any(dim=1).float().mean().item()
    assert share == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / 4000))
    each = hidden[0::4].float().mean(dim=0)
    assert each.tolist() == pytest.approx([0.4 / 3] * 3, abs=4 * math.sqrt(0.12 / 2000))


def test_hiding_is_drawn_from_torchs_global_generator():
    present = torch.ones(50, 3, dtype=torch.bool)
    torch.manual_seed(7)
    first = draw_hidden(present, 0.5)
    state = torch.get_rng_state()
    second = draw_hidden(present, 0.5)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(draw_hidden(present, 0.5), second)
