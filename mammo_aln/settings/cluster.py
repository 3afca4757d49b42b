"""Settings of a SLURM job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from mammo_aln.settings.limits import JOBS, PROCESSES, RETRIES, within


@dataclass(frozen=True)
class ClusterConfig:
    """Resources that a job asks of SLURM; what is not given is the cluster's default.

    Args:
        partition: partition (queue).
        account: account that is charged.
        time_min: minutes until SLURM ends a job; a training is requeued then and goes on.
        time: the same as SLURM writes it, in place of `time_min`: `HH:MM:SS` or `D-HH:MM:SS`; seconds are rounded up.
        mem_gb: memory of a node.
        cpus_per_task: cores of a process; where unset, a training asks for one and one for each of `data.num_workers`.
        gpus_per_node: GPUs of a node; 0 for none. Where unset, a training asks for `trainer.devices` with
            `trainer.accelerator=gpu`, and with `auto` where a node of the partition has GPUs.
        where: other values of these settings for some jobs: `{model.backbone=swinv2_*: {partition: a100, mem_gb: 64}}`
            for cells with that setting (`*` stands for any letters; later ones win), `pretrain` for the pre-training,
            `plan` for the job of `--plan_on_node`.
        max_jobs: so many jobs of a sweep are in SLURM's queue at once, over all its arrays; the command submits others
            as they end.
        cells_per_job: cells that one job trains one after the other, where they are short.
        requeues: how often a job that ran into its time limit is requeued; pre-emption does not count.
        signal_lead_s: so long before its time limit a job is warned, to save its step; it may be a minute more.
        poll_s: seconds between two looks at SLURM's queue.
        job_name: name of a sweep's jobs.
        setup: lines of the job's script before its command: `[module load cuda, source ~/env/bin/activate]`.
        python: command that starts Python on the node, by default this very Python:
            `apptainer exec --nv --bind /data /images/mammo_aln.sif python`.
        environment: variables of a job.
        srun_args: further words for `srun`.
        wckey: workload characterisation key; unset sends none.
        extra: further sbatch options, e.g. `{constraint: a100}`.
    """

    partition: str | None = None
    account: str | None = None
    time_min: Annotated[int, within(1, 1_000_000)] = 1440
    time: str | None = None
    mem_gb: Annotated[int | None, within(1, 100_000)] = None
    cpus_per_task: Annotated[int | None, PROCESSES] = None
    gpus_per_node: Annotated[int | None, within(0, 1024)] = None
    where: dict[str, dict[str, Any]] = field(default_factory=dict)
    max_jobs: Annotated[int, JOBS] = 64
    cells_per_job: Annotated[int, JOBS] = 1
    requeues: Annotated[int, RETRIES] = 20
    signal_lead_s: Annotated[int, within(1, 86_400)] = 90
    poll_s: Annotated[float, within(0.01, 86_400)] = 5.0
    job_name: str = "mammo-aln-sweep"
    setup: tuple[str, ...] = ()
    python: str | None = None
    environment: dict[str, str | int | float] = field(default_factory=dict)
    srun_args: tuple[str, ...] = ()
    wckey: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
