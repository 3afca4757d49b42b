"""Shapley values of a game whose every subset is known, and Owen values of players inside one of its players.

Shapley (1953): phi_i = sum over subsets S without i of |S|! (n - |S| - 1)! / n! x (v(S and i) - v(S)).

Owen (1977): where one of n players is a union of members, each order of arrival lets the members arrive together. The
values of the members sum to the Shapley value of the union.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import factorial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_PLAYERS = 12
"""All subsets of more are too many to compute."""

Floats = NDArray[np.float64]


def _weight(size: int, players: int) -> float:
    """Share of all orders of arrival in which a given player comes right after a given subset of this size."""
    return factorial(size) * factorial(players - size - 1) / factorial(players)


def shapley_values(subset_values: Floats) -> Floats:
    """Shapley values of n players from the values of all their subsets.

    Args:
        subset_values: (2 ** n, rows); bit i of the row number says that player i takes part.

    Returns:
        (n, rows); they sum to the value of all players minus that of none.
    """
    players = len(subset_values).bit_length() - 1
    if len(subset_values) != 2**players:
        raise ValueError(f"{len(subset_values)} subset values: expected a power of two")
    values = np.zeros((players, subset_values.shape[1]))
    for player in range(players):
        for subset in range(2**players):
            if not subset >> player & 1:
                weight = _weight(subset.bit_count(), players)
                values[player] += weight * (subset_values[subset | 1 << player] - subset_values[subset])
    return values


def owen_values(subset_values: Floats) -> Floats:
    """Owen values of the members of a union.

    Args:
        subset_values: (2 ** others, 2 ** members, rows); bits say which other players, and which members, take part.

    Returns:
        (members, rows); they sum to the Shapley value of the union as one player among the others.
    """
    others = len(subset_values).bit_length() - 1
    weights = np.array([_weight(subset.bit_count(), others + 1) for subset in range(2**others)])
    # Both values are linear in the game, so the members play one game: its mean over the orders of the others.
    return shapley_values(np.tensordot(weights, subset_values, axes=1))


def subset_outputs(
    tokens: Tensor,
    present: Tensor,
    players: Sequence[Sequence[int]],
    fuse: Callable[[Tensor, Tensor], Tensor],
    always: Sequence[int] = (),
) -> Tensor:
    """Outputs of every subset of players.

    Args:
        tokens: (B, slots, width).
        present: bool (B, slots).
        players: the slots of each player.
        fuse: maps tokens and the slots to be seen to outputs (B,).
        always: slots of no player, shown in every subset.

    Returns:
        (2 ** players, B).
    """
    outputs = []
    for subset in range(2 ** len(players)):
        shown = torch.zeros_like(present)
        shown[:, list(always)] = True
        for number, slots in enumerate(players):
            if subset >> number & 1:
                shown[:, list(slots)] = True
        outputs.append(fuse(tokens, present & shown))
    return torch.stack(outputs)
