"""Checks 1, 5, 6 and 9 to 13: the commands themselves, each as a process of its own."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from benchmarks.gpu_check.setup import Broken, Figures, Outcome, Setup, is_finite, largest_difference, rows_of
from mammo_aln.cohort.content import cohort_content
from mammo_aln.errors import ExitCode
from mammo_aln.runs.identity import run_identity
from mammo_aln.runs.record import read_settings
from mammo_aln.training.data.datamodule import MammoDataModule

HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}


def machine(setup: Setup) -> Outcome:
    """`doctor`, and the versions of what computes."""
    setup.call(setup.words(["doctor", "--out", str(setup.out)]), "doctor")
    figures: Figures = {name: metadata.version(name) for name in ("torch", "timm", "pytorch-lightning")}
    figures["cudnn"] = torch.backends.cudnn.version() or 0
    figures["card"] = torch.cuda.get_device_name(0) if setup.on_gpu else "no GPU"
    return Outcome(True, ", ".join(f"{name} {value}" for name, value in figures.items()), figures)


# --- 5, 6 -------------------------------------------------------------------------------------------------------------


def trainings(setup: Setup) -> Outcome:
    """`train` with every backbone: finite figures, and the id that a CPU would give the run."""
    figures: Figures = {}
    faults = []
    for name in setup.backbones:
        run, seconds = setup.call(setup.words(_two_epochs(setup, name)), f"train_{name}")
        figures[f"{name} s"] = seconds
        if not is_finite(rows_of(run)):
            faults.append(f"{name}: not finite")
        if Path(run).name != id_on_a_cpu(setup, Path(run)):
            faults.append(f"{name}: another id on a CPU")
    words = "; ".join(faults) or f"{len(setup.backbones)} backbones, {sum(map(float, figures.values())):.0f} s"
    return Outcome(not faults, words, figures)


def _two_epochs(setup: Setup, backbone: str) -> list[str]:
    return setup.training(backbone, "runs", 2, **{"data.test_time_copies": 2})


def id_on_a_cpu(setup: Setup, run: Path) -> str:
    """Identity of a run's settings where no GPU computes."""
    settings = read_settings(run)
    settings = replace(settings, trainer=replace(settings.trainer, accelerator="cpu"))
    data = MammoDataModule.from_settings(settings, setup.cohort, setup.out / "store")
    keys = data.crop_set.table["key"].tolist()
    return run_identity(settings, cohort_content(data.as_given), keys).run_id


def epoch_parts(setup: Setup) -> Outcome:
    """Eight epochs of SwinV2: share of waiting for data, and of all that is not the training's steps."""
    setup.fresh("epochs")
    process = setup.started(setup.words(setup.training("swinv2", "epochs", 8)), "epochs")
    ends: list[float] = []
    while process.poll() is None:
        files = list((setup.out / "epochs").glob("*/metrics.csv"))
        count = len(rows_of(files[0].parent)) if files and files[0].stat().st_size else 0
        ends += [time.perf_counter()] * (count - len(ends))
        time.sleep(0.02)
    run = (process.communicate()[0].strip().splitlines() or [""])[-1]
    if process.returncode:
        raise Broken(f"exit code {process.returncode} (logs/epochs.log)")
    rows = rows_of(run).iloc[2:]  # the first ones start the loaders and choose kernels
    steps_s = float(rows["train_s"].sum())
    wait = float(rows["data_wait_s"].sum()) / steps_s
    length_s = ends[len(rows) + 1] - ends[1] if len(ends) == len(rows) + 2 else math.nan
    rest = (length_s - steps_s) / steps_s
    figures: Figures = {"wait": wait, "rest": rest, "train_s": steps_s / len(rows)}
    figures["patients_per_s"] = float(rows["train_patients_per_s"].median())
    words = f"data wait {100 * wait:.1f} % (under 2), validation and checkpoints {100 * rest:.0f} % of the steps (20)"
    return Outcome(wait < 0.02 and rest < 0.20 if setup.on_gpu else None, words, figures)


# --- 9, 10 ------------------------------------------------------------------------------------------------------------


