"""Sweeps so small that their cells train in a second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from tests.support.tiny_settings import TINY


class WithoutAliases(yaml.SafeDumper):
    """Writes what stands there twice twice: files of settings have no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def tiny_sweep(folder: Path, name: str = "sweep.yaml", epochs: int = 2, **more: Any) -> Path:
    """Two crops x one tiny network, unless `more` says otherwise."""
    content: dict[str, Any] = {
        "crop": {"size_px": 64},
        "model": {"backbone": "resnet50", "backbone_args": TINY["resnet50"], "embed_dim": 8},
        "data": {"batch_size": 8, "num_workers": 0},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu"},
        "log": {"wandb": "disabled"},
        "grid": {"crop.strategy": ["lesion_box", "fixed_5cm"]},
    }
    path = folder / name
    path.write_text(yaml.dump({**content, **more}, Dumper=WithoutAliases))
    return path


def backbone_axis(*names: str) -> list[dict[str, Any]]:
    """Values of `grid: model:` that set a backbone together with its tiny arguments."""
    return [{"backbone": name, "backbone_args": TINY[name], "embed_dim": 8} for name in names]


def words(*given: object) -> list[str]:
    """A command line of this very package."""
    return [sys.executable, "-m", "mammo_aln", "sweep", *map(str, given)]


def sweep(*given: object) -> subprocess.CompletedProcess[str]:
    """Run `mammo-aln sweep ...` in a process of its own."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words(*given), capture_output=True, text=True, check=False, env=quiet)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Compute on so many threads, as a slot or a job does: the last bits of a result depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def untimed_cells(out: Path) -> pd.DataFrame:
    table = pd.read_csv(out / "cells.csv", dtype=str)
    return table[[name for name in table if not name.endswith("_s")]]
