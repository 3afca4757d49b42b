"""No step of a training or a pre-training makes the host wait for a GPU.

There need be none to see it: a network and a batch without numbers, said to lie on a CUDA device, run through the very
code. What would have to look at a number (`item`, `nonzero`, a boolean mask) cannot, and raises; copies between the
host and the device are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.network import crop_order
from mammo_aln.settings import ModelConfig, OptimConfig, PretrainConfig
from mammo_aln.training.callbacks import StepSeed
from mammo_aln.training.data.batches import StepBatch, small_arrays
from mammo_aln.training.data.crop_memory import CropMemory, Piece
from mammo_aln.training.pretraining.data import ALONE, FIRST, SECOND, BreastItem, pack
from mammo_aln.training.pretraining.heads import Head
from mammo_aln.training.pretraining.module import PretrainModule
from tests.support.tiny_settings import TINY

COPIES = {"aten._to_copy.default", "aten.copy_.default", "aten.lift_fresh.default"}
LOOKS = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.item.default", "aten.is_nonzero.default"}


class Trace(TorchDispatchMode):
    """Counts copies between host and device, and looks at a tensor's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.of_host: set[int] = set()
        """Addresses of tensors that lie on the host whatever the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        out = func(*args, **kwargs)
        if name in LOOKS and args[0].data_ptr() not in self.of_host:
            self.waits[name] += 1
        if name == "aten.index.Tensor" and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.waits["boolean index"] += 1
        if name in COPIES:
            devices = {tensor.device.type for tensor in (*tensors, out)}
            if len(devices) > 1 and not kwargs.get(
                "non_blocking", name.startswith("aten.copy_") and args[2:] == (True,)
            ):
                self.waits["blocking copy"] += 1
        return out


def on_fake_cuda(module: nn.Module) -> None:
    """Put weights and buffers without numbers on a CUDA device that need not exist."""
    for each in module.modules():
        for names, make in ((each._parameters, nn.Parameter), (each._buffers, lambda tensor: tensor)):
            for name, tensor in names.items():
                if tensor is not None:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
                    names[name] = make(empty)
        states = getattr(each, "_defaults", {})  # of a torchmetrics Metric
        for name in states:
            setattr(each, name, torch.empty((), device="cuda"))


@contextmanager
def fake_cuda() -> Iterator[None]:
    torch._C._ensureCUDADeviceGuardSet()
    with FakeTensorMode(allow_non_fake_inputs=False):
        yield


def waits_of_step(module: Any, batch: dict[str, Tensor]) -> Counter[str]:
    """Waits of the training step of a module in training, on a batch said to be on the device."""
    module.train()
    with fake_cuda():
        on_fake_cuda(module)
        there = {name: torch.empty(t.shape, dtype=t.dtype, device="cuda") for name, t in batch.items()}
        with Trace() as trace:
            loss = module.training_step(there, 1)
        assert loss.device.type == "cuda"
    return trace.waits


REGIONS = ("primary", "axilla")
HEADS = (
    Head("birads", "patients", "birads", "categorical", ("1", "2", "3")),
    Head("mass", "patients", "mass", "binary", ("no", "yes")),
    Head("age", "patients", "age", "continuous", (), 50.0, 10.0),
)


def outcome_batch() -> StepBatch:
    """Four patients with two to six crops, as the loader packs them."""
    rng = np.random.default_rng(0)
    counts = np.array([2, 6, 3, 4])
    arrays = small_arrays(
        counts,
        np.concatenate([np.arange(crops) % 2 for crops in counts]),
        rng.integers(0, 3, counts.sum()),
        rng.random((4, 3), np.float32),
        np.float32([0, 1, 0, 1]),
        np.arange(4),
        regions=len(REGIONS),
        seed=0,
        epoch=0,
    )
    return StepBatch.of(arrays, crops=Piece(torch.rand(counts.sum(), 1, 64, 64)))


def breast_batch(mode: str, training: bool) -> StepBatch:
    """Four breasts as the loader packs them, in the form of a mode."""
    rng = np.random.default_rng(0)
    roles = ([] if mode == "supervised" else [FIRST, SECOND]) + [ALONE] * 2 * (mode == "supervised" or not training)
    items = [
        BreastItem(
            list(rng.random((len(roles), 64, 64), np.float32)),
            np.array(roles, np.int64),
            np.zeros((len(roles), len(HEADS)), np.float32),
            number,
            number,
        )
        for number in range(4)
    ]
    return pack(CropMemory(0, 0), items)


def outcome_module(backbone: str, **model: Any) -> AxillaryClassifier:
    config = ModelConfig(backbone=backbone, backbone_args=TINY[backbone], embed_dim=8, **model)
    return AxillaryClassifier(config, OptimConfig(class_weight="balanced"), REGIONS, ("a", "b", "c"), 64)


@pytest.mark.parametrize("backbone", TINY)
def test_a_training_step_of_every_backbone_makes_no_wait(backbone: str) -> None:
    assert waits_of_step(outcome_module(backbone), outcome_batch()) == {}


@pytest.mark.parametrize("fusion", ["concat", "gated", "attention"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_training_step_of_every_fusion_makes_no_wait(fusion: str, shared: bool) -> None:
    module = outcome_module("resnet50", fusion=fusion, shared_backbone=shared, modality_dropout=0.5)
    assert waits_of_step(module, outcome_batch()) == {}


@pytest.mark.parametrize("mode", ["supervised", "contrastive", "both"])
def test_a_pre_training_step_makes_no_wait(mode: str) -> None:
    config = ModelConfig(backbone="resnet50", backbone_args=TINY["resnet50"], embed_dim=8, inputs=("primary",))
    heads = () if mode == "contrastive" else HEADS
    module = PretrainModule(config, OptimConfig(), PretrainConfig(mode=mode, labels=("birads",)), heads, 64)
    assert waits_of_step(module, breast_batch(mode, training=True)) == {}


def test_a_loader_that_says_no_order_makes_the_network_count() -> None:
    """What the trace must see: the very step without the loader's order cannot be run without the numbers."""
    batch = dict(outcome_batch())
    for number in range(len(REGIONS)):
        del batch[crop_order(number)]
    with pytest.raises(DynamicOutputShapeException):
        waits_of_step(outcome_module("resnet50"), batch)


