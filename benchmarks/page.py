"""Sections of docs/benchmarks.md: one per benchmark, with the machine's description."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.machine.cores import usable_cores

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
OUT = ROOT / "out" / "benchmarks"


@dataclass(frozen=True)
class Section:
    """A benchmark's result: the heading, a sentence on its conditions, the lines below it, and their page."""

    title: str
    about: str
    lines: Sequence[str]
    page: Path = PAGE


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lay out a Markdown table."""
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def machine() -> str:
    """Processor, cores, memory, accelerator and versions, in words."""
    import torch

    cpu = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return (
        f"{usable_cores()} cores of {cpu}, {memory_gb:.0f} GB, {gpu}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def replace_section(path: Path, title: str, text: str) -> None:
    """Put `text` under `## title`, in place of what stood there."""
    page = path.read_text(encoding="utf-8") if path.is_file() else "# Benchmarks\n"
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.S | re.M)
    page = pattern.sub(lambda _: section + "\n", page) if pattern.search(page) else page.rstrip() + "\n\n" + section
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.rstrip() + "\n", encoding="utf-8")
