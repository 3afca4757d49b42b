"""Speed of learning, each peer measured in the same run."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import timm
import torch
import yaml

from benchmarks.page import OUT, ROOT, Section, table
from benchmarks.rounds import Times, clocked, in_turn
from benchmarks.trainings import write_cohort
from mammo_aln.machine.cores import usable_cores
from mammo_aln.model.backbones import Backbone, compile_backbones
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.optim import WeightAverage, binary_loss, learning_rate_factor, parameter_groups
from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig
from mammo_aln.training.data.augment import Augmentation, numbered
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.fit import fit_module
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.train import train_run

HEADER = ("measure", "ours", "peer", "ratio", "goal")


class FixedBatches(pl.LightningDataModule):
    """The same ready batches in every epoch: what is left is the step."""

    def __init__(self, batches: list[dict[str, torch.Tensor]]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.batches, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.batches[:1], batch_size=None, generator=torch.Generator())


def random_batch(units: int, size_px: int, seed: int) -> dict[str, torch.Tensor]:
    """Two primary crops (CC and MLO) of every patient."""
    draw = torch.Generator().manual_seed(seed)
    return {
        "crops": torch.rand(2 * units, 1, size_px, size_px, generator=draw),
        "unit": torch.arange(units).repeat_interleave(2),
        "region": torch.zeros(2 * units, dtype=torch.int64),
        "view": torch.arange(2).repeat(units),
        "clinical": torch.zeros(units, 0),
        "label": torch.arange(units).remainder(2).float(),
        "index": torch.arange(units),
    }


def step(
    backbones: tuple[str, ...] = ("resnet50_small", "swinv2"),
    sizes_px: tuple[int, ...] = (96, 256),
    patients: tuple[int, ...] = (16, 4),
    steps: tuple[int, ...] = (20, 6),
    rounds: int = 3,
) -> Section:
    """`train`'s step on a CPU against a bare PyTorch loop.

    Args:
        backbones: names of files in configs/backbones.
        sizes_px: crop side of each.
        patients: patients (two crops each) of a batch of each.
        steps: steps of an epoch of each.
        rounds: rounds in turn.
    """
    torch.set_num_threads(usable_cores())
    cases = zip(backbones, sizes_px, patients, steps, strict=True)
    rows = [row for case in cases for row in step_rows(*case, rounds)]
    about = f"medians (range) of {rounds} rounds, peers in turn; {torch.get_num_threads()} threads"
    return Section("Training speed: a step", about, table(HEADER, rows))


def step_rows(name: str, size_px: int, units: int, steps: int, rounds: int) -> list[list[str]]:
    model = yaml.safe_load((ROOT / "configs" / "backbones" / f"{name}.yaml").read_text(encoding="utf-8"))["model"]
    settings = Settings(
        crop=CropConfig(size_px=size_px),
        model=replace(ModelConfig(**model), inputs=("primary",)),
        trainer=TrainerConfig(max_epochs=2, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
    )
    batches = [random_batch(units, size_px, seed) for seed in range(steps)]

    def build() -> AxillaryClassifier:
        torch.manual_seed(0)
        return AxillaryClassifier(settings.model, settings.optim, ["primary"], [], size_px)

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            fit_module(Path(folder), FixedBatches(batches), build(), settings, FrozenFacts("bench", {}))
            return float(pd.read_csv(Path(folder) / "metrics.csv")["train_s"].iloc[-1]) / steps

    def bare(averaged: bool) -> float:
        network, optim = build().network.train(), settings.optim
        average = WeightAverage(network, optim.ema_decay) if averaged else None
        optimizer = torch.optim.AdamW(parameter_groups(network, optim), lr=optim.lr)
        factor = partial(learning_rate_factor, total_steps=2 * steps, warmup_fraction=optim.warmup_fraction)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

        def epoch() -> None:
            for batch in batches:
                optimizer.zero_grad()
                loss = binary_loss(network(batch), batch["label"], torch.ones(2), 0.0)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), optim.gradient_clip_norm)
                optimizer.step()
                schedule.step()
                if average is not None:
                    average.update(network)

        epoch()
        return clocked(epoch) / steps

    trained, same, less = in_turn(rounds, ours, partial(bare, True), partial(bare, False))
    case = f"`train` step, {name}, {size_px} px, {units} patients (2 crops each), 32-true, CPU"

    def row(peer: str, times: Times, goal: str = "") -> list[str]:
        shown = trained.words(1e-3, suffix=" ms"), times.words(1e-3, suffix=" ms")
        return [f"{case}: against a bare loop {peer}", *shown, ratio(trained, times), goal]

    return [row("with the same weight average", same, "at most 1.02"), row("without any", less)]


# --- the loader -------------------------------------------------------------------------------------------------------


def loader(patients: int = 60, rounds: int = 3, out: Path = OUT / "training") -> Section:
    """The loader with one worker against the sum of its parts, and against MONAI where it is installed.

    Args:
        patients: phantom patients.
        rounds: rounds in turn.
        out: folder of the phantom and its crops.
    """
    crop, data = CropConfig(size_px=256), DataConfig(batch_size=8, num_workers=1)
    cohort = write_cohort(out / f"cohort{patients}", patients=patients, external=patients // 3, internal_test=True)
    module = MammoDataModule(cohort, crop, inputs=("primary", "auxiliary"), data=data, store=out / "store")
    module.prepare_data()
    module.setup()
    batches = module.train_dataloader()
    epochs = iter(range(1_000_000))
    batches.epochs = 1_000_000  # as in a training, whose loader knows that another epoch follows
    passes = 4  # several epochs a round: one is over too soon to be timed

    def through(loader: Any) -> float:
        counted, begun = 0, time.perf_counter()
        for _ in range(passes):
            loader.sampler.set_epoch(next(epochs)) if hasattr(loader.sampler, "set_epoch") else None
            for batch in loader:
                counted += len(batch["crops"] if isinstance(batch, dict) else batch)
        return (time.perf_counter() - begun) / counted

    units, store = module.units("train"), module.crop_set.open_store()
    keys = [str(key) for key in units.keys]
    numbers = numbered(np.diff(units.first))
    change = Augmentation(data, crop.size_px, 0, *numbers, units.size_mm)

    def parts() -> float:
        """One process, nothing but reading the store, draws and changes."""
        begun = time.perf_counter()
        for epoch in range(passes):
            for number, key in enumerate(keys):
                change([store.read_surround(key)], slice(number, number + 1), epoch)
        return (time.perf_counter() - begun) / (passes * len(keys))

    peer = monai_loader([store.read(key).copy() for key in keys], data, crop) if find_spec("monai") else None
    torch.set_num_threads(1)  # as a loader process has
    works = [partial(through, batches), parts, *([partial(through, peer)] if peer is not None else [])]
    ours, sum_of_parts, *others = in_turn(rounds, *works)
    against = "against MONAI (CacheDataset in memory, same kinds of transforms)"
    monai = ["not run, no monai", ""]
    if others:
        monai = [rate(others[0]), f"{others[0].median / ours.median:.1f} times as fast"]
    rows = [
        [
            "against store read + augmentation alone",
            rate(ours),
            rate(sum_of_parts),
            ratio(ours, sum_of_parts),
            "at most 1.1",
        ],
        [against, rate(ours), *monai, "at least 5 times"],
    ]
    about = f"one worker, fixed_5cm, 256 px; medians (range) of {rounds} rounds, peers in turn"
    return Section("Training speed: the loader", about, table(HEADER, rows))


def rate(times: Times) -> str:
    low, high = times.range
    return f"{1 / times.median:.0f} crops/s ({1 / high:.0f} to {1 / low:.0f})"


def monai_loader(crops: list[np.ndarray], data: DataConfig, crop: CropConfig) -> Any:
    """MONAI's way to the same: deterministic part cached in memory, random part per item, its own loader."""
    from monai.data import CacheDataset
    from monai.data import DataLoader as MonaiLoader
    from monai.transforms import (
        Compose,
        EnsureChannelFirst,
        EnsureType,
        RandAdjustContrast,
        RandAffine,
        RandFlip,
        RandScaleIntensity,
        RandShiftIntensity,
        ScaleIntensityRange,
    )

    shift_px = data.max_shift_mm / crop.size_mm * crop.size_px
    steps = Compose(
        [
            EnsureChannelFirst(channel_dim="no_channel"),
            ScaleIntensityRange(0, 65535, 0.0, 1.0),
            EnsureType(dtype=torch.float32),
            RandFlip(prob=0.5, spatial_axis=0),
            RandFlip(prob=0.5, spatial_axis=1),
            RandAffine(
                prob=0.8,
                rotate_range=np.deg2rad(20),
                translate_range=(shift_px, shift_px),
                scale_range=(0.05, 0.05),
                mode="bilinear",
                padding_mode="zeros",
            ),
            RandShiftIntensity(0.1, prob=0.6),
            RandScaleIntensity(0.2, prob=0.6),
            RandAdjustContrast(prob=0.4, gamma=(0.8, 1.25)),
        ]
    )
    cached = CacheDataset([crop.astype(np.float32) for crop in crops], steps, progress=False)
    return MonaiLoader(cached, batch_size=16, shuffle=True, num_workers=1, persistent_workers=True)


