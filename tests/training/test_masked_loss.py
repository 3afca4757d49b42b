"""Losses of several heads by hand; a missing label weighs nothing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from mammo_aln.training.pretraining.heads import Column, Head, fit_head
from mammo_aln.training.pretraining.masked_loss import head_metric, masked_loss

NAN = math.nan
HEADS = (
    Head("malignant", "images", "malignant", "binary", ("0", "1")),
    Head("birads", "patients", "birads", "categorical", ("2", "3", "5")),
    Head("size", "patients", "size", "continuous", (), 20.0, 5.0),
)


def test_equals_the_sum_by_hand() -> None:
    outputs = torch.tensor([[0.3, 1.0, 0.0, -1.0, 0.5], [-2.0, 0.2, 0.4, 0.1, 1.5], [0.7, 0.0, 0.0, 2.0, -1.0]])
    labels = torch.tensor([[1.0, NAN, 0.25], [0.0, 2.0, NAN], [NAN, 0.0, -1.5]])
    binary = (math.log(1 + math.exp(-0.3)) + math.log(1 + math.exp(-2.0))) / 2
    softmax = [np.exp(row) / np.exp(row).sum() for row in ([0.2, 0.4, 0.1], [0.0, 0.0, 2.0])]
    categorical = (-math.log(softmax[0][2]) - math.log(softmax[1][0])) / 2
    continuous = (0.5 * (0.5 - 0.25) ** 2 + 0.5 * (-1.0 + 1.5) ** 2) / 2
    assert float(masked_loss(outputs, labels, HEADS)) == pytest.approx((binary + categorical + continuous) / 3)


def test_smoothing_moves_targets_towards_all_classes_alike() -> None:
    """Binary: y (1 - s) + s / 2. Categorical: (1 - s) one-hot + s / K (Szegedy et al., CVPR 2016, section 7)."""
    outputs, labels = torch.tensor([[0.3, 1.0, 0.0, -1.0, 0.5]]), torch.tensor([[1.0, 2.0, 0.25]])
    s = 0.3
    p = 1 / (1 + math.exp(-0.3))
    binary = -(1 - s / 2) * math.log(p) - s / 2 * math.log(1 - p)
    logs = np.array([1.0, 0.0, -1.0]) - math.log(math.exp(1.0) + 1 + math.exp(-1.0))
    categorical = -((1 - s) * logs[2] + s * logs.mean())
    expected = (binary + categorical + 0.5 * 0.25**2) / 3
    assert float(masked_loss(outputs, labels, HEADS, smoothing=s)) == pytest.approx(expected)


def test_a_number_is_standardised_by_all_training_rows() -> None:
    cells = pd.Series([1.0, 2.0, 4.0, np.nan, 9.0])
    head = fit_head(Column("size", "patients", "size", "continuous"), cells)
    assert head.encode(cells) == pytest.approx((cells - cells.mean()) / np.nanstd(cells), nan_ok=True)


def test_outputs_without_a_label_get_no_gradient() -> None:
    outputs = torch.randn(4, 5, requires_grad=True)
    labels = torch.tensor([[1.0, NAN, NAN], [NAN, 1.0, NAN], [NAN, NAN, NAN], [0.0, NAN, NAN]])
    masked_loss(outputs, labels, HEADS).backward()
    moved = outputs.grad != 0
    assert moved.tolist() == [
        [True, False, False, False, False],
        [False, True, True, True, False],
        [False] * 5,
        [True, False, False, False, False],
    ]


def test_what_validation_tells_of_each_kind() -> None:
    labels = torch.tensor([0.0, 1.0, NAN, 1.0, 0.0])
    assert head_metric(HEADS[0], torch.tensor([[0.1], [0.9], [9.0], [0.4], [0.5]]), labels)[1] == pytest.approx(0.75)
    three = torch.eye(3)[[0, 0, 1, 1, 2]]
    name, value = head_metric(HEADS[1], three, torch.tensor([0.0, 0.0, 0.0, 1.0, NAN]))
    assert name == "val_birads_balanced_accuracy"
    assert value == pytest.approx((2 / 3 + 1) / 2)
    x, y = np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 1.5])
    name, value = head_metric(HEADS[2], torch.tensor(x)[:, None], torch.tensor(y))
    assert (name, float(value)) == ("val_size_r", pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-6))
