"""Settings of a SLURM job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from mammo_aln.settings.limits import FROM_0, FROM_1


@dataclass(frozen=True)
class ClusterConfig:
    """Resources that a job asks of SLURM; what is not given is the cluster's default.

    Args:
        partition: partition (queue).
        account: account that is charged.
        time_min: minutes until SLURM ends a job; a training is requeued then and goes on.
        mem_gb: memory of a node.
        cpus_per_task: cores of a process; where unset, a training asks for one and one for each of `data.num_workers`.
        gpus_per_node: GPUs of a node; 0 for none. Where unset, a training asks for `trainer.devices` with
            `trainer.accelerator=gpu`, and with `auto` where a node of the partition has GPUs.
        max_jobs: so many jobs of an array run at once.
        requeues: how often a job that ran into `time_min` is requeued; pre-emption does not count.
        extra: further sbatch options, e.g. `{constraint: a100}`.
    """

    partition: str | None = None
    account: str | None = None
    time_min: Annotated[int, FROM_1] = 1440
    mem_gb: Annotated[int | None, FROM_1] = None
    cpus_per_task: Annotated[int | None, FROM_1] = None
    gpus_per_node: Annotated[int | None, FROM_0] = None
    max_jobs: Annotated[int, FROM_1] = 64
    requeues: Annotated[int, FROM_0] = 20
    extra: dict[str, Any] = field(default_factory=dict)
