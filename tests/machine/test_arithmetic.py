"""Settings of the process hold for one block."""

from __future__ import annotations

import pytest
import torch

from mammo_aln.errors import InputError
from mammo_aln.machine.arithmetic import arithmetic
from mammo_aln.settings import TrainerConfig


def test_a_gpu_multiplies_in_tf32_within_the_block_alone() -> None:
    with arithmetic(TrainerConfig(), on_gpu=True):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_cpu_is_left_as_it_is() -> None:
    with arithmetic(TrainerConfig(accelerator="cpu")):
        assert torch.get_float32_matmul_precision() == "highest"


def test_deterministic_kernels_are_asked_for_within_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with arithmetic(TrainerConfig(deterministic=True)):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_deterministic_kernel_is_named() -> None:
    """torch has none for `put_`, on any device."""
    values, index = torch.zeros(3), torch.tensor([0, 0])
    message = r"trainer\.deterministic=true: put_ has no deterministic kernel"
    with pytest.raises(InputError, match=message), arithmetic(TrainerConfig(deterministic=True)):
        values.put_(index, torch.ones(2))
    with arithmetic(TrainerConfig()):
        values.put_(index, torch.ones(2))


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), arithmetic(TrainerConfig(deterministic=True)):
        torch.zeros(3) @ torch.zeros(2, 2, 2).reshape(7)
    assert not torch.are_deterministic_algorithms_enabled()
