"""Cores and GPUs that a training asks of SLURM: from its settings, and from what the partition's nodes have."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mammo_aln.errors import InputError
from mammo_aln.machine.cores import MOST_LOADERS
from mammo_aln.settings import ClusterConfig, TrainerConfig

GPUS = re.compile(r"gpu(?::[^:,()]+)?:(\d+)")
"""One kind of GPU among a node's generic resources: `gpu:4`, `gpu:a100:4(S:0-1)`."""


@dataclass(frozen=True)
class Node:
    """A node's cores and GPUs."""

    cores: int
    gpus: int


@dataclass(frozen=True)
class Request:
    """Cores and GPUs of a job; None leaves it to the cluster's default.

    Attributes:
        cpus_per_task: cores of a process.
        gpus_per_node: GPUs of a node.
    """

    cpus_per_task: int | None
    gpus_per_node: int | None


AS_THE_CLUSTER = Request(None, None)
MOST_MIN = 1_000_000
TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d)(?::([0-5]?\d))?")
"""Time as SLURM reads it: `HH:MM:SS`, `D-HH:MM`, `D-HH:MM:SS`; without days, two numbers are minutes and seconds."""


def time_limit_min(cluster: ClusterConfig) -> int:
    """Minutes of a job: `cluster.time_min`, or `cluster.time` with its seconds rounded up.

    Raises:
        InputError: a time that is none.
    """
    if cluster.time is None:
        return cluster.time_min
    match = TIME.fullmatch(cluster.time.strip())
    if match is None:
        raise InputError(f"cluster.time: expected HH:MM:SS or D-HH:MM:SS (quoted in YAML), got {cluster.time!r}")
    days, first, second, third = match.groups()
    if days is None and third is None:
        raise InputError(f"cluster.time: {cluster.time} is minutes and seconds to SLURM; expected HH:MM:SS")
    hours, minutes, seconds = int(first), int(second), int(third or 0)
    total_s = ((24 * int(days or 0) + hours) * 60 + minutes) * 60 + seconds
    if total_s == 0:
        raise InputError(f"cluster.time: expected more than {cluster.time}")
    if total_s > 60 * MOST_MIN:
        raise InputError(f"cluster.time: expected at most {MOST_MIN} minutes, got {cluster.time}")
    return -(-total_s // 60)


def request_of(trainer: TrainerConfig, num_workers: int | Literal["auto"], cluster: ClusterConfig) -> Request:
    """Cores and GPUs of a training's job; what `cluster` states wins.

    GPUs: `trainer.devices` with `accelerator=gpu`, and with `auto` where a node of the partition has any. Cores: one
    for the training and one for each loader process; `num_workers=auto` takes its share of a GPU node's cores, at most
    9.

    Raises:
        InputError: `accelerator=auto`, and SLURM does not say what the partition's nodes have.
    """
    gpus = cluster.gpus_per_node
    asks_nodes = trainer.accelerator != "cpu" and (
        (gpus is None and trainer.accelerator == "auto") or (cluster.cpus_per_task is None and num_workers == "auto")
    )
    nodes = nodes_of(cluster.partition) if asks_nodes else []
    if gpus is None:
        on_gpu = trainer.accelerator == "gpu" or any(node.gpus for node in nodes)
        gpus = trainer.devices if on_gpu and trainer.accelerator != "cpu" else None
    return Request(cluster.cpus_per_task or _cores(num_workers, nodes if gpus else []), gpus)


def _cores(num_workers: int | Literal["auto"], nodes: Sequence[Node]) -> int | None:
    """Cores of a process; None where nothing says how many: `auto` starts no loader process beside a CPU's training."""
    if num_workers != "auto":
        return 1 + num_workers
    shares = [node.cores // node.gpus for node in nodes if node.gpus]
    return max(1, min(1 + MOST_LOADERS, *shares)) if shares else None


def nodes_of(partition: str | None) -> list[Node]:
    """Ask SLURM for the nodes of a partition, by default of the cluster's default partition.

    Raises:
        InputError: `sinfo` is not there or does not answer.
    """
    words = ["sinfo", "--noheader", "--format=%P|%c|%G", *([f"--partition={partition}"] if partition else [])]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"trainer.accelerator=auto or data.num_workers=auto: sinfo does not say what the nodes have ({error}); "
            "expected --cluster.gpus_per_node=N (0 for none) and --cluster.cpus_per_task=N"
        ) from error
    return parse_nodes(done.stdout, default_alone=partition is None)


def parse_nodes(text: str, *, default_alone: bool = False) -> list[Node]:
    """Read sinfo's lines `partition|cores|generic resources`; the default partition's name ends in `*`.

    Of nodes that differ in cores sinfo gives the fewest, as `64+`.
    """
    rows = [line.strip().split("|") for line in text.splitlines() if line.strip()]
    return [
        Node(int(cores.rstrip("+")), sum(map(int, GPUS.findall(resources))))
        for name, cores, resources in rows
        if name.endswith("*") or not default_alone
    ]
