"""The share of each clinical feature within the clinical input, by Owen values.

The value of a subset of features is the network's output when only those are known; inputs beside the clinical one are
shown or hidden in all combinations, as for the shares of inputs. A hidden feature is encoded as the run encodes a
missing one. With no feature known the clinical input itself is hidden, so that the features' shares sum to its own. A
feature that a patient lacks stays hidden in every subset, and has the share 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammo_aln.explain.games import MOST_PLAYERS, subset_outputs
from mammo_aln.inference.frozen import FrozenRun
from mammo_aln.model.network import AxillaryNetwork
from mammo_aln.progress import say


@dataclass(frozen=True)
class FeatureGame:
    """The clinical features of one split as players.

    Attributes:
        names: of the features.
        known: bool (patients, features), which of them a patient has; all where a patient has none.
        feature_of: (columns,) the feature that each encoded column belongs to.
        missing: (columns,) how a patient without any feature is encoded.
    """

    names: tuple[str, ...]
    known: NDArray[np.bool_]
    feature_of: NDArray[np.int64]
    missing: NDArray[np.float32]

    @classmethod
    def of(cls, frozen: FrozenRun, split: str) -> FeatureGame | None:
        """The game of a split; None where the run reads no clinical feature, or too many."""
        if "clinical" not in frozen.module.scoring_network.slot_inputs:
            return None
        encoder, patients = frozen.data.fitted_encoder, frozen.data.patients(split)
        names = encoder.feature_of_column
        features = tuple(dict.fromkeys(names))
        if len(features) > MOST_PLAYERS:
            say(f"{len(features)} clinical features: only up to {MOST_PLAYERS} are given a share each")
            return None
        known = patients[list(features)].notna().to_numpy()
        known[~known.any(axis=1)] = True
        nobody = patients.iloc[:1].assign(**dict.fromkeys(features, np.nan))
        return cls(features, known, np.array([features.index(name) for name in names]), encoder.encode(nobody)[0])

    def outputs(
        self,
        network: AxillaryNetwork,
        batch: dict[str, Tensor],
        tokens: Tensor,
        present: Tensor,
        others: Sequence[Sequence[int]],
    ) -> Tensor:
        """Outputs of every subset of the other inputs and every subset of features.

        Args:
            network: in evaluation mode.
            batch: packed batch of B patients, whose tokens and their presence `network.tokens` gave.
            others: the slots of each input but the clinical one, whose slot is the last.

        Returns:
            (2 ** others, 2 ** features, B).
        """
        assert network.clinical is not None
        encoded = batch["clinical"].float()
        known = torch.from_numpy(self.known[batch["index"].cpu().numpy()]).to(encoded.device)
        feature_of = torch.from_numpy(self.feature_of).to(encoded.device)
        missing = torch.from_numpy(self.missing).to(encoded.device)
        outputs = []
        for subset in range(2 ** len(self.names)):
            chosen = torch.tensor([bool(subset >> nth & 1) for nth in range(len(self.names))], device=known.device)
            shown = known & chosen
            token = network.clinical(torch.where(shown[:, feature_of], encoded, missing))
            seen = torch.cat([present[:, :-1], shown.any(dim=1, keepdim=True)], dim=1)
            replaced = torch.cat([tokens[:, :-1], token.unsqueeze(1)], dim=1)
            outputs.append(subset_outputs(replaced, seen, others, network.fuse, always=[seen.shape[1] - 1]))
        return torch.stack(outputs, dim=1)
