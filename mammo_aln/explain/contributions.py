"""The share of each input, by exact Shapley values, and of each clinical feature within its input, by Owen values.

The value of a subset of inputs (primary region, auxiliary regions, clinic) is the network's output when only those are
shown. A hidden input is replaced by the network's learned token for a missing one, which it met in training by modality
dropout and by patients who lacked that input; so nothing is imputed from other patients.

The value of a subset of features is the output when only those are known; inputs beside the clinical one are shown or
hidden in all combinations. A hidden feature is encoded as the run encodes a missing one. With no feature known the
clinical input itself is hidden, so that the features' shares sum to its own. A feature that a patient lacks stays
hidden in every subset, and has the share 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammo_aln.errors import InputError
from mammo_aln.explain.games import MOST_PLAYERS, Floats, owen_values, shapley_values, subset_outputs
from mammo_aln.inference.frozen import FrozenRun
from mammo_aln.model.network import AxillaryNetwork
from mammo_aln.progress import Progress, say


@dataclass(frozen=True)
class Shares:
    """Shapley values of some inputs, or clinical features, for every patient.

    Attributes:
        names: of the inputs.
        present: bool (patients, inputs), which of them a patient has.
        logit: Shapley values of the logit, (inputs, patients).
        score: Shapley values of the score, (inputs, patients).
    """

    names: tuple[str, ...]
    present: NDArray[np.bool_]
    logit: Floats
    score: Floats


@dataclass(frozen=True)
class Contributions:
    """Shares of the inputs, of the clinical features within theirs, and outputs with every and with no input shown."""

    inputs: Shares
    features: Shares | None
    logits: Floats
    scores: Floats
    logits_none: Floats
    scores_none: Floats


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


def explain_split(frozen: FrozenRun, split: str) -> Contributions:
    """Explain every patient of a split; each crop goes through its backbone once.

    Raises:
        InputError: more inputs than all subsets can be computed of.
    """
    network = frozen.module.scoring_network
    slots = network.slot_inputs
    inputs = tuple(dict.fromkeys(slots))
    if len(inputs) > MOST_PLAYERS:
        raise InputError(f"the run reads {len(inputs)} inputs; shares are computed for at most {MOST_PLAYERS}")
    players = [[slot for slot, name in enumerate(slots) if name == player] for player in inputs]
    others = [slots for name, slots in zip(inputs, players, strict=True) if name != "clinical"]
    game = FeatureGame.of(frozen, split)
    loader = frozen.data.loader(split, alone=True)
    progress = Progress(total=len(loader), what=f"shares of the inputs, {split}", unit="batch")
    subset_logits, present_inputs, feature_logit, feature_score = [], [], [], []
    for batch in loader:
        with torch.inference_mode(), frozen.arithmetic():
            copies, feature_copies = [], []
            for copy in map(frozen.to_device, frozen.copies(batch, frozen.blocks(batch, split))):
                tokens, present = network.tokens(copy)
                copies.append(subset_outputs(tokens, present, players, network.fuse).float().cpu().numpy())
                if game is not None:
                    feature_copies.append(game.outputs(network, copy, tokens, present, others).float().cpu().numpy())
        subset_logits.append(np.stack(copies).astype(np.float64).mean(axis=0))
        present_inputs.append(np.stack([present[:, slots].any(dim=1).cpu().numpy() for slots in players], axis=1))
        if feature_copies:
            logits = np.stack(feature_copies).astype(np.float64).mean(axis=0)
            feature_logit.append(owen_values(logits))
            feature_score.append(owen_values(frozen.scores(logits)))
        progress.advance()
    progress.end()
    logits = np.concatenate(subset_logits, axis=1)
    scores = frozen.scores(logits)
    shares = Shares(inputs, np.concatenate(present_inputs), shapley_values(logits), shapley_values(scores))
    features = None
    if game is not None:
        by_patient = (np.concatenate(values, axis=1) for values in (feature_logit, feature_score))
        features = Shares(game.names, game.known, *by_patient)
    return Contributions(shares, features, logits[-1], scores[-1], logits[0], scores[0])