def test_the_trace_sees_each_kind_of_wait() -> None:
    with fake_cuda():
        there, here = torch.empty(3, device="cuda"), torch.empty(3)
        for wait in (there.nonzero, lambda: there[there > 0]):
            with pytest.raises(DynamicOutputShapeException), Trace():
                wait()
        with pytest.raises(DataDependentOutputException), Trace():
            there.sum().item()
        for copy in (lambda: here.to("cuda"), there.cpu, lambda: there.copy_(here)):
            with Trace() as trace:
                copy()
            assert trace.waits == {"blocking copy": 1}
        with Trace() as trace:
            here.to("cuda", non_blocking=True)
        assert trace.waits == {}


class TracedSteps(pl.Callback):
    """Traces all that a trainer does between a step's start and end, backward pass and optimiser included."""

    def __init__(self) -> None:
        self.trace, self.steps = Trace(), 0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps += 1
        if self.steps > 1:  # the first one reads the average's counter, once
            states = trainer.optimizers[0].state.values()
            self.trace.of_host = {state["step"].data_ptr() for state in states}
            self.trace.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.steps > 1:
            self.trace.__exit__(None, None, None)


def test_a_whole_step_of_the_trainer_looks_at_no_number() -> None:
    """The backward pass, clipping, optimiser, schedule, average and callbacks, here on the CPU."""
    traced = TracedSteps()
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[traced, StepSeed(0)], **quiet)
    batches = torch.utils.data.DataLoader([outcome_batch()] * 2, batch_size=None)
    trainer.fit(outcome_module("resnet50"), batches)
    assert traced.steps == 4
    assert traced.trace.waits == {}
