"""The verb `doctor`: is this machine ready? PASS, WARN or FAIL, each with the fix to type."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.disk import try_disk
from mammo_aln.machine.lease import EXPIRY_S
from mammo_aln.machine.locks import VARIABLE
from mammo_aln.progress import byte_text, say

ENOUGH = 5e9
"""Bytes that crops and checkpoints of a small sweep take."""


@dataclass(frozen=True)
class Finding:
    """One look at the machine, and what to type where it is not well."""

    verdict: Literal["PASS", "WARN", "FAIL"]
    text: str
    fix: str = ""


def examine(cohort: Path | None = None, out: Path | None = None) -> int:
    """Print every finding to standard error; 1 if any is FAIL, else 0.

    Args:
        cohort: cohort folder that this machine should be able to read.
        out: folder of runs or of a sweep, whose disk is tried; it is made where it is missing.
    """
    findings = [finding for look in LOOKS for finding in look()]
    if cohort is not None:
        findings += _cohort(cohort)
    if out is not None:
        findings += _disk(out)
    findings.append(_room(Path.cwd() if out is None else out))
    for finding in findings:
        say(f"{finding.verdict}  {finding.text}" + (f"\n      fix: {finding.fix}" if finding.fix else ""))
    worst = [finding for finding in findings if finding.verdict == "FAIL"]
    say(f"{len(findings)} checks, {len(worst)} failed")
    return 1 if worst else 0


def _python() -> list[Finding]:
    return [Finding("PASS", f"Python {sys.version.split()[0]}")]


def _packages() -> list[Finding]:
    findings = []
    for name in ("torch", "torchvision", "timm", "pytorch-lightning", "pydicom", "imagecodecs", "albumentations"):
        try:
            findings.append(Finding("PASS", f"{name} {metadata.version(name)}"))
        except metadata.PackageNotFoundError:
            findings.append(Finding("FAIL", f"{name} is not installed", "pip install -e ."))
    return findings


def _accelerator() -> list[Finding]:
    try:
        import torch
        import torchvision  # noqa: F401  # a torchvision built for another torch fails here
    except (ImportError, RuntimeError, OSError) as error:
        return [
            Finding(
                "FAIL", f"torch and torchvision do not fit: {error}", "pip install --force-reinstall torch torchvision"
            )
        ]
    if torch.cuda.is_available():
        free_gb, total_gb = (amount / 1e9 for amount in torch.cuda.mem_get_info())
        gpu = Finding("PASS", f"GPU {torch.cuda.get_device_name(0)}, {free_gb:.0f} of {total_gb:.0f} GB free")
        return [gpu, several_cells_on_a_gpu(Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", MPS_PIPES)))]
    return [
        Finding(
            "WARN",
            "no GPU: training runs on the CPU",
            "use small backbone_args and crop.size_px (see configs/backbones)",
        )
    ]


MPS_PIPES = "/tmp/nvidia-mps"
"""Where NVIDIA's Multi-Process Service listens, unless CUDA_MPS_PIPE_DIRECTORY says otherwise."""


def several_cells_on_a_gpu(pipes: Path) -> Finding:
    """Tell whether processes on one GPU compute side by side, or take turns; `pipes` is the service's folder."""
    if (pipes / "control").exists():
        return Finding("PASS", "MPS runs: cells of `sweep run --slots auto` on one GPU compute side by side")
    return Finding(
        "PASS",
        "MPS does not run: cells of `sweep run --slots auto` on one GPU take turns",
        "nvidia-cuda-mps-control -d (before the sweep, as the user who starts it)",
    )


def _codecs() -> list[Finding]:
    import imagecodecs

    needed = {"JPEG 2000": "JPEG2K", "JPEG-LS": "JPEGLS", "JPEG lossless": "LJPEG", "JPEG 8 and 12 bit": "JPEG8"}
    missing = [label for label, name in needed.items() if not getattr(imagecodecs, name).available]
    if missing:
        return [Finding("FAIL", f"imagecodecs lacks {', '.join(missing)}", "pip install --force-reinstall imagecodecs")]
    return [Finding("PASS", f"decoders: {', '.join(needed)}")]


def _machine() -> list[Finding]:
    findings = [Finding("PASS", f"{usable_cores()} CPU cores")]
    shm = Path("/dev/shm")
    if shm.is_dir() and shutil.disk_usage(shm).total < 1e9:
        findings.append(
            Finding(
                "WARN",
                "shared memory under 1 GB: loader processes may die",
                "docker run --shm-size=8g, or data.num_workers=0",
            )
        )
    return findings


def _locks() -> list[Finding]:
    asked = os.environ.get(VARIABLE, "")
    if asked in ("", "posix", "lease"):
        return []
    fix = f"unset {VARIABLE}, or export {VARIABLE}=posix or {VARIABLE}=lease"
    return [Finding("FAIL", f"{VARIABLE}={asked}: expected posix or lease (environment variable)", fix)]


def _room(folder: Path) -> Finding:
    """Tell how much is free on the disk of a folder, or of the nearest one above it that exists."""
    there = next(above for above in (folder, *folder.absolute().parents) if above.is_dir())
    free = shutil.disk_usage(there).free
    text = f"{byte_text(free)} free on the disk of {folder}"
    if free >= ENOUGH:
        return Finding("PASS", text)
    return Finding("WARN", text, "choose another disk with --out and --store")


def _cohort(folder: Path) -> list[Finding]:
    from mammo_aln.cohort.tables import read_cohort

    try:
        cohort = read_cohort(folder, need=("patients",))
    except InputError as error:
        fix = f"mammo-aln check {shlex.quote(str(folder))}"
        return [
            Finding("FAIL", str(error), fix if folder.is_dir() else "give --cohort the folder that holds patients.csv")
        ]
    findings = [Finding("PASS", f"cohort {cohort.name}: {len(cohort.patients)} rows, {len(cohort.images)} images")]
    if not os.access(folder, os.W_OK):
        findings.append(
            Finding(
                "FAIL",
                f"{folder} cannot be written: the crop store has nowhere to go",
                "give --store a folder that can be written",
            )
        )
    return findings


def _disk(folder: Path) -> list[Finding]:
    if _locks():
        return []  # told already: no lock can be tried
    try:
        trial = try_disk(make_folder(folder))
    except (InputError, OSError) as error:
        return [Finding("FAIL", f"{folder} cannot be written: {error}", "choose another disk with --out")]
    if trial.faults:
        return [Finding("FAIL", f"{folder} ({trial.type}): {fault}", "choose another disk") for fault in trial.faults]
    if trial.leases:
        return [
            Finding(
                "WARN",
                f"{folder} ({trial.type}): locks are not known to bind every machine here, so leases are used; "
                f"a run whose machine crashed goes on elsewhere {EXPIRY_S:g} s later",
                f"none is needed; where the disk does keep locks for all machines: export {VARIABLE}=posix",
            )
        ]
    return [Finding("PASS", f"{folder} ({trial.type}): locks bind a second process")]


LOOKS: tuple[Callable[[], list[Finding]], ...] = (_python, _packages, _accelerator, _codecs, _machine, _locks)
