"""A batch of another form is refused in words, by whichever step gets it first."""

from __future__ import annotations

import pytest
import torch

from mammo_aln.errors import InputError
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.settings import ModelConfig, OptimConfig
from tests.support.tiny_settings import TINY


@pytest.fixture(scope="module")
def model() -> AxillaryClassifier:
    settings = ModelConfig(backbone="resnet50", backbone_args=TINY["resnet50"], embed_dim=8)
    return AxillaryClassifier(settings, OptimConfig(), ["primary", "axilla"], ["age"], 64).eval()


def batch(**other: object) -> dict[str, object]:
    two = torch.arange(2)
    good = {
        "crops": torch.zeros(2, 1, 64, 64),
        "unit": two,
        "region": two,
        "view": two,
        "clinical": torch.zeros(2, 1),
        "label": torch.tensor([0.0, 1.0]),
        "index": two,
    }
    return {name: value for name, value in (good | other).items() if value is not None}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (batch(clinical=None), "lacks clinical; expected crops, unit, region, view, clinical, as .* got crops, unit"),
        (batch(crops=None, region=None), "lacks crops, region"),
        (batch(crops=torch.zeros(2, 3, 64, 64)), r"crops have the shape \(2, 3, 64, 64\); expected \(N, 1, S, S\)"),
        (batch(unit=torch.zeros(3)), r"unit \(3,\); expected \(2,\)"),
        (batch(clinical=torch.zeros(2, 4)), r"clinical has the shape \(2, 4\); expected \(patients, 1\)"),
        ([torch.zeros(2)], "expected a dict of tensors .* got list"),
    ],
)
def test_a_wrong_batch_is_named(wrong: object, expected: str, model: AxillaryClassifier) -> None:
    with pytest.raises(InputError, match=expected):
        model(wrong)


@pytest.mark.parametrize(
    ("step", "lacking"), [("training_step", "label"), ("validation_step", "index"), ("predict_step", "index")]
)
def test_each_step_names_what_it_needs_beside_a_prediction(step: str, lacking: str, model: AxillaryClassifier) -> None:
    with pytest.raises(InputError, match=f"lacks {lacking}"):
        getattr(model, step)(batch(**{lacking: None}), 0)
    assert model(batch()).shape == (2,)
