"""Checks 2, 3, 4, 7 and 8: kernels, accuracy, waits, speed and memory of the network, in this process."""

from __future__ import annotations

import copy
import gc
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import timm
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu_check.setup import Figures, Outcome, Setup
from benchmarks.rounds import clocked
from mammo_aln.model.backbones import Backbone
from mammo_aln.settings import (
    CropConfig,
    DataConfig,
    LogConfig,
    PretrainConfig,
    PretrainSettings,
    Settings,
    TrainerConfig,
)
from mammo_aln.training.build import build_model
from mammo_aln.training.callbacks import StepSeed
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.divergence import DivergenceGuard
from mammo_aln.training.pretraining.data import PretrainData
from mammo_aln.training.pretraining.module import PretrainModule

EFFICIENT = "aten::_efficient_attention_forward", "aten::_efficient_attention_backward"
MATH = "aten::_scaled_dot_product_attention_math"
MODEL = {"swinv2": 1780, "convnextv2": 930, "efficientnetv2": 2200, "resnet50": 4300, "densenet121": 3500}
"""Crops/s of a training step in bf16, 128 crops of 256 px, on an H100: a count of bytes, operations and kernels."""


def swin(setup: Setup, size_px: int | None = None) -> Backbone:
    return Backbone("swinv2", setup.swin_arguments(), size_px or setup.size_px).to(setup.device)


def timm_twin(ours: Backbone, setup: Setup, size_px: int) -> nn.Module:
    """timm's own module with the weights and the window of ours."""
    window = ours.body.layers[0].blocks[0].attn.window_size
    arguments = {**setup.swin_arguments(), "window_size": window[0]}
    peer = timm.create_model("swinv2_tiny_window8_256", in_chans=1, num_classes=0, img_size=size_px, **arguments)
    peer.load_state_dict(ours.body.state_dict())
    return peer.to(setup.device)


def half(setup: Setup) -> torch.autocast:
    return torch.autocast(setup.device, dtype=torch.bfloat16)


def finish(setup: Setup) -> None:
    if setup.on_gpu:
        torch.cuda.synchronize()


# --- 2 ----------------------------------------------------------------------------------------------------------------


class Float32Products(TorchDispatchMode):
    """Counts batched matrix products in float32: attention's alone, in this network."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default) and args[-1].dtype == torch.float32:
            self.count += 1
        return func(*args, **(kwargs or {}))


def attention_kernels(setup: Setup) -> Outcome:
    """Kernels of SwinV2's attentions in bf16: the memory-efficient ones, in training and evaluation."""
    network = swin(setup)
    attentions = sum(len(layer.blocks) for layer in network.body.layers)
    crops = torch.rand(2, 1, setup.size_px, setup.size_px, device=setup.device)
    counts: dict[str, Counter[str]] = {}
    products = 0
    activities = [torch.profiler.ProfilerActivity.CPU]
    for mode in ("training", "evaluation"):
        network.train(mode == "training")
        with Float32Products() as counted, torch.profiler.profile(activities=activities) as profile:
            with half(setup), torch.set_grad_enabled(mode == "training"):
                out = network(crops)
            if mode == "training":
                out.float().square().mean().backward()
            finish(setup)
        products += counted.count
        counts[mode] = Counter({event.key: event.count for event in profile.key_averages()})
    unfused = sum(count[MATH] for count in counts.values())
    forward, backward = (counts["training"][name] for name in EFFICIENT)
    scored = counts["evaluation"][EFFICIENT[0]]
    passed = unfused == 0 and products == 0 and forward == backward == scored == attentions
    words = (
        f"{attentions} attentions: {forward} efficient forward, {backward} backward, {scored} in evaluation; "
        f"{unfused} math, {products} float32 products"
    )
    figures: Figures = {
        "attentions": attentions,
        "efficient_forward": forward,
        "efficient_backward": backward,
        "efficient_evaluation": scored,
        "math": unfused,
        "float32_products": products,
    }
    return Outcome(passed if setup.on_gpu else None, words, figures)


# --- 3 ----------------------------------------------------------------------------------------------------------------


