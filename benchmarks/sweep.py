"""Sweeps on the phantom: whether they finish whatever happens to them, and what the ladder shows."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pandas as pd
import yaml

from benchmarks.page import OUT, ROOT, Section, table
from benchmarks.trainings import write_cohort

BACKBONES = ("swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121")
CROPS = ("whole_breast", "lesion_box", "lesion_margin", "fixed_5cm")
MEMORY_GB = 6


@dataclass(frozen=True)
class Bench:
    """Sweeps that share a cohort and a store of crops."""

    out: Path
    cohort: Path

    def start(
        self, file: Path, name: str, stderr: int | None = None, memory_gb: int | None = None
    ) -> subprocess.Popen[str]:
        """Start the sweep of a file in two slots; its log lies beside its folder unless `stderr` says otherwise."""
        out = self.out / name
        command = sweep("run", file, "--cohort", self.cohort, "--out", out, "--store", self.out / "store", "--slots=2")
        with (self.out / f"{name}.log").open("a") as log:
            errors: int | IO[str] = log if stderr is None else stderr
            limit = partial(_limit_memory, memory_gb) if memory_gb else None
            return subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors, text=True, preexec_fn=limit
            )

    def timed(self, file: Path, name: str) -> tuple[float, int]:
        """Seconds and exit code of a sweep."""
        begun = time.perf_counter()
        code = self.start(file, name).wait()
        return time.perf_counter() - begun, code

    def failure(self, file: Path, name: str, begins: tuple[str, ...], memory_gb: int | None = None) -> str:
        """States of the cells, exit code, and the lines on standard error that begin so."""
        process = self.start(file, name, subprocess.PIPE, memory_gb)
        _, errors = process.communicate()
        lines = " ".join(line for line in errors.splitlines() if line.startswith(begins))
        states = ", ".join(cells(self.out / name)["state"])
        return f"{states}; exit code {process.returncode}; `{lines.replace(f'{self.out}/', '')}`"


def grid(
    patients: int = 200,
    wall_epochs: int = 40,
    epochs: int = 8,
    size_px: int = 64,
    kills: int = 10,
    out: Path = OUT / "sweep-grid",
) -> Section:
    """Crop x backbone in two slots: wall time, kill -9, two commands, one backbone more, bad weights, little memory.

    Args:
        patients: phantom patients.
        wall_epochs: epochs of the cells whose wall time is measured.
        epochs: epochs of the other cells.
        size_px: side of a crop.
        kills: times that the sweep is killed.
        out: folder of its own, which must not exist.
    """
    bench = prepare(out, patients, patients // 4)
    small = [f"configs/backbones/{name}_small.yaml" for name in BACKBONES]
    trainer = {"max_epochs": epochs, "accelerator": "cpu"}
    base: dict[str, Any] = {
        "crop": {"size_px": size_px},
        "model": {"inputs": ["primary"]},
        "data": {"batch_size": 16, "num_workers": 0},
        "trainer": trainer,
        "log": {"wandb": "disabled"},
    }
    all_cells = {"crop.strategy": list(CROPS), "config": small}
    five = write(out / "five.yaml", {**base, "grid": all_cells})
    four = write(out / "four.yaml", {**base, "grid": {**all_cells, "config": small[:4]}})
    long = write(out / "long.yaml", {**base, "trainer": {**trainer, "max_epochs": wall_epochs}, "grid": all_cells})
    undisturbed_s, _ = bench.timed(five, "undisturbed")
    one_epoch = {**base, "base": small[3], "trainer": {**trainer, "max_epochs": 1}}
    bad = out / "bad.safetensors"
    bad.write_bytes(b"no weights")
    faulty = write(out / "faulty.yaml", {**one_epoch, "grid": {"model.pretrained": [False, str(bad)]}})
    large = {**one_epoch, "crop": {"size_px": 512}, "grid": {"data.batch_size": [2, 256]}}
    hungry = write(out / "hungry.yaml", large)
    rows = [
        [f"4 x 5 cells of {wall_epochs} epochs, two slots, one command, no crop built before", wall_time(bench, long)],
        kill_and_repeat(bench, five, kills, undisturbed_s),
        ["two commands on one folder, 16 cells", two_commands(bench, four)],
        ["the same folder with one backbone more", one_backbone_more(bench, five)],
        ["a bad weights file in one of two cells", bench.failure(faulty, "faulty", ("FAILED",))],
        [
            f"memory of each process limited to {MEMORY_GB} GB, a batch too large for it in one of two cells",
            bench.failure(hungry, "hungry", ("FAILED", "  fix:"), MEMORY_GB),
        ],
        ["choice by validation", chosen(out / "undisturbed")],
    ]
    about = f"{patients} phantom patients, {size_px} px, small backbones, primary input; {epochs} epochs but for row 1"
    return Section("Sweeps: crop x backbone", about, table(["measure", "shown"], rows))


def prepare(out: Path, patients: int, external: int) -> Bench:
    if out.exists():
        sys.exit(f"{out} is there already: these measures need a folder of their own (--out)")
    out.mkdir(parents=True)
    cohort = write_cohort(out / "cohort", patients=patients, external=external, internal_test=True)
    return Bench(out, cohort)


def wall_time(bench: Bench, file: Path) -> str:
    seconds, code = bench.timed(file, "long")
    out = bench.out / "long"
    own_s = pd.read_csv(out / "cells.csv")["training_s"].sum()
    wall_s = working_seconds(out)
    completed = int((cells(out)["state"] == "completed").sum())
    return (
        f"{completed} of 20 completed, exit code {code}; from the first cell's start to the last one's end "
        f"{wall_s:.0f} s, the cells' own training {own_s:.0f} s: {wall_s / (own_s / 2):.2f}x of half of it; "
        f"the whole command, with checks and crops, {seconds:.0f} s: {seconds / (own_s / 2):.2f}x"
    )


def kill_and_repeat(bench: Bench, file: Path, kills: int, undisturbed_s: float) -> list[str]:
    rng, moments = random.Random(0), []
    for _ in range(kills):
        process = bench.start(file, "killed")
        moment = rng.uniform(5.0, max(10.0, undisturbed_s / 4))
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            moments.append(round(moment))
    _, code = bench.timed(file, "killed")
    same = cells(bench.out / "killed").equals(cells(bench.out / "undisturbed"))
    return [
        f"kill -9 of the sweep at random moments (after {', '.join(map(str, moments))} s), then the same command",
        f"{len(moments)} kills, exit code {code}; final table {equal(same)} to the undisturbed one",
    ]


def two_commands(bench: Bench, file: Path) -> str:
    both = [bench.start(file, "shared") for _ in range(2)]  # as many threads a cell as in the undisturbed one
    codes = [process.wait() for process in both]
    attempts = [json.loads(path.read_text())["attempts"] for path in (bench.out / "shared").glob("runs/*/state.json")]
    return f"exit codes {codes}; {len(attempts)} cells, {sum(count > 1 for count in attempts)} trained twice"


def one_backbone_more(bench: Bench, file: Path) -> str:
    shared = bench.out / "shared"
    before = {path.parent.name: path.stat().st_mtime_ns for path in shared.glob("runs/*/state.json")}
    _, code = bench.timed(file, "shared")
    after = {path.parent.name: path.stat().st_mtime_ns for path in shared.glob("runs/*/state.json")}
    touched = sum(after[name] != moment for name, moment in before.items())
    same = same_cells(shared, bench.out / "undisturbed")
    return (
        f"exit code {code}; {len(after) - len(before)} new cells trained, {touched} of the {len(before)} former ones "
        f"touched; table {equal(same)} to the undisturbed one"
    )


def chosen(out: Path) -> str:
    subprocess.run(sweep("collect", "--out", out), check=True, stdout=subprocess.DEVNULL)
    choice = json.loads((out / "choice.json").read_text())
    alike = sum(configuration["verdict"].startswith("not") for configuration in choice["configurations"])
    auc, optimism = ("unknown" if choice[key] is None else f"{choice[key]:.3f}" for key in ("val_auc", "optimism"))
    others = len(choice["configurations"])
    return (
        f"{choice['chosen']}: AUC {auc}; {alike} of {others - 1} others not distinguishable; optimism of the best of "
        f"{others}: {optimism}"
    )


def equal(same: bool) -> str:
    return "equal" if same else "NOT EQUAL"


def ladder(
    patients: int = 1000,
    external: int = 400,
    epochs: int = 24,
    size_px: int = 96,
    seeds: int = 3,
    out: Path = OUT / "sweep-ladder",
) -> Section:
    """The ladder's four steps with pre-training by one command: AUC and DeLong's p per split.

    Args:
        patients: phantom patients in all.
        external: patients of the external centre.
        epochs: epochs of each cell.
        size_px: side of a crop.
        seeds: trainings of each step.
        out: folder of its own, which must not exist.
    """
    bench = prepare(out, patients, external)
    shipped = yaml.safe_load((ROOT / "configs" / "sweeps" / "ladder.yaml").read_text(encoding="utf-8"))
    small: dict[str, Any] = {
        "base": "configs/backbones/resnet50_small.yaml",
        "crop": {"strategy": "fixed_5cm", "size_px": size_px, "auxiliary": ["axilla"]},
        "model": {},
        "data": {"batch_size": 16, "num_workers": 0},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu"},
        "log": {"wandb": "disabled"},
        "seeds": seeds,
    }
    seconds, code = bench.timed(write(out / "ladder.yaml", {**shipped, **small}), "ladder")
    steps = pd.read_csv(out / "ladder" / "test" / "ladder.csv")
    splits = list(dict.fromkeys(steps["split"]))
    rows = []
    for step in dict.fromkeys(steps["step"]):
        by_split = steps[steps["step"] == step].set_index("split")
        rows.append([step.replace("_", " "), *(figure(by_split.loc[split]) for split in splits)])
    about = (
        f"configs/sweeps/ladder.yaml with resnet50_small, {size_px} px, {epochs} epochs, {seeds} seeds as one model, "
        f"on {patients} phantom patients, {external} external; one command, exit code {code}, {seconds / 60:.0f} min; "
        "AUC (95 %), p (DeLong) against the step before"
    )
    return Section("Sweeps: the ladder", about, table(["step", *(split.replace("_", " ") for split in splits)], rows))


def figure(row: pd.Series) -> str:
    text = f"{row['auc']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
    return text if pd.isna(row["delong_p"]) else f"{text}, p = {row['delong_p']:.2g}"


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def sweep(*words: object) -> list[str]:
    return [sys.executable, "-m", "mammo_aln", "sweep", *map(str, words)]


def _limit_memory(most_gb: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (most_gb * 10**9,) * 2)


def working_seconds(out: Path) -> float:
    """From the first line of a cell's log to the last change of a run's state."""
    begun = min(_birth(path) for path in out.glob("logs/*.log"))
    return max(path.stat().st_mtime for path in out.glob("runs/*/state.json")) - begun


def _birth(log: Path) -> float:
    return pd.Timestamp(log.read_text(encoding="utf-8", errors="replace").split()[0]).timestamp()


def cells(out: Path) -> pd.DataFrame:
    rows = pd.read_csv(out / "cells.csv", dtype=str)
    return rows[[name for name in rows if not name.endswith("_s")]]


def same_cells(first: Path, second: Path) -> bool:
    tables = [cells(path).sort_values("run_id").reset_index(drop=True) for path in (first, second)]
    return tables[0].equals(tables[1])
