"""NT-Xent against a plain double loop, and who is a negative of whom."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mammo_aln.training.pretraining.contrastive import nt_xent, partner_found


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