def accuracy(setup: Setup) -> Outcome:
    """Errors of ours and of timm's SwinV2 in bf16 against float64, the logit scale at its clamp.

    One draw's errors differ from the next one's by a fifth: the ratio is the geometric mean of several draws of weights
    and crops, and counts as above 1 where it is so by more than twice its standard error.
    """
    figures: Figures = {}
    ratios: dict[str, list[float]] = {}
    finite = True
    for size_px in (64, 96, 128) if setup.tiny else (192, 224, 256):
        torch.manual_seed(size_px)
        ours = swin(setup, size_px).eval()
        peer = timm_twin(ours, setup, size_px).eval()
        exact = copy.deepcopy(peer).double()
        errors: dict[str, list[tuple[float, float]]] = {}
        for _ in range(2 if setup.tiny else 8):
            _draw_weights(ours)
            peer.load_state_dict(ours.body.state_dict())
            exact.load_state_dict(ours.body.state_dict())
            crops = torch.rand(2, 1, size_px, size_px, device=setup.device)
            truth = _results(exact, crops.double(), None)
            mine, theirs = (_errors(_results(each, crops, half(setup)), truth) for each in (ours.body, peer))
            for name in truth:
                errors.setdefault(name, []).append((mine[name], theirs[name]))
                ratios.setdefault(name, []).append(mine[name] / max(theirs[name], 1e-12))
                finite &= math.isfinite(mine[name])
        for name, pairs in errors.items():
            for peers, values in zip(("ours", "timm"), zip(*pairs, strict=True), strict=True):
                figures[f"{name}_{size_px}_{peers}"] = statistics.fmean(values)
    if not finite:
        return Outcome(False, "our network in bf16 is not finite", figures)
    logs = {name: [math.log(ratio) for ratio in each] for name, each in ratios.items()}
    means = {name: statistics.fmean(each) for name, each in logs.items()}
    above = [name for name, each in logs.items() if means[name] > 2 * statistics.stdev(each) / len(each) ** 0.5]
    figures |= {f"{name} ratio": math.exp(mean) for name, mean in means.items()}
    parts = ", ".join(f"{name} {math.exp(mean):.2f}" for name, mean in means.items())
    words = f"our bf16 error over timm's: {parts} (at most 1.0)" + f"; above it: {', '.join(above)}" * bool(above)
    return Outcome(not above if setup.on_gpu else None, words, figures)


@torch.no_grad()
def _draw_weights(network: Backbone) -> None:
    """Another network of the same spread: each matrix shuffled; the logit scale above its clamp, log 100, at times."""
    for weight in network.parameters():
        if weight.dim() > 1:
            weight.copy_(weight.flatten()[torch.randperm(weight.numel(), device=weight.device)].view_as(weight))
    for layer in network.body.layers:
        layer.blocks[0].attn.logit_scale.fill_(5.0)


def _results(network: nn.Module, crops: Tensor, casts: torch.autocast | None) -> dict[str, Tensor]:
    """Output, and gradients by kind of weight, each as one vector."""
    network.zero_grad()
    with casts if casts is not None else torch.enable_grad():
        out = network(crops)
    (out.to(torch.float64) ** 2).mean().backward()
    kinds: dict[str, list[Tensor]] = {"cpb_mlp": [], "logit_scale": [], "qkv": []}
    for name, weight in network.named_parameters():
        for kind, several in kinds.items():
            if kind in name and weight.grad is not None:
                several.append(weight.grad.double().flatten())
    return {"output": out.detach().double().flatten()} | {kind: torch.cat(each) for kind, each in kinds.items()}


def _errors(results: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((results[name] - truth[name]).norm() / truth[name].norm()) for name in truth}


# --- 4 ----------------------------------------------------------------------------------------------------------------


class NoWaits(pl.Callback):
    """Lets any wait of the host raise, between the start and the end of each step but the first."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps += 1
        if trainer.strategy.root_device.type == "cuda" and self.steps > 1:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def waits(setup: Setup) -> Outcome:
    """Steps of a training and of a pre-training under CUDA's own watch for waits of the host."""
    common = {
        "crop": CropConfig(size_px=setup.size_px),
        "data": DataConfig(batch_size=8, num_workers=0),
        "trainer": TrainerConfig(precision=setup.arithmetic),
        "log": LogConfig(wandb="disabled"),
    }
    settings = Settings(model=replace(setup.model("swinv2"), inputs=("primary", "auxiliary")), **common)
    data = MammoDataModule.from_settings(settings, setup.cohort, setup.out / "store")
    data.prepare_data()
    data.setup("fit")
    labels = PretrainConfig(mode="both", labels=("aln_status",))
    pre = PretrainSettings(model=setup.model("swinv2"), pretrain=labels, **common)
    breasts = PretrainData(_read(setup), pre, setup.out / "store")
    breasts.setup("fit")
    module = PretrainModule(pre.model, pre.optim, pre.pretrain, breasts.heads, pre.crop.size_px)
    steps = {}
    for name, network, source in (("training", build_model(settings, data), data), ("pre-training", module, breasts)):
        watch = NoWaits()
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        guards = [StepSeed(0), DivergenceGuard(settings)]
        trainer = pl.Trainer(
            max_steps=3, limit_val_batches=0, enable_checkpointing=False, callbacks=[*guards, watch],
            accelerator="gpu" if setup.on_gpu else "cpu", precision=setup.arithmetic, **quiet,
        )  # fmt: skip
        try:
            trainer.fit(network, source)
        finally:
            if setup.on_gpu:
                torch.cuda.set_sync_debug_mode("default")
        steps[name] = watch.steps
    words = ", ".join(f"{count} steps of {name}" for name, count in steps.items()) + " without a wait"
    return Outcome(True if setup.on_gpu else None, words, {f"steps_{name}": count for name, count in steps.items()})