# --- SwinV2 -----------------------------------------------------------------------------------------------------------


def swin(crops: int = 4, gpu_crops: int = 64, rounds: int = 3, compiled: tuple[bool, ...] = (False, True)) -> Section:
    """SwinV2 tiny against timm's own module, same weights: training step and inference, compiled and not.

    Args:
        crops: crops of a batch on the CPU.
        gpu_crops: crops of a batch on a GPU, in bf16.
        rounds: rounds in turn.
        compiled: both modules as they are, both translated by `torch.compile`, or one after the other.
    """
    torch.set_num_threads(usable_cores())
    rows = [row for each in compiled for row in swin_case("cpu", torch.float32, crops, rounds, each)]
    if torch.cuda.is_available():
        rows += [row for each in compiled for row in swin_case("cuda", torch.bfloat16, gpu_crops, rounds, each)]
    else:
        rows.append(
            ["bf16, H100 or H200", "not run, no GPU", "", "", "1.7 (training, compiled) and 2 (inference) times"]
        )
    about = f"256 px; medians (range) of {rounds} rounds, peers in turn; {torch.get_num_threads()} threads"
    return Section("Training speed: SwinV2 against timm's", about, table(HEADER, rows))


def swin_case(device: str, dtype: torch.dtype, count: int, rounds: int, compiled: bool) -> list[list[str]]:
    """Time a training step (forward, backward) and a forward in evaluation of both modules."""
    ours = Backbone("swinv2", {}, 256).to(device)
    peer = timm.create_model("swinv2_tiny_window8_256", in_chans=1, num_classes=0, img_size=256).to(device)
    peer.load_state_dict(ours.body.state_dict())
    crops = torch.rand(count, 1, 256, 256, device=device)
    if compiled:
        compile_backbones(ours)
        peer.compile()
        torch._dynamo.maybe_mark_dynamic(crops, 0)  # the peer's translation too holds for any number of crops
    casts = partial(torch.autocast, device, dtype=dtype, enabled=dtype != torch.float32)
    calls = 1 if device == "cpu" else 20
    kind = "compiled" if compiled else "not compiled"

    def training(network: torch.nn.Module) -> float:
        network.train()

        def step() -> None:
            with casts():
                out = network(crops)
            out.float().square().mean().backward()

        return clocked(step, calls)

    def inference(network: torch.nn.Module) -> float:
        network.eval()

        @torch.inference_mode()
        def step() -> None:
            with casts():
                network(crops)

        step()
        return clocked(step, calls)

    rows = []
    for name, work, goal in (("training step", training, "1.7"), ("inference", inference, "2")):
        mine, theirs = in_turn(rounds, partial(work, ours), partial(work, peer))
        goal = f"at least {goal if device == 'cuda' and (compiled or name == 'inference') else 1}"
        machine = "CPU, float32" if device == "cpu" else f"{torch.cuda.get_device_name(0)}, bf16"
        shown = mine.words(1e-3, suffix=" ms"), theirs.words(1e-3, suffix=" ms")
        faster = f"{theirs.median / mine.median:.2f} times as fast"
        rows.append([f"{count} crops, {name}, {kind}, {machine}", *shown, faster, f"{goal} times as fast"])
    return rows


