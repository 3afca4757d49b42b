"""NT-Xent against a plain double loop, and who is a negative of whom."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from mammo_aln.errors import InputError
from mammo_aln.settings import DataConfig, PretrainSettings, TrainerConfig
from mammo_aln.training.pretraining.contrastive import comparable, nt_xent, partner_found, require_others


def by_loops(first, second, patient, temperature: float) -> float:
    """Equation 1 of arXiv:2002.05709, spelt out; negatives of the same patient are skipped."""
    embeddings, owners = [*first, *second], [*patient, *patient]
    losses = []
    for i in range(len(embeddings)):
        j = (i + len(patient)) % len(embeddings)

        def similar(a: int, b: int) -> float:
            x, y = embeddings[a], embeddings[b]
            return math.exp(float(x @ y) / float(np.linalg.norm(x) * np.linalg.norm(y)) / temperature)

        below = similar(i, j) + sum(similar(i, k) for k in range(len(embeddings)) if owners[k] != owners[i])
        losses.append(-math.log(similar(i, j) / below))
    return float(np.mean(losses))


@pytest.mark.parametrize("patients", [[0, 1, 2, 3, 4], [0, 0, 1, 1, 2], [7, 3, 7, 3, 7]])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_equals_the_formula_in_loops(patients: list[int], temperature: float) -> None:
    rng = np.random.default_rng(len(set(patients)))
    first, second = rng.normal(size=(2, len(patients), 6))
    found = nt_xent(torch.tensor(first), torch.tensor(second), torch.tensor(patients), temperature)
    assert float(found) == pytest.approx(by_loops(first, second, patients, temperature), rel=1e-5)


def test_another_breast_of_the_patient_is_no_negative() -> None:
    """Moving the embedding of a breast of the same patient changes nothing for the first breast's pair."""
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 4, 5, generator=rng)
    first.requires_grad_()
    patient = torch.tensor([0, 0, 1, 2])

    def pull(pairs: list[int]) -> torch.Tensor:
        return nt_xent(first[pairs], second[pairs], patient[pairs], 0.5) * len(pairs)

    together = torch.autograd.grad(pull([0, 1]), first)[0]
    assert torch.equal(together, torch.zeros_like(together))  # two breasts of one patient: nothing to tell apart
    assert torch.autograd.grad(pull([0, 2]), first)[0][[0, 2]].abs().min() > 0


def test_no_pair_and_one_patient_give_a_loss_of_zero_with_a_gradient() -> None:
    for pairs in (0, 1):
        first = torch.randn(pairs, 3, requires_grad=True)
        loss = nt_xent(first, torch.randn(pairs, 3), torch.zeros(pairs, dtype=torch.long), 0.5)
        loss.backward()
        assert loss.item() == pytest.approx(0.0)
        assert first.grad is not None


def test_partner_found_counts_own_pairs_and_other_patients_only() -> None:
    first = torch.eye(3)
    second = torch.tensor([[0.1, 1.0, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]])
    # 0's nearest is its own (second[0] has the only share of axis 0); 1's nearest is second[0] if that may compete
    assert partner_found(first, second, torch.tensor([0, 0, 1])).tolist() == [1.0, 1.0, 1.0]
    assert partner_found(first, second, torch.tensor([0, 1, 2])).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("val", "batch", "ranks", "fine"),
    [
        ([0, 1, 2], 2, 1, True),
        ([0, 0, 1, 1], 2, 1, False),  # breasts of a patient follow each other
        ([0, 1], 4, 2, False),  # one for each rank
        ([0, 1, 2, 3], 4, 2, True),
        ([0], 8, 1, False),
    ],
)
def test_a_split_whose_batches_never_hold_two_patients_is_refused(
    val: list[int], batch: int, ranks: int, fine: bool
) -> None:
    told = PretrainSettings(data=DataConfig(batch_size=batch), trainer=TrainerConfig(devices=ranks))
    patients = {"train": np.array([0, 1]), "val": np.array(val)}
    with nullcontext() if fine else pytest.raises(InputError, match=r"split val has \d patients? with crops"):
        require_others(told, patients)
    with pytest.raises(InputError, match="split train has 1 patient with crops"):
        require_others(told, {**patients, "train": np.zeros(9, np.int64)})


def test_a_batch_is_comparable_where_its_pairs_are_of_several_patients() -> None:
    seen = [comparable(torch.tensor(patients)).item() for patients in ([3, 3], [3, 4], [3], [0, 0, 1])]
    assert seen == [0.0, 1.0, 0.0, 1.0]
