"""How fast is learning, each peer measured in the same run? Writes a section of docs/benchmarks.md.

    python -m benchmarks training --out out/bench_training

Rows: `train`'s step against a bare PyTorch loop; the loader against the sum of its parts and against MONAI; SwinV2
against timm's; on a CUDA machine also a full-size training with its data wait, and SwinV2 in bf16. Peers take turns
within every round, and what is reported is the median over rounds, so that a slow minute hits both. MONAI is optional
(`pip install "mammo-aln[bench]"`); without it its row says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import timm
import torch
import yaml

from benchmarks.notes import machine, replace_section
from mammo_aln.model.backbones import Backbone
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.optim import WeightAverage, binary_loss, learning_rate_factor, parameter_groups
from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig
from mammo_aln.training.data.augment import CropAugmentation
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.fit import fit_module
from mammo_aln.training.train import train_run

ROOT = Path(__file__).resolve().parents[1]
TITLE = "Training speed"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=ROOT / "out" / "bench_training")
    words.add_argument("--patients", type=int, default=60, help="phantom patients behind the loader's rows")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--threads", type=int, default=os.cpu_count())
    words.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    words.add_argument("--dry", action="store_true", help="print the table, do not write docs/benchmarks.md")
    given = words.parse_args()
    torch.set_num_threads(given.threads)
    begun = time.perf_counter()
    rows = [row for name in given.only for row in PARTS[name](given)]
    lines = [
        f"`python -m benchmarks training`: medians of {given.rounds} rounds, peers in turn; "
        f"{given.threads} threads. {machine()}; {(time.perf_counter() - begun) / 60:.0f} min in all.",
        "",
        "| measure | ours | peer | ratio | goal |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    text = "\n".join(lines)
    print(text)
    if not given.dry:
        replace_section(ROOT / "docs" / "benchmarks.md", TITLE, text)


def seconds_in_turn(rounds: int, *tasks: Callable[[], float]) -> list[float]:
    """Median of each task's own figure over rounds in which every task runs once; the first round warms up."""
    taken = [[task() for task in tasks] for _ in range(rounds + 1)][1:]
    return [statistics.median(times) for times in zip(*taken, strict=True)]


def timed(task: Callable[[], Any], times: int = 1) -> float:
    """Wall-clock seconds per call."""
    begun = time.perf_counter()
    for _ in range(times):
        task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / times


# --- a step -----------------------------------------------------------------------------------------------------------


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


def step_rows(given: argparse.Namespace) -> list[list[str]]:
    cases = [("resnet50_small", 96, 16, 20), ("swinv2", 256, 4, 2)]
    return [row for case in cases for row in step_case(given, *case)]


def step_case(given: argparse.Namespace, name: str, size_px: int, units: int, steps: int) -> list[list[str]]:
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
            fit_module(Path(folder), FixedBatches(batches), build(), settings, {"run_id": "bench"})
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
        return timed(epoch) / steps

    trained, same, less = seconds_in_turn(given.rounds, ours, partial(bare, True), partial(bare, False))
    what = f"`train` step, {name}, {size_px} px, {units} patients (2 crops each), 32-true, CPU"
    return [
        [
            f"{what}: against a bare loop with the same weight average",
            ms(trained),
            ms(same),
            ratio(trained, same),
            "at most 1.03",
        ],
        [f"{what}: against a bare loop without any", ms(trained), ms(less), ratio(trained, less), ""],
    ]


# --- the loader -------------------------------------------------------------------------------------------------------


def phantom(given: argparse.Namespace, patients: int) -> Path:
    from mammo_aln.phantom.mammography import write_phantom

    folder = given.out / f"cohort{patients}"
    return folder if folder.exists() else write_phantom(folder, patients=patients, centers=3, seed=0)


def loader_rows(given: argparse.Namespace) -> list[list[str]]:
    crop, data = CropConfig(size_px=256), DataConfig(batch_size=8, num_workers=1)
    module = MammoDataModule(
        phantom(given, given.patients), crop, inputs=("primary", "auxiliary"), data=data, store=given.out / "store"
    )
    module.prepare_data()
    module.setup()
    loader = module.train_dataloader()
    epochs = iter(range(1_000_000))
    passes = 4  # several epochs a round: one is over too soon to be timed

    def through(loader: Any) -> float:
        counted, begun = 0, time.perf_counter()
        for _ in range(passes):
            loader.sampler.set_epoch(next(epochs)) if hasattr(loader.sampler, "set_epoch") else None
            for batch in loader:
                counted += len(batch["crops"] if isinstance(batch, dict) else batch)
        return (time.perf_counter() - begun) / counted

    units, store = module.units("train"), module.crop_set.open_store()
    augment = CropAugmentation(crop, data)
    keys = [str(key) for key in units.keys]

    def parts() -> float:
        """One process, nothing but reading the store, bringing to [0, 1], and albumentations."""
        count = passes * len(keys)
        begun = time.perf_counter()
        for number, key in enumerate(islice(cycle(keys), count)):
            augment(store.read_values(key), (0, 0, number, 0))
        return (time.perf_counter() - begun) / count

    peer = monai_loader([store.read(key).copy() for key in keys], data, crop) if find_spec("monai") else None
    torch.set_num_threads(1)  # as a loader process has
    tasks = [partial(through, loader), parts, *([partial(through, peer)] if peer is not None else [])]
    mine, sum_of_parts, *others = seconds_in_turn(given.rounds, *tasks)
    torch.set_num_threads(given.threads)
    what = "loader, one worker, fixed_5cm, 256 px"
    against = f"{what}: against MONAI (CacheDataset in memory, same kinds of transforms)"
    told, times = (rate(others[0]), f"{others[0] / mine:.1f} times as fast") if others else ("not run, no monai", "")
    parts_told = [rate(mine), rate(sum_of_parts), ratio(mine, sum_of_parts), "at most 1.2"]
    return [
        [f"{what}: against store read + albumentations alone", *parts_told],
        [against, rate(mine), told, times, "at least 5 times"],
    ]


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


