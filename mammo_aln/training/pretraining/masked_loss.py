"""Losses of several heads whose labels may be missing, and the measure of each head in validation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mammo_aln.model.classifier import auc_or_nan
from mammo_aln.model.optim import binary_loss
from mammo_aln.training.pretraining.heads import Head


def masked_loss(
    outputs: Tensor, labels: Tensor, heads: Sequence[Head], smoothing: float = 0.0, known: Tensor | None = None
) -> Tensor:
    """Mean over the heads of each head's mean loss over the crops whose label is known.

    Binary: cross-entropy of the sigmoid; categorical: cross-entropy of the softmax; continuous: half the squared error
    of the standardised value. A head without a known label in the batch counts 0.

    Args:
        outputs: (N, sum of the heads' widths), side by side in the order of `heads`.
        labels: (N, heads), NaN = missing.
        heads: at least one.
        smoothing: label smoothing of the binary and categorical heads.
        known: number of labels that each head's sum is divided by (heads,); by default those of this batch. A rank
            hands in its share of the whole batch's numbers, so that the ranks' mean is the whole batch's loss.
    """
    known = (~torch.isnan(labels)).sum(dim=0) if known is None else known
    losses = [
        _LOSSES[head.kind](output, labels[:, number], smoothing, known[number])
        for number, (head, output) in enumerate(zip(heads, split_outputs(outputs, heads), strict=True))
    ]
    return torch.stack(losses).mean()


def split_outputs(outputs: Tensor, heads: Sequence[Head]) -> tuple[Tensor, ...]:
    """Each head's outputs (N, width)."""
    return outputs.split([head.width for head in heads], dim=1)


def _binary(output: Tensor, label: Tensor, smoothing: float, total: Tensor) -> Tensor:
    return binary_loss(output[:, 0], label, output.new_ones(2), smoothing, total=total)


def _categorical(output: Tensor, label: Tensor, smoothing: float, total: Tensor) -> Tensor:
    known = ~torch.isnan(label)
    target = torch.where(known, label, 0.0).long()
    each = nn.functional.cross_entropy(output, target, reduction="none", label_smoothing=smoothing)
    return (each * known).sum() / total.clamp(min=1e-12)


def _continuous(output: Tensor, label: Tensor, smoothing: float, total: Tensor) -> Tensor:
    known = ~torch.isnan(label)
    each = 0.5 * (output[:, 0] - torch.where(known, label, 0.0)) ** 2
    return (each * known).sum() / total.clamp(min=1e-12)


_LOSSES = {"binary": _binary, "categorical": _categorical, "continuous": _continuous}


def head_metric(head: Head, output: Tensor, label: Tensor) -> tuple[str, Tensor]:
    """Name and value of a head's measure in validation: AUC, balanced accuracy, or Pearson's r; NaN where undefined.

    Args:
        head: the head.
        output: its outputs (N, width).
        label: (N,), NaN = missing.
    """
    known = ~torch.isnan(label)
    output, label = output[known], label[known]
    if output.isnan().any() and head.kind == "categorical":
        return f"val_{head.name}_balanced_accuracy", label.new_tensor(torch.nan)  # argmax would name a class
    if head.kind == "binary":
        return f"val_{head.name}_auc", auc_or_nan(output[:, 0], label)
    if head.kind == "categorical":
        right = (output.argmax(dim=1) == label.long()).float()
        shares = [right[label == value].mean() for value in label.unique()]
        return f"val_{head.name}_balanced_accuracy", torch.stack(shares).mean() if shares else label.new_tensor(
            torch.nan
        )
    pair = torch.stack([output[:, 0].double(), label.double()])
    r = torch.corrcoef(pair)[0, 1] if len(label) > 1 else pair.new_tensor(torch.nan)
    return f"val_{head.name}_r", r.float()