def interruption(setup: Setup) -> Outcome:
    """A training stopped by USR1 goes on to the same figures; a deterministic one gives the same bits again."""
    setup.fresh("undisturbed", "stopped", "bits0", "bits1")
    epochs = 6
    whole, _ = setup.call(setup.words(setup.training("resnet50", "undisturbed", epochs)), "undisturbed")
    command = setup.words(setup.training("resnet50", "stopped", epochs))
    process = setup.started(command, "stopped")
    while process.poll() is None and not list((setup.out / "stopped").glob("*/metrics.csv")):
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    process.communicate()
    if process.returncode != ExitCode.AGAIN:
        raise Broken(f"exit code {process.returncode} after USR1, expected 75 (logs/stopped.log)")
    resumed, _ = setup.call(command, "stopped")
    apart = largest_difference(rows_of(whole), rows_of(resumed))
    same = [
        setup.call(
            setup.words(setup.training("resnet50", f"bits{number}", 1, **{"trainer.deterministic": True})), "bits"
        )[0]
        for number in range(2)
    ]
    first, second = (_weights(Path(run)) for run in same)
    equal = all(torch.equal(first[name], second[name]) for name in first)
    words = f"resumed rows differ by {apart:.1e} (1e-3); deterministic runs {'equal' if equal else 'differ'} in bits"
    return Outcome(apart <= 1e-3 and equal, words, {"resumed": apart, "equal_bits": equal})


def _weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(
        run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=False
    )["state_dict"]
    return state


def arithmetic(setup: Setup) -> Outcome:
    """16-mixed with clipping, frozen weights and recomputed activations, with every fusion."""
    begun, _ = setup.call(setup.words(_two_epochs(setup, "resnet50")), "train_resnet50")
    weights = str(Path(begun) / "checkpoints" / "best.ckpt")
    precision = "16-mixed" if setup.on_gpu else "bf16-mixed"
    faults, scaled = [], []
    for fusion in ("concat", "gated", "attention"):
        given = {
            "trainer.precision": precision,
            "model.fusion": fusion,
            "model.pretrained": weights,
            "model.freeze_epochs": 1,
            "model.grad_checkpointing": True,
            "model.inputs": ["primary", "auxiliary"],
        }
        run, _ = setup.call(setup.words(setup.training("resnet50", "arithmetic", 2, **given)), "arithmetic")
        if not is_finite(rows_of(run)):
            faults.append(f"{fusion}: not finite")
        last = torch.load(Path(run) / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False)
        scaled.append(any("scale" in str(last.get(key, "")) for key in ("MixedPrecision", "precision")))
    if setup.on_gpu and not all(scaled):
        faults.append("no scaler in last.ckpt")
    words = "; ".join(faults) or f"{precision}, 3 fusions, all finite, scaler kept in {sum(scaled)} checkpoints"
    return Outcome(not faults if setup.on_gpu or faults else None, words, {"scalers": sum(scaled)})


# --- 11, 12, 13 -------------------------------------------------------------------------------------------------------


def predictions(setup: Setup) -> Outcome:
    """A run's predictions on this device and on a CPU, with test-time copies; and why it says so."""
    run, _ = setup.call(setup.words(_two_epochs(setup, "swinv2")), "train_swinv2")
    logits = {}
    for where, hidden in (("here", {}), ("cpu", HIDDEN)):
        file = setup.out / "predictions" / f"{where}.csv"
        words = ["predict", str(setup.cohort), "--run", f"[{run}]", "--out", str(file), "--split", "external_test"]
        setup.call(setup.words([*words, "--store", str(setup.out / "store")]), f"predict_{where}", hidden)
        logits[where] = pd.read_csv(file, dtype={"patient_id": str}).set_index("patient_id")["logit"].sort_index()
    apart = float((logits["here"] - logits["cpu"]).abs().max() / logits["cpu"].std())
    words = ["explain", str(setup.cohort), "--run", run, "--out", str(setup.out / "explained"), "--drawn", "4"]
    words += ["--split", "external_test", "--store", str(setup.out / "store")]
    page, _ = setup.call(setup.words(words), "explain")
    drawn = list(setup.out.glob("explained/**/*.html"))
    said = f"logits differ by {100 * apart:.2f} % of their SD (under 1); explained in {Path(page).name}"
    return Outcome(apart < 0.01 and bool(drawn), said, {"apart": apart, "pages": len(drawn)})


