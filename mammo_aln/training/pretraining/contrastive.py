"""NT-Xent: two crops of one breast are drawn together, crops of other patients pushed apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mammo_aln.errors import InputError
from mammo_aln.model.parts import at_least_float32
from mammo_aln.settings import PretrainSettings


def nt_xent(first: Tensor, second: Tensor, patient: Tensor, temperature: float) -> Tensor:
    """Normalised, temperature-scaled cross-entropy of Chen et al., ICML 2020 (arXiv:2002.05709), equation 1.

    For each of the 2B embeddings i with partner j, `-log(exp(s_ij / t) / (exp(s_ij / t) + sum_k exp(s_ik / t)))`, s
    being the cosine; the mean over i. Unlike there, k runs over other patients' embeddings only: the other breast, or
    another lesion, of the same patient is no negative.

    Args:
        first: one embedding per pair (B, D).
        second: its partner (B, D).
        patient: number of each pair's patient (B,).
        temperature: divides the cosines.

    Returns:
        The mean loss; 0, with a gradient of 0, where B is 0 or all pairs are of one patient.
    """
    pairs = len(patient)
    if not pairs:
        return (first.sum() + second.sum()) * 0.0
    embedding = nn.functional.normalize(at_least_float32(torch.cat([first, second])), dim=1)
    likeness = embedding @ embedding.T / temperature
    owner = torch.cat([patient, patient])
    number = torch.arange(2 * pairs, device=owner.device)
    partner = number.roll(pairs)
    counted = (owner[:, None] != owner[None, :]) | (number[None, :] == partner[:, None])
    return nn.functional.cross_entropy(likeness.masked_fill(~counted, float("-inf")), partner)


def comparable(patient: Tensor) -> Tensor:
    """1 where the pairs (B,) of a batch are of several patients, so that each has a negative; else 0; ()."""
    return (patient != patient[:1]).any().to(torch.float32)


def compares_patients(patient: NDArray[np.int64], batch: int, ranks: int) -> bool:
    """Tell whether any batch of a split that is read in order, dealt over ranks, holds pairs of several patients.

    Args:
        patient: number of each item's patient (items,).
        batch: items of a rank's batch.
        ranks: processes that read every `ranks`-th item.
    """
    shares = [patient[rank::ranks] for rank in range(ranks)]
    return any(len(set(share[begin : begin + batch])) > 1 for share in shares for begin in range(0, len(share), batch))


def require_others(settings: PretrainSettings, patients: Mapping[str, NDArray[np.int64]]) -> None:
    """Refuse a split whose batches never hold pairs of two patients: nothing would be pushed apart.

    Args:
        settings: of the pre-training.
        patients: number of each item's patient (items,), of the splits `train` and `val`.

    Raises:
        InputError: names the split and what to change.
    """
    batch, ranks = settings.data.batch_size, settings.trainer.ranks
    fits = {
        "train": len(set(patients["train"])) > 1,  # shuffled, and the ranks' pairs are compared together
        "val": compares_patients(patients["val"], batch // ranks, ranks),
    }
    for split, fine in fits.items():
        if not fine:
            count = len(set(patients[split]))
            dealt = " (column split of patients.csv, or --pretrain.val_share)" if split == "val" else ""
            raise InputError(
                f"pretrain.mode = {settings.pretrain.mode} compares patients of one batch: split {split} has {count}"
                f" patient{'' if count == 1 else 's'} with crops, and no batch of it holds two; give it more"
                f" patients{dealt}, raise --data.batch_size, or take --pretrain.mode=supervised"
            )


def partner_found(first: Tensor, second: Tensor, patient: Tensor) -> Tensor:
    """1 where a first embedding's nearest neighbour among the second ones of its own pair and of other patients is its
    partner, else 0; NaN where a likeness is (B,)."""
    likeness = nn.functional.normalize(first.float(), dim=1) @ nn.functional.normalize(second.float(), dim=1).T
    own = torch.eye(len(patient), dtype=torch.bool, device=patient.device)
    allowed = own | (patient[:, None] != patient[None, :])
    nearest = likeness.masked_fill(~allowed, float("-inf")).argmax(dim=1)
    partnered = (nearest == torch.arange(len(patient), device=patient.device)).float()
    return torch.where(likeness.isnan().any(dim=1), torch.nan, partnered)
