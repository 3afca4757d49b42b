"""A step that memory does not hold is repeated in smaller parts, and learns what the whole one would have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mammo_aln.errors import InputError
from mammo_aln.model.backbones import Backbone
from mammo_aln.settings import Settings
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings

MOST = 9
"""Crops that the simulated device has memory for."""


def settings(backbone: str = "convnextv2", **data) -> Settings:
    tiny = tiny_settings(backbone, epochs=2, drop_rate=0.3, modality_dropout=0.3)
    return replace(tiny, data=replace(tiny.data, **data), optim=replace(tiny.optim, class_weight="balanced"))


class Memory:
    """A device that runs out of memory where a training step computes more crops at once than it holds."""

    def __init__(self, most: int, *, in_backward: bool = False) -> None:
        self.most, self.in_backward, self.refused, self.largest = most, in_backward, 0, 0

    def _refuse(self) -> None:
        self.refused += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    def _refuse_gradient(self, gradient: torch.Tensor) -> None:
        self._refuse()

    def hook(self, backbone: Backbone, arguments: tuple[torch.Tensor], features: torch.Tensor) -> None:
        crops = len(arguments[0])
        if not torch.is_grad_enabled():
            return
        if crops <= self.most:
            self.largest = max(self.largest, crops)
        elif self.in_backward:
            features.register_hook(self._refuse_gradient)
        else:
            self._refuse()


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    memory = Memory(MOST, in_backward=getattr(request, "param", False))

    def hook(module, arguments, features) -> None:
        if isinstance(module, Backbone) and module.training:
            memory.hook(module, arguments, features)

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    yield memory
    handle.remove()


@pytest.fixture(scope="module")
def undisturbed(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), settings(), store=store)


def figures(run: Path) -> pd.DataFrame:
    table = pd.read_csv(run / "metrics.csv")
    return table[["epoch", "step", "train_loss", "val_loss", "val_auc"]]


@pytest.mark.parametrize("memory", [False, True], indirect=True, ids=["forward", "backward"])
def test_a_step_out_of_memory_is_halved_and_repeated_with_the_same_result(
    memory: Memory, undisturbed: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    """Dropout, class counts, running statistics and the mean loss are those of the step that was not disturbed."""
    run = train_run(phantom, tmp_path, settings(), store=store)
    assert run.name == undisturbed.name
    assert 0 < memory.refused <= 3  # looked for once, not at each step
    assert 0 < memory.largest <= MOST
    assert json.loads((run / "micro_batch.json").read_text()) == {"patients": 8 >> memory.refused}
    pd.testing.assert_frame_equal(figures(run), figures(undisturbed), rtol=1e-5, atol=1e-6)


def test_accumulating_in_four_parts_makes_the_same_run(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    whole = settings()
    accumulated = replace(whole, optim=replace(whole.optim, accumulate=4))
    run = train_run(phantom, tmp_path, accumulated, store=store)
    assert run.name == undisturbed.name
    pd.testing.assert_frame_equal(figures(run), figures(undisturbed), rtol=1e-5, atol=1e-6)


def test_a_step_is_not_said_to_be_the_same_where_parts_drop_other_branches(
    memory: Memory, phantom: Path, store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_run(phantom, tmp_path, replace(settings("swinv2"), trainer=tiny_settings(epochs=1).trainer), store=store)
    assert "patients at once, other branches are dropped at random" in capfd.readouterr().err


def test_a_run_that_goes_on_begins_with_the_figure_that_was_found(
    memory: Memory, phantom: Path, store: Path, tmp_path: Path
) -> None:
    run = train_run(phantom, tmp_path, settings(), store=store)
    for name in ("state.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        (run / name).unlink()
    memory.refused = 0
    train_run(phantom, tmp_path, settings(), store=store)
    assert memory.refused == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (settings("resnet50"), "--data.micro_batch=4 says that you want that"),
        (settings(micro_batch=8), "--data.micro_batch=4 says"),
    ],
    ids=["batch normalisation", "a number that was asked for"],
)
def test_where_fewer_at_once_may_be_another_result_the_run_ends_in_words(
    wrong: Settings, words: str, memory: Memory, phantom: Path, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"out of memory with .* patients at once.*{words}"):
        train_run(phantom, tmp_path, wrong, store=store)


def test_memory_for_not_even_one_patient_ends_in_words(
    memory: Memory, phantom: Path, store: Path, tmp_path: Path
) -> None:
    memory.most = 0
    with pytest.raises(InputError, match="out of memory with one patient at a time: --model"):
        train_run(phantom, tmp_path, settings(), store=store)