def _read(setup: Setup) -> Any:
    from mammo_aln.training.data.base import read_for

    return read_for(("primary",), setup.cohort)


# --- 7 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Multiply float32 exactly (`highest`) or in TF32 (`high`)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def speed(setup: Setup) -> Outcome:
    """Crops per second of a training step of every backbone in each arithmetic, compiled too, and timm's SwinV2."""
    figures: Figures = {}
    for name in setup.backbones:
        for arithmetic in ("32", "TF32", "bf16", "bf16 compiled"):
            network = Backbone(name, setup.model(name).backbone_args, setup.size_px).to(setup.device)
            figures |= _speed(setup, f"{name} {arithmetic}", network, arithmetic)
        if name == "swinv2":
            peer = timm_twin(swin(setup), setup, setup.size_px)
            figures |= _speed(setup, "timm swinv2 bf16", peer, "bf16")
    peers = float(figures["timm swinv2 bf16 crops/s"])
    eager, compiled = (float(figures[f"swinv2 {each} crops/s"]) / peers for each in ("bf16", "bf16 compiled"))
    figures |= {"swinv2 bf16 over timm": eager, "swinv2 bf16 compiled over timm": compiled}
    slowest = min(setup.backbones, key=lambda name: float(figures[f"{name} bf16 crops/s"]) / MODEL[name])
    share = float(figures[f"{slowest} bf16 crops/s"]) / MODEL[slowest]
    figures["slowest over the H100's model"] = share
    words = (
        f"SwinV2 bf16 {eager:.2f} times timm's {peers:.0f} crops/s (at least 1.2), compiled {compiled:.2f} (1.7); "
        f"{slowest} {share:.2f} of the H100's model (0.5 there)"
    )
    if not setup.on_gpu:
        return Outcome(None, words, figures)
    as_modelled = share >= 0.5 or not any(card in torch.cuda.get_device_name(0) for card in ("H100", "H200"))
    return Outcome(eager >= 1.2 and compiled >= 1.7 and as_modelled, words, figures)


def _speed(setup: Setup, name: str, network: nn.Module, arithmetic: str) -> Figures:
    """Seconds of forward and backward, median of three rounds, and the most memory."""
    crops = torch.rand(setup.crops, 1, setup.size_px, setup.size_px, device=setup.device)
    # Inductor's C++ takes a minute of a CPU for each network; where a GPU computes, it is what is measured.
    backend = "aot_eager" if setup.tiny else "inductor"
    run = torch.compile(network, backend=backend) if "compiled" in arithmetic else network
    work = partial(_step, run.train(), crops, half(setup) if "bf16" in arithmetic else None)
    if setup.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    calls = 1 if setup.tiny else 10
    with products("high" if arithmetic == "TF32" else "highest"):
        for _ in range(1 if setup.tiny else 3):
            work()
        finish(setup)
        seconds = statistics.median(clocked(work, calls) for _ in range(3))
    figures: Figures = {f"{name} crops/s": setup.crops / seconds}
    if setup.on_gpu:
        figures[f"{name} GB"] = torch.cuda.max_memory_allocated() / 1e9
    del network, run, work, crops
    release(setup)
    return figures


def _step(network: Callable[[Tensor], Tensor], crops: Tensor, casts: torch.autocast | None) -> None:
    with casts if casts is not None else torch.enable_grad():
        out = network(crops)
    out.float().square().mean().backward()


def release(setup: Setup) -> None:
    """Give back what a network held."""
    gc.collect()
    if setup.on_gpu:
        torch.cuda.empty_cache()


# --- 8 ----------------------------------------------------------------------------------------------------------------


def changing_sizes(setup: Setup) -> Outcome:
    """Steps whose number of crops changes each time: seconds a crop, and how much more memory is reserved than used."""
    network = swin(setup).train()
    draw = torch.Generator().manual_seed(0)
    least = setup.crops // 2
    release(setup)
    if setup.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    each = []
    for _ in range(12 if setup.tiny else 60):
        count = int(torch.randint(least, setup.crops + 1, (), generator=draw))
        crops = torch.rand(count, 1, setup.size_px, setup.size_px, device=setup.device)
        begun = time.perf_counter()
        _step(network, crops, half(setup))
        finish(setup)
        each.append((time.perf_counter() - begun) / count)
    each = sorted(each[len(each) // 6 :])  # the first ones choose kernels and grow the allocator
    spread = each[int(0.95 * (len(each) - 1))] / statistics.median(each)
    figures: Figures = {"p95_over_p50": spread}
    words = f"seconds a crop: 95th percentile {spread:.2f} times the median (under 1.3)"
    if not setup.on_gpu:
        return Outcome(None, words, figures)
    kept = torch.cuda.max_memory_reserved() / torch.cuda.max_memory_allocated()
    figures["reserved_over_allocated"] = kept
    return Outcome(spread < 1.3 and kept < 1.3, f"{words}; memory reserved {kept:.2f} times that used (1.3)", figures)