# --- a whole training on a GPU ----------------------------------------------------------------------------------------


def gpu(patients: int = 600, out: Path = OUT / "training") -> Section:
    """A whole training at full size on one GPU: patients per second and the share of waiting for data.

    Args:
        patients: phantom patients.
        out: folder of the phantom, its crops and the run.
    """
    command = "`mammo-aln train COHORT --data.batch_size=32`"
    about = f"{command}: swinv2, fixed_5cm, 256 px, bf16, crops on the GPU"
    title = "Training speed: a whole training on a GPU"
    if not torch.cuda.is_available():
        return Section(title, about, ["Not run, no GPU; data wait under 2 % is the goal."])
    settings = Settings(
        model=ModelConfig(backbone="swinv2", inputs=("primary", "auxiliary", "clinical")),
        data=DataConfig(batch_size=32),
        trainer=TrainerConfig(max_epochs=12, accelerator="gpu"),
        log=LogConfig(wandb="disabled"),
    )
    cohort = write_cohort(out / f"cohort{patients}", patients=patients, external=patients // 3, internal_test=True)
    run = train_run(cohort, out / "runs", settings, store=out / "store")
    # The first epochs start the loader processes and let cuDNN choose its kernels.
    epochs = pd.read_csv(run / "metrics.csv").iloc[2:]
    wait = 100 * epochs["data_wait_s"].sum() / epochs["train_s"].sum()
    row = [f"{epochs['train_patients_per_s'].median():.0f}", f"{epochs['gpu_memory_gb'].max():.1f}", f"{wait:.1f} %"]
    return Section(title, about, table(["patients/s", "GPU memory, GB", "data wait (under 2 %)"], [row]))


def ratio(ours: Times, peer: Times) -> str:
    return f"{ours.median / peer.median:.3f}"
