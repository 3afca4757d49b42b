"""Missing crops, order and company of patients, and gradients of the whole network."""

from __future__ import annotations

import pytest
import torch

from mammo_aln.errors import InputError
from mammo_aln.model.batch_statistics import FeatureNorm
from mammo_aln.model.fusion import FUSIONS
from mammo_aln.model.network import AxillaryNetwork
from mammo_aln.settings import ModelConfig

REGIONS = ("primary", "axilla")
CROPS = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0), (2, 1, 1), (2, 0, 1), (2, 0, 0)]
LABELS = [1.0, 0.0, 1.0, 0.0]  # patient 3 has no crop at all


def build(tiny_args, **settings) -> AxillaryNetwork:
    backbone = settings.pop("backbone", "densenet121")
    config = ModelConfig(backbone=backbone, backbone_args=tiny_args[backbone], embed_dim=8, **settings)
    return AxillaryNetwork(config, REGIONS, 3, 64)


def stir(network: AxillaryNetwork) -> AxillaryNetwork:
    """Random weights everywhere, so that nothing is hidden by what starts at zero."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return network


def select(batch: dict, units: list[int]) -> dict:
    """The batch of these units alone, renumbered."""
    keep = torch.isin(batch["unit"], torch.tensor(units))
    renumber = {unit: place for place, unit in enumerate(units)}
    alone = {key: batch[key][keep] for key in ("crops", "region", "view")}
    alone["unit"] = torch.tensor([renumber[int(unit)] for unit in batch["unit"][keep]], dtype=torch.int64)
    return alone | {key: batch[key][units] for key in ("clinical", "label", "index")}


@pytest.mark.parametrize("shared", [False, True], ids=["own backbones", "shared backbone"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_patient_alone_scores_as_in_company(fusion, shared, tiny_args, make_batch):
    network = stir(build(tiny_args, fusion=fusion, shared_backbone=shared)).eval()
    batch = make_batch(CROPS, LABELS)
    with torch.no_grad():
        together = network(batch)
        alone = torch.cat([network(select(batch, [unit])) for unit in range(4)])
    assert together.std() > 1e-2
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_order_of_crops_does_not_matter_but_their_role_does(fusion, tiny_args, make_batch):
    network = stir(build(tiny_args, fusion=fusion)).eval()
    batch = make_batch(CROPS, LABELS)
    order = torch.randperm(len(CROPS))
    shuffled = batch | {key: batch[key][order] for key in ("crops", "unit", "region", "view")}
    with torch.no_grad():
        true = network(batch)
        assert torch.allclose(network(shuffled), true, rtol=1e-4, atol=1e-5)
        for role, count in (("view", 2), ("region", 2)):
            swapped = network(batch | {role: (batch[role] + 1) % count})
            assert (swapped - true)[:3].abs().min() > 1e-4, role


@pytest.mark.parametrize("shared", [False, True], ids=["own backbones", "shared backbone"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_every_weight(fusion, shared, tiny_args, make_batch):
    network = stir(build(tiny_args, fusion=fusion, shared_backbone=shared, backbone="swinv2"))
    network(make_batch([*CROPS, (0, 0, 0)], LABELS)).square().sum().backward()
    lost = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert lost == []


@pytest.mark.parametrize("crops", [CROPS, [crop for crop in CROPS if crop[1] == 0], []])
def test_backbones_see_the_crops_that_are_there_and_no_more(crops, tiny_args, make_batch):
    network = build(tiny_args)
    seen = {name: [] for name in network.encoders}
    for name, encoder in network.encoders.items():
        encoder.backbone.register_forward_hook(lambda _, args, __, name=name: seen[name].append(len(args[0])))
    logits = network(make_batch(crops, LABELS))
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    for index in (0, 1):
        there = sum(crop[1] == index for crop in crops)
        assert seen[f"region_{index}"] == ([there] if there else [])


def test_clinical_alone_builds_no_backbone_and_ignores_crops(tiny_args, make_batch):
    network = build(tiny_args, inputs=("clinical",)).eval()
    assert len(network.encoders) == 0
    batch = make_batch(CROPS, LABELS)
    bare = make_batch([], LABELS) | {"clinical": batch["clinical"]}
    assert torch.equal(network(batch), network(bare))


@pytest.mark.parametrize(("inputs", "used"), [(("primary",), 0), (("auxiliary",), 1)])
def test_regions_that_are_not_inputs_are_ignored(inputs, used, tiny_args, make_batch):
    network = stir(build(tiny_args, inputs=inputs)).eval()
    assert list(network.encoders) == [f"region_{used}"]
    batch = make_batch(CROPS, LABELS)
    keep = batch["region"] == used
    only = batch | {key: batch[key][keep] for key in ("crops", "unit", "region", "view")}
    only["clinical"] = torch.zeros_like(only["clinical"])
    with torch.no_grad():
        assert torch.allclose(network(batch), network(only), rtol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_input_alone_scores_as_for_patients_who_have_no_other(fusion, tiny_args, make_batch):
    network = stir(build(tiny_args, fusion=fusion, inputs=("primary", "auxiliary"))).eval()
    batch = make_batch(CROPS, LABELS)
    with torch.no_grad():
        of_each = dict(zip(network.inputs, network.unimodal_logits(*network.tokens(batch)), strict=True))
        assert list(of_each) == ["primary", "axilla"]
        for region, (logits, there) in enumerate(of_each.values()):
            keep = batch["region"] == region
            only = batch | {key: batch[key][keep] for key in ("crops", "unit", "region", "view")}
            assert torch.allclose(logits, network(only), rtol=1e-4, atol=1e-5)
            assert there.nonzero().flatten().tolist() == batch["unit"][keep].unique().tolist()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_hidden_branch_equals_missing_branch(fusion, tiny_args, make_batch):
    """With every patient hit, each logit is one of those without one of the patient's branches."""
    network = stir(build(tiny_args, fusion=fusion, modality_dropout=1.0, drop_rate=0.0)).eval()
    batch = make_batch(CROPS, LABELS)
    with torch.no_grad():
        patient = select(batch, [0])
        without = []
        for region in (0, 1):
            keep = patient["region"] != region
            without.append(network(patient | {key: patient[key][keep] for key in ("crops", "unit", "region", "view")}))
        whole = network(patient)
        network.training = True  # the network alone: its batch normalisation stays in evaluation
        found = torch.stack([network(patient) for _ in range(40)]).squeeze(1)
    candidates = torch.unique(torch.round(found, decimals=4))
    assert len(candidates) == 3  # primary, axilla or clinical hidden
    assert (candidates - whole).abs().min() > 1e-3
    assert all((candidates - logit).abs().min() < 1e-3 for logit in without)


