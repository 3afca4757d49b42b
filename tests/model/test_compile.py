"""Translated backbones serve training, average and prediction, by as few translations as there are kinds of pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from mammo_aln.model.backbones import compile_backbones
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.settings import ModelConfig, OptimConfig

LIMIT = 2
"""Translations that torch allows before `compile_backbones` speaks; by default 8."""


@pytest.fixture
def translations(monkeypatch) -> Iterator[list[int]]:
    """Number of nodes of each graph that was translated; what runs is the graph itself, not C++ made of it."""
    graphs: list[int] = []

    def keep(graph: torch.fx.GraphModule, inputs: list) -> nn.Module:
        graphs.append(len(graph.graph.nodes))
        return graph

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend=keep))
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=LIMIT, fail_on_recompile_limit_hit=True):
        yield graphs


def learner(tiny_args, backbone: str) -> AxillaryClassifier:
    torch.manual_seed(0)
    model = ModelConfig(
        backbone=backbone,
        backbone_args=tiny_args[backbone],
        embed_dim=8,
        inputs=("primary", "auxiliary"),
        drop_rate=0.0,
        modality_dropout=0.0,
    )
    return AxillaryClassifier(model, OptimConfig(), ["primary", "axilla"], [], 64)


def crops_of(units: int) -> list[tuple[int, int, int]]:
    return [(unit, region, 0) for unit in range(units) for region in (0, 1)]


@pytest.mark.parametrize("backbone", ["swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121"])
def test_training_average_and_prediction_are_translated_once_each(backbone, tiny_args, make_batch, translations):
    plain, fast = learner(tiny_args, backbone), learner(tiny_args, backbone)
    compile_backbones(fast)
    batches = [make_batch(crops_of(units), [0.0] * units, columns=0) for units in (6, 4, 5)]
    # Two encoders and three numbers of crops: one translation.
    for batch in batches:
        torch.testing.assert_close(fast(batch), plain(batch), rtol=1e-4, atol=1e-5)
    assert len(translations) == 1
    with torch.inference_mode():
        for batch in batches:
            torch.testing.assert_close(fast.eval()(batch), plain.eval()(batch), rtol=1e-4, atol=1e-5)
    assert len(translations) == 2
    # A network that was read for prediction has the average's translation.
    read = learner(tiny_args, backbone)
    compile_backbones(read.scoring_network)
    with torch.inference_mode():
        read.eval()(batches[0])
    assert len(translations) == 2


def test_no_backbone_of_a_long_sweep_goes_untranslated(tiny_args, make_batch, translations):
    one, more = (make_batch(crops_of(units), [0.0] * units, columns=0) for units in (1, 4))
    module = learner(tiny_args, "resnet50")
    compile_backbones(module)
    for mode in (nullcontext(), torch.inference_mode()):
        with mode:
            for batch in (more, one):
                module.train(isinstance(mode, nullcontext))(batch)
    assert len(translations) > LIMIT


def test_weights_keep_their_names_when_translated(tiny_args, translations):
    module = learner(tiny_args, "resnet50")
    names = list(module.state_dict())
    compile_backbones(module)
    assert list(module.state_dict()) == names
