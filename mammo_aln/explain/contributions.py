"""The share of each input: exact Shapley values over all subsets of primary region, auxiliary regions and clinic.

The value of a subset is the network's output when only those inputs are shown. A hidden input is replaced by the
network's learned token for a missing one, which it met in training by modality dropout and by patients who lacked that
input; so nothing is imputed from other patients. Shapley (1953): phi_i = sum over subsets S without i of
|S|! (n - |S| - 1)! / n! x (v(S and i) - v(S)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammo_aln.errors import InputError
from mammo_aln.inference.frozen import FrozenRun
from mammo_aln.progress import Progress

MOST_INPUTS = 12


@dataclass(frozen=True)
class Contributions:
    """What each input moved, patient by patient.

    Attributes:
        inputs: names of the inputs.
        present: bool (patients, inputs), which of them a patient has.
        subset_logits: (2 ** inputs, patients); bit i of the row number says that input i is shown.
    """

    inputs: tuple[str, ...]
    present: NDArray[np.bool_]
    subset_logits: NDArray[np.float64]

    @property
    def logits(self) -> NDArray[np.float64]:
        """Logits with every input shown: those of `predict`."""
        return self.subset_logits[-1]


def shapley_values(subset_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shapley values of n players from the values of all their subsets.

    Args:
        subset_values: (2 ** n, rows); bit i of the row number says that player i takes part.

    Returns:
        (n, rows); they sum to the value of all players minus that of none.
    """
    players = len(subset_values).bit_length() - 1
    if len(subset_values) != 2**players:
        raise ValueError(f"{len(subset_values)} subset values: expected a power of two")
    subsets = np.arange(2**players)
    sizes = np.array([int(subset).bit_count() for subset in subsets])
    values = np.zeros((players, subset_values.shape[1]))
    for player in range(players):
        without = subsets[(subsets >> player) & 1 == 0]
        for subset in without:
            weight = factorial(sizes[subset]) * factorial(players - sizes[subset] - 1) / factorial(players)
            values[player] += weight * (subset_values[subset | (1 << player)] - subset_values[subset])
    return values


def subset_outputs(
    tokens: Tensor, present: Tensor, players: Sequence[Sequence[int]], fuse: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Outputs of every subset of players.

    Args:
        tokens: (B, slots, width).
        present: bool (B, slots).
        players: the slots of each player.
        fuse: maps tokens and the slots to be seen to outputs (B,).

    Returns:
        (2 ** players, B).
    """
    outputs = []
    for subset in range(2 ** len(players)):
        shown = torch.zeros_like(present)
        for number, slots in enumerate(players):
            if subset >> number & 1:
                shown[:, list(slots)] = True
        outputs.append(fuse(tokens, present & shown))
    return torch.stack(outputs)


def explain_split(frozen: FrozenRun, split: str) -> Contributions:
    """Outputs of every subset of inputs, for every patient of a split; each crop goes through its backbone once.

    Raises:
        InputError: more inputs than all subsets can be computed of.
    """
    network = frozen.module.scoring_network
    slots = network.slot_inputs
    inputs = tuple(dict.fromkeys(slots))
    if len(inputs) > MOST_INPUTS:
        raise InputError(f"the run reads {len(inputs)} inputs; shares are computed for at most {MOST_INPUTS}")
    players = [[place for place, name in enumerate(slots) if name == wanted] for wanted in inputs]
    loader = frozen.data.loader(split, alone=True)
    told = Progress(total=len(loader), what=f"shares of the inputs, {split}", unit="batch")
    outputs, there = [], []
    for batch in loader:
        with torch.inference_mode(), frozen.arithmetic():
            copies = []
            for one in frozen.copies(batch):
                tokens, present = network.tokens(frozen.to_device(one))
                copies.append(subset_outputs(tokens, present, players, network.fuse).float().cpu().numpy())
        outputs.append(np.stack(copies).astype(np.float64).mean(axis=0))
        there.append(np.stack([present[:, slots].any(dim=1).cpu().numpy() for slots in players], axis=1))
        told.advance()
    told.end()
    return Contributions(inputs, np.concatenate(there), np.concatenate(outputs, axis=1))
