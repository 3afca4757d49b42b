"""Does the product do on the phantom what it must? 1,000 patients, 400 external, three seeds, no pre-trained weights.

The ladder of inputs (primary, + clinical, + auxiliary), the four crops side by side, and shuffled labels, each trained
from scratch and judged on the external centre, with patient-bootstrap intervals of the mean over seeds. Writes
docs/benchmarks.md. One process per core, one thread each; finished runs of the same --out are not trained again.

    python -m benchmarks ladder --out out/ladder
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.notes import machine, replace_section

ROOT = Path(__file__).resolve().parents[1]
LADDER = (("primary",), ("primary", "clinical"), ("primary", "clinical", "auxiliary"))
CROPS = ("fixed_5cm", "lesion_margin", "lesion_box", "whole_breast")


@dataclass(frozen=True)
class Cell:
    """One training of the benchmark."""

    name: str
    inputs: tuple[str, ...]
    strategy: str = "fixed_5cm"
    shuffled: bool = False


CELLS = (
    *(Cell(" + ".join(inputs), inputs) for inputs in LADDER),
    *(Cell(f"primary, {strategy}", ("primary",), strategy) for strategy in CROPS[1:]),
    Cell("shuffled labels", LADDER[-1], shuffled=True),
)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=ROOT / "out" / "ladder")
    words.add_argument("--patients", type=int, default=1000)
    words.add_argument("--external", type=int, default=400)
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--phantom-seed", type=int, default=0)
    words.add_argument("--size-px", type=int, default=96)
    words.add_argument("--epochs", type=int, default=24)
    words.add_argument("--backbone", default="resnet50_small", help="name of a file in configs/backbones")
    words.add_argument("--processes", type=int, default=os.cpu_count())
    words.add_argument("--only", nargs="*", help="cells to train (their names); none writes no table")
    words.add_argument("--dry", action="store_true", help="print the table, do not write docs/benchmarks.md")
    given = words.parse_args()
    begun = time.perf_counter()
    cohort = make_cohort(given)
    made_s = time.perf_counter() - begun
    jobs = [(cell, seed) for seed in range(given.seeds) for cell in CELLS if not given.only or cell.name in given.only]
    scores: dict[str, list[pd.DataFrame]] = {cell.name: [] for cell in CELLS}
    spawn = get_context("spawn")
    with ProcessPoolExecutor(given.processes, mp_context=spawn) as pool:
        pending = {pool.submit(one_run, cell, seed, cohort, given): (cell, seed) for cell, seed in jobs}
        for number, done in enumerate(as_completed(pending), start=1):
            cell, seed = pending[done]
            table, seconds = done.result()
            scores[cell.name].append(table)
            print(
                f"[{time.perf_counter() - begun:5.0f} s] {number}/{len(jobs)} {cell.name}, seed {seed}: "
                f"external AUC {auc_of(table):.3f} ({seconds:.0f} s)",
                flush=True,
            )
    text = report(scores, cohort, given, made_s, time.perf_counter() - begun)
    print(text)
    if not given.dry and not given.only:
        replace_section(ROOT / "docs" / "benchmarks.md", "The ladder on the phantom", text)


def make_cohort(given: argparse.Namespace) -> Path:
    """The phantom, a copy of its tables with labels permuted within each split, and one crop store for all cells."""
    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.crops.build import build_crops
    from mammo_aln.phantom.mammography import write_phantom
    from mammo_aln.settings import CropConfig, PixelConfig

    folder = given.out / "cohort"
    if not folder.exists():
        write_phantom(
            folder,
            patients=given.patients,
            centers=3,
            seed=given.phantom_seed,
            external_patients=given.external,
            internal_test=False,
        )
    shuffled = given.out / "shuffled"
    if not shuffled.exists():
        shuffled.mkdir(parents=True)
        for name in ("images.csv", "regions.csv"):
            shutil.copy(folder / name, shuffled / name)
        declared = (folder / "cohort.yaml").read_text(encoding="utf-8")
        (shuffled / "cohort.yaml").write_text(f"{declared}dicom_root: ../cohort\n", encoding="utf-8")
        patients = pd.read_csv(folder / "patients.csv", dtype=str)
        rng = np.random.default_rng(1)
        for _, rows in patients.groupby("split"):
            patients.loc[rows.index, "aln_status"] = rng.permutation(rows["aln_status"].to_numpy())
        patients.to_csv(shuffled / "patients.csv", index=False)
    crop = CropConfig(strategy="all", size_px=given.size_px, auxiliary=("axilla",))
    build_crops(read_cohort(folder), PixelConfig(), crop, store=given.out / "store")
    return folder


def one_run(cell: Cell, seed: int, cohort: Path, given: argparse.Namespace) -> tuple[pd.DataFrame, float]:
    """Train one cell and score the external centre."""
    import torch
    import yaml

    from mammo_aln.inference.predict import predict_cohort
    from mammo_aln.settings import CropConfig, DataConfig, LogConfig, ModelConfig, Settings, TrainerConfig
    from mammo_aln.training.train import train_run

    torch.set_num_threads(1)
    backbone = yaml.safe_load((ROOT / "configs" / "backbones" / f"{given.backbone}.yaml").read_text(encoding="utf-8"))
    settings = Settings(
        crop=CropConfig(strategy=cell.strategy, size_px=given.size_px, auxiliary=("axilla",)),
        model=replace(ModelConfig(**backbone["model"]), inputs=cell.inputs),
        data=DataConfig(batch_size=16),
        trainer=TrainerConfig(max_epochs=given.epochs, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
        seed=seed,
    )
    folder = given.out / "shuffled" if cell.shuffled else cohort
    begun = time.perf_counter()
    run = train_run(folder, given.out / "runs", settings, store=given.out / "store")
    path = predict_cohort(
        run, folder, given.out / "external" / f"{run.name}.csv", split="external_test", store=given.out / "store"
    )
    return pd.read_csv(path, dtype={"patient_id": str}), time.perf_counter() - begun


def auc_of(table: pd.DataFrame) -> float:
    from mammo_aln.evaluation.statistics.discrimination import auc

    return auc(table["logit"], table["aln_status"])


def drawn_means(cells: dict[str, list[pd.DataFrame]]) -> dict[str, np.ndarray]:
    """Bootstrap draws, over the same resampled patients for every cell, of the AUC's mean over seeds."""
    from mammo_aln.evaluation.statistics.resampling import bootstrap_auc_joint

    tables = [table.sort_values("patient_id") for runs in cells.values() for table in runs]
    labels = tables[0]["aln_status"].to_numpy()
    drawn = bootstrap_auc_joint(np.stack([table["logit"].to_numpy() for table in tables]), labels, resamples=2000)
    owner = np.repeat(np.arange(len(cells)), [len(runs) for runs in cells.values()])
    return {name: drawn[owner == place].mean(axis=0) for place, name in enumerate(cells)}