def test_few_crops_are_standardised_by_running_statistics():
    norm = FeatureNorm(3)
    crops = torch.randn(64, 3) * torch.tensor([1.0, 0.01, 5.0]) + torch.tensor([0.0, 4.0, -2.0])
    for _ in range(300):
        out = norm(crops)
    assert out.mean(dim=0).abs().max() < 1e-3
    assert out.var(dim=0).tolist() == pytest.approx([1.0] * 3, abs=0.15)
    mean = norm.running_mean.clone()
    few = norm(crops[:3])
    assert torch.equal(norm.running_mean, mean)
    assert torch.allclose(few, out[:3], atol=0.1)
    assert norm(crops[:1]).shape == (1, 3)


@pytest.mark.parametrize(
    ("settings", "regions", "columns", "told"),
    [
        ({"inputs": ()}, REGIONS, 3, "model.inputs is empty"),
        ({}, ("primary",), 3, "crop.auxiliary names no region"),
        ({}, REGIONS, 0, "no clinical features"),
    ],
)
def test_settings_that_do_not_go_together(settings, regions, columns, told, tiny_args):
    config = ModelConfig(backbone="resnet50", backbone_args=tiny_args["resnet50"], **settings)
    with pytest.raises(InputError, match=told):
        AxillaryNetwork(config, regions, columns, 64)


def test_clinical_features_alone_are_learnt_from() -> None:
    """Modality dropout has nothing to hide where there is no image."""
    network = AxillaryNetwork(ModelConfig(inputs=("clinical",), embed_dim=8, modality_dropout=0.5), ("primary",), 3, 64)
    batch = {"clinical": torch.randn(5, 3), "crops": torch.zeros(0, 1, 64, 64)}
    assert network.train()(batch).shape == (5,)
