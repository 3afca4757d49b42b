"""From tokens of crops to one logit: pooling over a region's crops, missing tokens, and three ways to fuse."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mammo_aln.model.batch_dropout import BatchDropout


class GroupPool(nn.Module):
    """Learned attention pooling of packed tokens; it starts as the mean.

    Args:
        width: width of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, tokens: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        """Pool the tokens of each group.

        Args:
            tokens: (N, width).
            group: each token's group (N,), -1 for a token that nobody may see.
            groups: number of groups.

        Returns:
            Pooled tokens (groups, width), 0 for an empty group, and whether a group has any token (groups,).
        """
        member = group.unsqueeze(0) == torch.arange(groups, device=group.device).unsqueeze(1)
        scores = self.score(torch.tanh(tokens)).T.masked_fill(~member, float("-inf"))
        present = member.any(dim=1)
        weights = torch.where(present.unsqueeze(1), scores, 0.0).softmax(dim=1) * member
        return weights @ tokens, present


class ConcatFusion(nn.Module):
    """Sum of one linear logit per branch and of a small joint network that starts at zero.

    The additive part needs few patients; the joint part adds interactions where the data carry them.

    Args:
        branches: number of tokens per patient.
        width: width of the tokens.
        drop_rate: dropout before the last layers.
    """

    def __init__(self, branches: int, width: int, drop_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.drop = BatchDropout(drop_rate)
        self.heads = nn.Parameter(torch.randn(branches, width) * 0.02)
        self.joint = nn.Sequential(nn.Linear(branches * width, width), nn.GELU(), BatchDropout(drop_rate))
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, branches, width) to logits (B,)."""
        additive = (self.drop(tokens) * self.heads).sum(dim=(1, 2))
        return additive + self.out(self.joint(self.norm(tokens).flatten(1))).squeeze(1)


class GatedFusion(nn.Module):
    """Sum of the tokens, each weighted by a gate that sees all of them, then a linear head.

    Args: as `ConcatFusion`.
    """

    def __init__(self, branches: int, width: int, drop_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(branches * width, branches)
        self.value = nn.ModuleList(nn.Linear(width, width) for _ in range(branches))
        self.drop = BatchDropout(drop_rate)
        self.out = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, branches, width) to logits (B,)."""
        gates = torch.sigmoid(self.gate(self.norm(tokens).flatten(1)))
        values = torch.stack([value(tokens[:, i]) for i, value in enumerate(self.value)], dim=1)
        return self.out(self.drop((gates.unsqueeze(2) * values).sum(dim=1))).squeeze(1)


class AttentionFusion(nn.Module):
    """One transformer layer over the tokens and a class token, then a linear head on the class token.

    Args: as `ConcatFusion`.
    """

    def __init__(self, branches: int, width: int, drop_rate: float) -> None:
        super().__init__()
        heads = next(count for count in (4, 2, 1) if width % count == 0)
        self.place = nn.Parameter(torch.randn(branches, width) * 0.02)
        self.class_token = nn.Parameter(torch.randn(width) * 0.02)
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, drop_rate, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, branches, width) to logits (B,)."""
        start = self.class_token.expand(tokens.shape[0], 1, -1)
        mixed = self.layer(torch.cat((start, tokens + self.place), dim=1))
        return self.out(self.norm(mixed[:, 0])).squeeze(1)


FUSIONS: dict[str, Callable[[int, int, float], nn.Module]] = {
    "concat": ConcatFusion,
    "gated": GatedFusion,
    "attention": AttentionFusion,
}


def draw_hidden(present: Tensor, rate: float, draws: Tensor | None = None) -> Tensor:
    """Modality dropout: which branch to hide from each patient in this step.

    Args:
        present: which branches a patient has (B, branches).
        rate: share of the patients with at least two branches from whom one of theirs is hidden.
        draws: even draws from [0, 1), float32 (B, 1 + branches): whether, then which. Where a loader gives none they
            come from torch's global CPU generator, so that a resumed run draws what the uninterrupted one drew.

    Returns:
        Boolean (B, branches), at most one per row, never a patient's last branch.
    """
    if draws is None:
        drawn = torch.rand(present.shape[0], present.shape[1] + 1, pin_memory=present.is_cuda)
        draws = drawn.to(present.device, non_blocking=True)  # from pinned memory, so that the host need not wait
    hit = (draws[:, 0] < rate) & (present.sum(dim=1) > 1)
    chosen = draws[:, 1:].masked_fill(~present, -1.0).argmax(dim=1)
    branch = torch.arange(present.shape[1], device=present.device)
    return (chosen.unsqueeze(1) == branch) & hit.unsqueeze(1)