CAPPED = """
import sys
from pathlib import Path
import torch
from mammo_aln.cli import main
if torch.cuda.is_available():
    torch.cuda.set_per_process_memory_fraction(float(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""


def sweeps(setup: Setup) -> Outcome:
    """Six small cells in 1, 3 and 6 slots; and a batch larger than the memory that a process may take."""
    file = setup.out / "six.yaml"
    content = {
        "base": [str(setup.config("resnet50").with_name("resnet50_small.yaml"))],
        "crop": {"size_px": 64 if setup.tiny else 128},
        "data": {"batch_size": 8},
        "trainer": {"max_epochs": 1 if setup.tiny else 4, "precision": setup.arithmetic},
        "log": {"wandb": "disabled"},
        "grid": {"optim.lr": [1e-3] if setup.tiny else [3e-4, 1e-3, 3e-3]},
        "seeds": 2,
    }
    setup.out.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content))
    figures: Figures = {}
    setup.fresh("capped", "logs/capped.log")
    for slots in (1, 2) if setup.tiny else (1, 3, 6):
        setup.fresh(f"sweep{slots}")
        words = ["sweep", "run", str(file), "--cohort", str(setup.cohort), "--store", str(setup.out / "store")]
        out, seconds = setup.call(
            setup.words([*words, "--out", str(setup.out / f"sweep{slots}"), "--slots", str(slots)]), f"sweep{slots}"
        )
        states = pd.read_csv(Path(out) / "cells.csv")["state"]
        figures |= {f"slots_{slots}_s": seconds, f"slots_{slots}_done": int((states == "completed").sum())}
    count = 2 if setup.tiny else 6
    done = all(value == count for name, value in figures.items() if name.endswith("_done"))
    # Its share of the card holds less than the whole batch: the step is halved and repeated.
    large = setup.training("swinv2", "capped", 1, **{"data.batch_size": 16 if setup.tiny else 128})
    run, _ = setup.call([sys.executable, "-c", CAPPED, "0.1", *large], "capped")
    halved = (setup.out / "logs" / "capped.log").read_text(errors="replace").count("out of memory")
    figures["memory_lines"] = halved
    ratio = float(figures["slots_1_s"]) / min(float(value) for name, value in figures.items() if name.endswith("_s"))
    figures["fastest_over_one_slot"] = ratio
    passed = done and is_finite(rows_of(run)) and (halved > 0 or not setup.on_gpu)
    words = f"{count} cells done in each; several slots {ratio:.2f} times as fast; memory told in {halved} lines"
    return Outcome(passed if setup.on_gpu or not passed else None, words, figures)


def launchers(setup: Setup) -> Outcome:
    """One rank under torchrun, and one epoch of pre-training."""
    setup.fresh("torchrun", "pretrained")
    train = setup.training("resnet50", "torchrun", 1)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", "-m", "mammo_aln"]
    _, seconds = setup.call([*words, *train], "torchrun")
    pretrain = setup.training(
        "resnet50", "pretrained", 1, **{"pretrain.labels": ["aln_status"], "model.inputs": ["primary"]}
    )
    weights, _ = setup.call(setup.words(["pretrain", *pretrain[1:]]), "pretrain")
    rows = rows_of(Path(weights).parent)
    wait = float(rows["data_wait_s"].sum() / rows["train_s"].sum()) if "data_wait_s" in rows else float(np.nan)
    line = f"torchrun {seconds:.0f} s; pre-training waits for data {100 * wait:.0f} % of its epoch"
    return Outcome(True, line, {"torchrun_s": seconds, "pretrain_wait": wait})


def card() -> str:
    """Name of the card and its driver as nvidia-smi gives them; empty without one."""
    try:
        words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
