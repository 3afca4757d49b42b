"""Sizes of the checks, their phantom cohort, and the commands that they run."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from benchmarks.page import ROOT
from benchmarks.trainings import write_cohort
from mammo_aln.cli import VERBS
from mammo_aln.settings import BACKBONES, ModelConfig

Figures = dict[str, float | int | str | bool]
JUDGED = ["train_loss", "val_loss", "val_auc"]
"""Columns of a run's rows by which it is judged."""


@dataclass(frozen=True)
class Outcome:
    """Result of a check.

    Attributes:
        passed: whether its criterion is met; None where this machine cannot judge it (no GPU).
        words: the figures that matter, in a line.
        figures: all figures.
    """

    passed: bool | None
    words: str
    figures: Figures = field(default_factory=dict)


class Broken(Exception):
    """A command of a check did not end as it must; the message says which and why."""


@dataclass(frozen=True)
class Setup:
    """What all checks share.

    Attributes:
        out: folder of cohort, crops, runs, logs and figures.
        tiny: sizes that a CPU computes in seconds, to run each line without a GPU.
    """

    out: Path
    tiny: bool = False

    @property
    def device(self) -> str:
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def size_px(self) -> int:
        return 64 if self.tiny else 256

    @property
    def crops(self) -> int:
        """Crops of a batch whose speed is measured."""
        return 4 if self.tiny else 128

    @property
    def backbones(self) -> tuple[str, ...]:
        return ("swinv2", "resnet50") if self.tiny else BACKBONES

    @property
    def arithmetic(self) -> str:
        return "bf16-mixed" if self.on_gpu else "32-true"

    @property
    def cohort(self) -> Path:
        """The phantom of three centres, written when it is first asked for."""
        patients, external = (36, 9) if self.tiny else (300, 60)
        return write_cohort(self.out / "cohort", patients=patients, external=external, internal_test=True)

    def config(self, backbone: str) -> Path:
        """File of a backbone's settings."""
        return ROOT / "configs" / "backbones" / f"{backbone}{'_small' * self.tiny}.yaml"

    def model(self, backbone: str) -> ModelConfig:
        """Settings of a network with this backbone alone."""
        plain = yaml.safe_load(self.config(backbone).read_text(encoding="utf-8"))["model"]
        return ModelConfig(**plain, inputs=("primary",))

    def swin_arguments(self) -> dict[str, Any]:
        """Arguments of SwinV2 without stochastic depth, which would make two networks differ."""
        return {name: value for name, value in self.model("swinv2").backbone_args.items() if name != "drop_path_rate"}

    def training(self, backbone: str, out: str, epochs: int, **settings: Any) -> list[str]:
        """Words of a training of a backbone in a folder of its own."""
        given = {
            "crop.size_px": self.size_px,
            "data.batch_size": 8 if self.tiny else 32,
            "trainer.max_epochs": epochs,
            "trainer.precision": self.arithmetic,
            "log.wandb": "disabled",
            **settings,
        }
        flags = [
            f"--{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
            for name, value in given.items()
        ]
        places = ["--out", str(self.out / out), "--store", str(self.out / "store")]
        return ["train", str(self.cohort), *places, "--config", str(self.config(backbone)), *flags]

    def fresh(self, *folders: str) -> None:
        """Remove what an earlier check left in some folders: a training that is completed has no speed."""
        for folder in folders:
            path = self.out / folder
            path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)

    def words(self, verb: list[str]) -> list[str]:
        """A command line of this package."""
        assert any(name.split()[0] == verb[0] for name in VERBS)
        return [sys.executable, "-m", "mammo_aln", *verb]

    def started(
        self, words: list[str], log: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command, its standard error in a log."""
        (self.out / "logs").mkdir(parents=True, exist_ok=True)
        with (self.out / "logs" / f"{log}.log").open("a") as stream:
            return subprocess.Popen(
                words,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )

    def call(
        self, words: list[str], log: str, environment: Mapping[str, str] | None = None, code: int = 0
    ) -> tuple[str, float]:
        """Run a command to its end; the last line of its standard output, and its seconds.

        Raises:
            Broken: another exit code than `code`.
        """
        begun = time.perf_counter()
        process = self.started(words, log, environment)
        out, _ = process.communicate()
        if process.returncode != code:
            text = (self.out / "logs" / f"{log}.log").read_text(errors="replace").strip().splitlines() or [""]
            raise Broken(f"exit code {process.returncode}, expected {code}: {text[-1][-300:]} (logs/{log}.log)")
        return (out.strip().splitlines() or [""])[-1], time.perf_counter() - begun


def rows_of(run: str | Path) -> pd.DataFrame:
    """Figures of a run's epochs."""
    return pd.read_csv(Path(run) / "metrics.csv")


def is_finite(rows: pd.DataFrame) -> bool:
    """Tell whether losses and AUC of every epoch are finite numbers, of at least one epoch."""
    return bool(len(rows)) and bool(np.isfinite(rows[JUDGED]).all().all())


def largest_difference(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Largest difference of losses and AUC of two trainings; infinite where one lacks an epoch or a figure."""
    if len(first) != len(second) or not (is_finite(first) and is_finite(second)):
        return math.inf
    return float((first[JUDGED] - second[JUDGED]).abs().max().max())
