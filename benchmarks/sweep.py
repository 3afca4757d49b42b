"""Do sweeps finish, and what do they show? Every measure on the phantom, in docs/benchmarks.md.

Grid: 4 crops x 5 small backbones in two CPU slots: all cells from one command, wall time against half the sum of the
cells' own training times; the same sweep killed with kill -9 ten times at random moments; a second command on one
folder; an added backbone; a bad weights file; too little memory. Ladder: the four steps with pre-training, DeLong's p
per split.

    python -m benchmarks sweep                    # both
    python -m benchmarks sweep --part grid        # or one
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.notes import machine, replace_section

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = ("swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121")
MEMORY_GB = 6
CROPS = ("whole_breast", "lesion_box", "lesion_margin", "fixed_5cm")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=ROOT / "out" / "sweep")
    words.add_argument("--part", choices=("grid", "ladder", "both"), default="both")
    words.add_argument("--patients", type=int, default=200, help="phantom of the grid")
    words.add_argument("--wall-epochs", type=int, default=40, help="of the grid's cells where wall time is measured")
    words.add_argument("--epochs", type=int, default=8, help="of the grid's cells elsewhere")
    words.add_argument("--size-px", type=int, default=64, help="of the grid's crops")
    words.add_argument("--kills", type=int, default=10)
    words.add_argument("--ladder-patients", type=int, default=1000)
    words.add_argument("--ladder-external", type=int, default=400)
    words.add_argument("--ladder-epochs", type=int, default=24)
    words.add_argument("--ladder-size-px", type=int, default=96)
    words.add_argument("--ladder-seeds", type=int, default=3)
    words.add_argument("--dry", action="store_true", help="print the tables, do not write docs/benchmarks.md")
    given = words.parse_args()
    if given.out.exists():
        sys.exit(f"{given.out} is there already: these measures need a folder of their own")
    given.out.mkdir(parents=True)
    page = ROOT / "docs" / "benchmarks.md"
    for part, title, measure in (
        ("grid", "Sweeps: crop x backbone", measure_grid),
        ("ladder", "Sweeps: the ladder", measure_ladder),
    ):
        if given.part not in (part, "both"):
            continue
        text = measure(given)
        print(text, flush=True)
        if not given.dry:
            replace_section(page, title, text)


def measure_grid(given: argparse.Namespace) -> str:
    cohort = phantom(given.out / "cohort", given.patients, given.patients // 4)
    store = given.out / "store"
    small = [f"configs/backbones/{name}_small.yaml" for name in BACKBONES]
    base: dict[str, Any] = {
        "crop": {"size_px": given.size_px},
        "model": {"inputs": ["primary"]},
        "data": {"batch_size": 16, "num_workers": 0},
        "trainer": {"max_epochs": given.epochs, "accelerator": "cpu"},
        "log": {"wandb": "disabled"},
    }
    four = write(given.out / "four.yaml", {**base, "grid": {"crop.strategy": list(CROPS), "config": small[:4]}})
    five = write(given.out / "five.yaml", {**base, "grid": {"crop.strategy": list(CROPS), "config": small}})
    rows = []

    first = given.out / "long"
    longer = {**base["trainer"], "max_epochs": given.wall_epochs}
    grid = {"crop.strategy": list(CROPS), "config": small}
    seconds, done = timed(
        write(given.out / "long.yaml", {**base, "trainer": longer, "grid": grid}), cohort, store, first
    )
    table = cells(first)
    own_s = pd.read_csv(first / "cells.csv")["training_s"].sum()
    wall_s = working_seconds(first)
    completed = int((table["state"] == "completed").sum())
    rows.append(
        f"| 4 x 5 cells of {given.wall_epochs} epochs, two slots, one command, no crop built before "
        f"| {completed} of 20 completed, exit code {done}; from the first cell's start to the last one's end "
        f"{wall_s:.0f} s, the cells' own training {own_s:.0f} s: "
        f"{wall_s / (own_s / 2):.2f}x of half of it; the whole command, with checks and crops, {seconds:.0f} s: "
        f"{seconds / (own_s / 2):.2f}x |"
    )

    first = given.out / "undisturbed"
    seconds, _ = timed(five, cohort, store, first)
    table = cells(first)
    killed, rng, kills, at = given.out / "killed", random.Random(0), 0, []
    for _ in range(given.kills):
        process = start(five, cohort, store, killed)
        moment = rng.uniform(5.0, max(10.0, seconds / 4))
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            at.append(round(moment))
    _, done = timed(five, cohort, store, killed)
    same = cells(killed).equals(table)
    rows.append(
        f"| kill -9 of the sweep at random moments (after {', '.join(map(str, at))} s), then the same command "
        f"| {kills} kills, exit code {done}; final table {'equal' if same else 'NOT EQUAL'} to the undisturbed one |"
    )

    shared = given.out / "shared"
    both = [start(four, cohort, store, shared) for _ in range(2)]  # as many threads a cell as in the undisturbed one
    codes = [process.wait() for process in both]
    attempts = [json.loads(path.read_text())["attempts"] for path in shared.glob("runs/*/state.json")]
    rows.append(
        f"| two commands on one folder, 16 cells | exit codes {codes}; {len(attempts)} cells, "
        f"{sum(count > 1 for count in attempts)} trained twice |"
    )

    before = {path.parent.name: path.stat().st_mtime_ns for path in shared.glob("runs/*/state.json")}
    _, done = timed(five, cohort, store, shared)
    after = {path.parent.name: path.stat().st_mtime_ns for path in shared.glob("runs/*/state.json")}
    touched = sum(after[name] != moment for name, moment in before.items())
    rows.append(
        f"| the same folder with one backbone more | exit code {done}; {len(after) - len(before)} new cells trained, "
        f"{touched} of the {len(before)} former ones touched; table "
        f"{'equal' if same_cells(shared, first) else 'NOT EQUAL'} to the undisturbed one |"
    )

    bad = given.out / "bad.safetensors"
    bad.write_bytes(b"no weights")
    one_epoch = {**base["trainer"], "max_epochs": 1}
    two = {"base": small[3], "grid": {"model.pretrained": [False, str(bad)]}, "trainer": one_epoch}
    faulty = write(given.out / "faulty.yaml", {**base, **two})
    process = start(faulty, cohort, store, given.out / "faulty", told=subprocess.PIPE)
    _, told = process.communicate()
    line = next((one for one in told.splitlines() if one.startswith("FAILED")), "").replace(str(given.out) + "/", "")
    states = ", ".join(cells(given.out / "faulty")["state"])
    rows.append(f"| a bad weights file in one of two cells | {states}; exit code {process.returncode}; `{line}` |")

    large = {**base, "crop": {"size_px": 512}, "trainer": one_epoch, "base": small[3]}
    hungry = write(given.out / "hungry.yaml", {**large, "grid": {"data.batch_size": [2, 256]}})
    process = start(hungry, cohort, store, given.out / "hungry", told=subprocess.PIPE, memory_gb=MEMORY_GB)
    _, told = process.communicate()
    said = [one for one in told.splitlines() if one.startswith(("FAILED", "  fix:"))]
    states = ", ".join(cells(given.out / "hungry")["state"])
    rows.append(
        f"| memory of each process limited to {MEMORY_GB} GB, a batch too large for it in one of two cells | {states}; "
        f"exit code {process.returncode}; `{' '.join(said).replace(str(given.out) + '/', '')}` |"
    )

    subprocess.run(sweep("collect", "--out", first), check=True, stdout=subprocess.DEVNULL)
    choice = json.loads((first / "choice.json").read_text())
    alike = sum(one["verdict"].startswith("not") for one in choice["configurations"])
    rows.append(
        f"| choice by validation | {choice['chosen']}: AUC {choice['val_auc']:.3f}; {alike} of 19 others not "
        f"distinguishable; optimism of the best of 20: {choice['optimism']:.3f} |"
    )
    head = (
        f"`python -m benchmarks sweep --part grid`: {given.patients} phantom patients, {given.size_px} px, small "
        f"backbones, primary input; but for the first row, {given.epochs} epochs. {machine()}."
    )
    return "\n".join([head, "", "| measure | shown |", "|---|---|", *rows])


def measure_ladder(given: argparse.Namespace) -> str:
    cohort = phantom(given.out / "ladder_cohort", given.ladder_patients, given.ladder_external)
    shipped = yaml.safe_load((ROOT / "configs" / "sweeps" / "ladder.yaml").read_text(encoding="utf-8"))
    small: dict[str, Any] = {
        "base": "configs/backbones/resnet50_small.yaml",
        "crop": {"strategy": "fixed_5cm", "size_px": given.ladder_size_px, "auxiliary": ["axilla"]},
        "model": {},
        "data": {"batch_size": 16, "num_workers": 0},
        "trainer": {"max_epochs": given.ladder_epochs, "accelerator": "cpu"},
        "log": {"wandb": "disabled"},
        "seeds": given.ladder_seeds,
    }
    file = write(given.out / "ladder.yaml", {**shipped, **small})
    out = given.out / "ladder"
    seconds, done = timed(file, cohort, given.out / "ladder_store", out)
    table = pd.read_csv(out / "test" / "ladder.csv")
    splits = list(dict.fromkeys(table["split"]))
    steps = list(dict.fromkeys(table["step"]))
    lines = [
        f"`python -m benchmarks sweep --part ladder`: configs/sweeps/ladder.yaml with resnet50_small, "
        f"{given.ladder_size_px} px, {given.ladder_epochs} epochs, {given.ladder_seeds} seeds as one model, "
        f"on {given.ladder_patients} phantom patients, {given.ladder_external} external; one command, "
        f"exit code {done}, {seconds / 60:.0f} min. AUC (95 %), p (DeLong) against the step before. {machine()}.",
        "",
        "| step | " + " | ".join(split.replace("_", " ") for split in splits) + " |",
        "|---" * (len(splits) + 1) + "|",
    ]
    for step in steps:
        found = table[table["step"] == step].set_index("split")
        lines.append(f"| {step.replace('_', ' ')} | " + " | ".join(figure(found.loc[split]) for split in splits) + " |")
    return "\n".join(lines)


def figure(row: pd.Series) -> str:
    text = f"{row['auc']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
    return text if pd.isna(row["delong_p"]) else f"{text}, p = {row['delong_p']:.2g}"


def phantom(folder: Path, patients: int, external: int) -> Path:
    from mammo_aln.phantom.mammography import write_phantom

    return write_phantom(folder, patients=patients, centers=3, seed=0, external_patients=external)


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def sweep(*words: object) -> list[str]:
    return [sys.executable, "-m", "mammo_aln", "sweep", *map(str, words)]


def start(
    file: Path, cohort: Path, store: Path, out: Path, *more: str, told: Any = None, memory_gb: int | None = None
) -> subprocess.Popen[str]:
    command = sweep("run", file, "--cohort", cohort, "--out", out, "--store", store, *(more or ("--slots=2",)))
    with (out.parent / f"{out.name}.log").open("a") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=told or log,
            text=True,
            preexec_fn=partial(_limit_memory, memory_gb) if memory_gb else None,
        )


def _limit_memory(most_gb: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (most_gb * 10**9,) * 2)


def timed(file: Path, cohort: Path, store: Path, out: Path) -> tuple[float, int]:
    begun = time.perf_counter()
    code = start(file, cohort, store, out).wait()
    return time.perf_counter() - begun, code


def working_seconds(out: Path) -> float:
    """From the first line of a cell's log to the last change of a run's state."""
    begun = min(_birth(path) for path in out.glob("logs/*.log"))
    return max(path.stat().st_mtime for path in out.glob("runs/*/state.json")) - begun


def _birth(log: Path) -> float:
    return pd.Timestamp(log.read_text(encoding="utf-8", errors="replace").split()[0]).timestamp()


def cells(out: Path) -> pd.DataFrame:
    table = pd.read_csv(out / "cells.csv", dtype=str)
    return table[[name for name in table if not name.endswith("_s")]]


def same_cells(one: Path, other: Path) -> bool:
    tables = [cells(path).sort_values("run_id").reset_index(drop=True) for path in (one, other)]
    return tables[0].equals(tables[1])


if __name__ == "__main__":
    main()