def report(
    scores: dict[str, list[pd.DataFrame]], cohort: Path, given: argparse.Namespace, made_s: float, total_s: float
) -> str:
    from mammo_aln.evaluation.statistics.discrimination import auc

    truth = pd.read_csv(cohort / "truth.csv", dtype={"patient_id": str}).query("split == 'external_test'")
    honest = {name: runs for name, runs in scores.items() if runs and name != "shuffled labels"}
    draws = drawn_means(honest)
    if scores["shuffled labels"]:
        draws |= drawn_means({"shuffled labels": scores["shuffled labels"]})
    means = {name: float(np.mean([auc_of(run) for run in runs])) for name, runs in scores.items() if runs}
    lines = [
        f"`python -m benchmarks ladder`: {given.patients} phantom patients (seed {given.phantom_seed}), "
        f"{given.external} of them external, {given.seeds} seeds, {given.backbone}, {given.size_px} px, "
        f"{given.epochs} epochs, from scratch; AUC on the external centre, mean over seeds, 95 % interval by "
        f"bootstrap over patients. {machine()}; {total_s / 60:.0f} min in all, cohort and crops {made_s:.0f} s.",
        "",
        "| inputs, crop | external AUC | each seed | Bayes AUC (drawn labels) | share of (Bayes - 0.5) |",
        "|---|---|---|---|---|",
    ]
    for name, value in means.items():
        cell = next(cell for cell in CELLS if cell.name == name)
        subset = "+".join(part for part in ("primary", "auxiliary", "clinical") if part in cell.inputs)
        low, high = np.quantile(draws[name], [0.025, 0.975])
        seeds = ", ".join(f"{auc_of(run):.3f}" for run in scores[name])
        if cell.shuffled:
            lines.append(f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) | {seeds} | 0.5 | |")
            continue
        bayes = float(truth[f"bayes_auc_{subset}"].iloc[0])
        drawn_bayes = auc(truth[f"probability_{subset}"], truth["aln_status"])
        share = (value - 0.5) / (bayes - 0.5)
        crop = f" ({cell.strategy})" if "," not in name else ""
        lines.append(
            f"| {name}{crop} | {value:.3f} ({low:.3f} to {high:.3f}) | {seeds} | {bayes:.3f} ({drawn_bayes:.3f}) "
            f"| {share:.0%} |"
        )
    lines += ["", "| paired difference | AUC | 95 % interval |", "|---|---|---|"]
    names = [cell.name for cell in CELLS]
    pairs = [(names[1], names[0]), (names[2], names[1])] + [(names[0], other) for other in names[3:6]]
    for first, second in pairs:
        if first in means and second in means:
            low, high = np.quantile(draws[first] - draws[second], [0.025, 0.975])
            gap = means[first] - means[second]
            lines.append(f"| {first} minus {second} | {gap:+.3f} | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
