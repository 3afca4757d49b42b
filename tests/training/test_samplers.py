"""Orders are pure functions of seed and epoch; every unit once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mammo_aln.training.data.samplers import EpochSampler


def order(units: int, epoch: int, seed: int = 0, shuffle: bool = True, batch_size: int = 4) -> list[int]:
    sampler = EpochSampler(units, seed=seed, shuffle=shuffle, batch_size=batch_size)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    assert {at for at, _ in drawn} <= {epoch if shuffle else 0}
    return [unit for _, unit in drawn]


def test_an_epoch_can_be_drawn_again_without_the_ones_before() -> None:
    assert order(50, 7) == order(50, 7)
    assert order(50, 7) != order(50, 8)
    assert order(50, 7) != order(50, 7, seed=1)


@given(st.integers(1, 70), st.integers(0, 5), st.integers(1, 16))
def test_training_takes_whole_steps_of_distinct_units(units: int, epoch: int, batch_size: int) -> None:
    drawn = order(units, epoch, batch_size=batch_size)
    assert len(set(drawn)) == len(drawn)
    assert len(drawn) == (units // batch_size * batch_size or units)


@given(st.integers(1, 70))
def test_evaluation_takes_every_unit_in_order(units: int) -> None:
    assert order(units, 3, shuffle=False) == list(np.arange(units))


def test_scoring_takes_every_unit_though_a_group_of_processes_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning ends the group of a training on several devices only when the process ends."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    parts = {
        alone: [u for _, u in EpochSampler(7, seed=0, shuffle=False, batch_size=2, alone=alone)]
        for alone in (True, False)
    }
    assert parts == {True: list(range(7)), False: [1, 3, 5]}
