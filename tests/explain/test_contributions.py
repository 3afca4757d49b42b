"""Shapley values: the axioms, a second way of computing them, and games whose shares are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mammo_aln.explain.contributions import FeatureGame
from mammo_aln.explain.games import owen_values, shapley_values, subset_outputs
from mammo_aln.model.network import AxillaryNetwork
from mammo_aln.settings import ModelConfig
from tests.support.tiny_settings import TINY


def by_orders(values: np.ndarray) -> np.ndarray:
    """The definition by orders of arrival: the mean of what a player adds over all orders."""
    players = len(values).bit_length() - 1
    found = np.zeros((players, values.shape[1]))
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        before = 0
        for player in order:
            found[player] += (values[before | 1 << player] - values[before]) / len(orders)
            before |= 1 << player
    return found


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5])
def test_equals_the_mean_over_all_orders_of_arrival(players: int) -> None:
    values = np.random.default_rng(players).normal(size=(2**players, 6))
    found = shapley_values(values)
    assert np.allclose(found, by_orders(values), atol=1e-12)
    assert np.allclose(found.sum(axis=0), values[-1] - values[0], atol=1e-12)  # efficiency


def test_the_glove_game() -> None:
    """One left glove (player 0), two right ones; a pair is worth 1: Shapley values 2/3, 1/6, 1/6."""
    values = np.array([[float(bool(s & 1) and bool(s & 6))] for s in range(8)])
    assert np.allclose(shapley_values(values)[:, 0], [2 / 3, 1 / 6, 1 / 6])


def test_dummy_symmetry_and_additivity() -> None:
    rng = np.random.default_rng(0)
    subsets = np.arange(16)
    first, second = rng.normal(size=(8, 3)), rng.normal(size=(16, 3))
    dummy = first[subsets & 7]  # player 3 changes nothing
    assert np.array_equal(shapley_values(dummy)[3], np.zeros(3))
    size = np.array([s.bit_count() for s in range(16)])
    equal = rng.normal(size=(5, 3))[size]  # all players alike
    assert np.allclose(shapley_values(equal), shapley_values(equal)[0])
    assert np.allclose(shapley_values(dummy + second), shapley_values(dummy) + shapley_values(second))


def test_only_whole_games_are_taken() -> None:
    with pytest.raises(ValueError, match="power of two"):
        shapley_values(np.zeros((6, 1)))


def network(fusion: str, inputs: tuple[str, ...]) -> AxillaryNetwork:
    torch.manual_seed(3)
    model = ModelConfig(backbone="resnet50", backbone_args=TINY["resnet50"], embed_dim=8, fusion=fusion, inputs=inputs)
    made = AxillaryNetwork(model, ("primary", "axilla"), 3, 64).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return made


def batch(crops: list[tuple[int, int, int]], patients: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    unit, region, view = torch.tensor(crops).unbind(1)
    return {
        "crops": torch.rand(len(crops), 1, 64, 64, generator=draw),
        "unit": unit,
        "region": region,
        "view": view,
        "clinical": torch.randn(patients, 3, generator=draw),
    }


@pytest.mark.parametrize("fusion", ["concat", "gated", "attention"])
@pytest.mark.parametrize(
    "inputs",
    [("primary", "auxiliary", "clinical"), ("primary",), ("auxiliary",), ("clinical",), ("primary", "clinical")],
)
def test_every_subset_is_what_the_network_says_of_a_patient_who_has_just_that(
    fusion: str, inputs: tuple[str, ...]
) -> None:
    """Second implementation: the crops of hidden regions are taken out of the batch itself."""
    net = network(fusion, inputs)
    whole = batch([(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1)], 2)  # patient 1 has no axilla
    slots = net.slot_inputs
    names = list(dict.fromkeys(slots))
    players = [[place for place, name in enumerate(slots) if name == wanted] for wanted in names]
    with torch.no_grad():
        values = subset_outputs(*net.tokens(whole), players, net.fuse)
        assert torch.equal(values[-1], net(whole))
        for subset in range(2 ** len(names)):
            if "clinical" in names and not subset >> names.index("clinical") & 1:
                continue  # a batch always has clinical values
            hidden = [name for place, name in enumerate(names) if not subset >> place & 1]
            shown = [place for place, name in enumerate(("primary", "axilla")) if name in names and name not in hidden]
            keep = torch.isin(whole["region"], torch.tensor(shown, dtype=torch.int64))
            part = whole | {key: whole[key][keep] for key in ("crops", "unit", "region", "view")}
            assert torch.allclose(values[subset], net(part), atol=1e-5), (fusion, inputs, subset)
    found = shapley_values(values.double().numpy())
    if "axilla" in names:
        assert found[names.index("axilla"), 1] == 0.0  # what a patient lacks moves nothing
    assert np.abs(found).max() > 0


@pytest.mark.parametrize(("others", "members"), [(0, 3), (1, 2), (2, 3), (3, 1)])
def test_members_of_a_union_have_the_mean_over_orders_in_which_they_arrive_together(others: int, members: int) -> None:
    values = np.random.default_rng(others).normal(size=(2**others, 2**members, 5))
    expected = np.zeros((members, 5))
    union = "union"
    orders = list(
        itertools.product(itertools.permutations([*range(others), union]), itertools.permutations(range(members)))
    )
    for arrivals, inside in orders:
        before = sum(1 << player for player in arrivals[: arrivals.index(union)])
        there = 0
        for member in inside:
            expected[member] += (values[before, there | 1 << member] - values[before, there]) / len(orders)
            there |= 1 << member
    shares = owen_values(values)
    assert np.allclose(shares, expected, atol=1e-12)
    # Efficiency: the members share what the union has as one player.
    as_one = np.concatenate([values[:, 0], values[:, -1]])  # the union is the last player
    assert np.allclose(shares.sum(axis=0), shapley_values(as_one)[-1], atol=1e-12)


@pytest.mark.parametrize("fusion", ["concat", "gated", "attention"])
def test_features_share_what_the_clinical_input_has(fusion: str) -> None:
    """Three columns: feature 0 has the first, feature 1 the others; patient 1 lacks feature 1, patient 2 has none."""
    net = network(fusion, ("primary", "clinical"))
    whole = batch([(0, 0, 0), (1, 0, 1), (2, 0, 0)], 3) | {"index": torch.tensor([0, 1, 2])}
    missing = np.array([0.1, 0.0, 1.0], np.float32)
    whole["clinical"][1, 1:], whole["clinical"][2] = torch.from_numpy(missing[1:]), torch.from_numpy(missing)
    known = np.array([[True, True], [True, False], [True, True]])
    game = FeatureGame(("size", "grade"), known, np.array([0, 1, 1]), missing)
    slots = net.slot_inputs
    images = [slot for slot, name in enumerate(slots) if name == "primary"]
    with torch.no_grad():
        tokens, present = net.tokens(whole)
        inputs = subset_outputs(tokens, present, [images, [len(slots) - 1]], net.fuse).double().numpy()
        outputs = game.outputs(net, whole, tokens, present, [images]).double().numpy()
        first_alone = net(
            whole | {"clinical": torch.cat([whole["clinical"][:, :1], torch.tensor([[0.0, 1.0]] * 3)], 1)}
        )
    assert np.allclose(outputs[1, 1], first_alone.numpy(), atol=1e-5)  # the network's word on such a patient
    assert np.allclose(outputs[:, 0], inputs[:2], atol=1e-6)
    shares = owen_values(outputs)
    assert np.allclose(shares.sum(axis=0), shapley_values(inputs)[1], atol=1e-6)
    assert shares[1, 1] == 0.0
    assert shares[0, 2] == pytest.approx(shares[1, 2])
    assert np.abs(shares[:, 0]).min() > 0