def swin_rows(given: argparse.Namespace) -> list[list[str]]:
    rows = swin_case(given, "cpu", torch.float32, 4)
    if torch.cuda.is_available():
        return rows + swin_case(given, "cuda", torch.bfloat16, 64)
    return [
        *rows,
        ["SwinV2 against timm's, bf16, H100 or H200", "not run, no GPU", "", "", "2.0 and 2.5 times as fast"],
    ]


def swin_case(given: argparse.Namespace, device: str, dtype: torch.dtype, count: int) -> list[list[str]]:
    """timm's own module and ours, same weights: a training step (forward, backward) and a forward in evaluation."""
    ours = Backbone("swinv2", {}, 256).to(device)
    peer = timm.create_model("swinv2_tiny_window8_256", in_chans=1, num_classes=0, img_size=256).to(device)
    peer.load_state_dict(ours.body.state_dict())
    crops = torch.rand(count, 1, 256, 256, device=device)
    casts = partial(torch.autocast, device, dtype=dtype, enabled=dtype != torch.float32)
    times = 1 if device == "cpu" else 20

    def training(network: torch.nn.Module) -> float:
        network.train()

        def step() -> None:
            with casts():
                out = network(crops)
            out.float().square().mean().backward()

        return timed(step, times)

    def inference(network: torch.nn.Module) -> float:
        network.eval()

        @torch.inference_mode()
        def step() -> None:
            with casts():
                network(crops)

        step()
        return timed(step, times)

    rows = []
    for what, task, goal in (("training step", training, "2.0"), ("inference", inference, "2.5")):
        mine, theirs = seconds_in_turn(given.rounds, partial(task, ours), partial(task, peer))
        goal = "at least 1" if device == "cpu" else f"at least {goal}"
        where = "CPU, float32" if device == "cpu" else f"{torch.cuda.get_device_name(0)}, bf16"
        rows.append([f"SwinV2 tiny, 256 px, {count} crops, {what}, {where}: against timm's", ms(mine), ms(theirs),
                     f"{theirs / mine:.2f} times as fast", f"{goal} times as fast"])  # fmt: skip
    return rows


# --- a whole training on a GPU ----------------------------------------------------------------------------------------


def gpu_rows(given: argparse.Namespace) -> list[list[str]]:
    what = "`mammo-aln train` at full size (swinv2 tiny, fixed_5cm, 256 px, bf16, 8 workers, one GPU)"
    if not torch.cuda.is_available():
        return [[what, "not run, no GPU", "", "", "data wait under 2 %"]]
    settings = Settings(
        model=ModelConfig(backbone="swinv2", inputs=("primary", "auxiliary", "clinical")),
        data=DataConfig(batch_size=32, num_workers=8),
        trainer=TrainerConfig(max_epochs=12, accelerator="gpu", precision="bf16-mixed"),
        log=LogConfig(wandb="disabled"),
    )
    run = train_run(phantom(given, 600), given.out / "runs", settings, store=given.out / "store")
    # The first epochs start the loader processes and let cuDNN choose its kernels.
    epochs = pd.read_csv(run / "metrics.csv").iloc[2:]
    wait = 100 * epochs["data_wait_s"].sum() / epochs["train_s"].sum()
    found = (
        f"{epochs['train_patients_per_s'].median():.0f} patients/s, {epochs['gpu_memory_gb'].max():.1f} GB, "
        f"{wait:.1f} % of the time waiting for data"
    )
    command = "`mammo-aln train COHORT --config configs/gpu.yaml --model.backbone=swinv2`"
    return [[f"{what}: {command}", found, "", "", "data wait under 2 %"]]


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def rate(seconds: float) -> str:
    return f"{1 / seconds:.0f} crops/s"


def ratio(ours: float, peer: float) -> str:
    return f"{ours / peer:.3f}"


PARTS = {"step": step_rows, "loader": loader_rows, "swin": swin_rows, "gpu": gpu_rows}

if __name__ == "__main__":
    main()
