"""The share of each input: exact Shapley values over all subsets of primary region, auxiliary regions and clinic.

The value of a subset is the network's output when only those inputs are shown. A hidden input is replaced by the
network's learned token for a missing one, which it met in training by modality dropout and by patients who lacked that
input; so nothing is imputed from other patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mammo_aln.errors import InputError
from mammo_aln.explain.clinical import FeatureGame
from mammo_aln.explain.games import MOST_PLAYERS, Floats, owen_values, shapley_values, subset_outputs
from mammo_aln.inference.frozen import FrozenRun
from mammo_aln.progress import Progress


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
            for copy in map(frozen.to_device, frozen.copies(batch)):
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
