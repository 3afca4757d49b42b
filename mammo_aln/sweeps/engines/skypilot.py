"""A sweep as SkyPilot managed jobs: each takes whichever cell is free, so that any number of them share the list."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import yaml

from mammo_aln.errors import ExitCode, InputError
from mammo_aln.machine.locks import VARIABLE
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.engines.jobs import JobList

OWN_FIELDS = ("cpus", "memory", "image_id", "job_recovery")
"""Fields of `resources` that stand here; `cluster.extra` may give any other."""


def skypilot_file(
    jobs: JobList, *, image: str, volumes: Mapping[Path, str], retries: int, cluster: ClusterConfig
) -> str:
    """Write the YAML of the managed job of one list.

    Args:
        jobs: the list of cells.
        image: container image that holds this package.
        volumes: name of a SkyPilot volume by the folder where it hangs.
        retries: how often a cell that failed is tried again.
        cluster: `extra` as further fields of `resources`; `accelerators` names the GPU.

    Raises:
        InputError: GPUs are needed and none is named, or `cluster.extra` has a field that is written here.
    """
    extra = dict(cluster.extra)
    taken = sorted(set(OWN_FIELDS) & set(extra))
    if taken:
        raise InputError(
            f"cluster.extra: {taken[0]} is written by the sweep; expected further fields of SkyPilot's resources, "
            "such as accelerators, infra or use_spot"
        )
    gpu = extra.pop("accelerators", None)
    if jobs.resources.gpus:
        if not isinstance(gpu, str) or ":" in gpu:
            raise InputError(
                f"cluster.extra: accelerators={gpu}: expected the GPU's name as SkyPilot knows it, without a number, "
                "e.g. --cluster.extra='{accelerators: H100}' (`sky gpus list` lists them), or trainer.accelerator=cpu"
            )
        extra["accelerators"] = f"{gpu}:{jobs.resources.gpus}"
    memory = {} if jobs.resources.memory_gb is None else {"memory": f"{jobs.resources.memory_gb}+"}
    task = {
        "name": jobs.name,
        "resources": {
            "cpus": f"{jobs.resources.cores}+",
            **memory,
            "image_id": f"docker:{image}",
            **extra,
            "job_recovery": {"max_restarts_on_errors": 0, "recover_on_exit_codes": [int(ExitCode.AGAIN)]},
        },
        "envs": {VARIABLE: "lease", "OMP_NUM_THREADS": str(jobs.resources.threads)},
        **({"volumes": {str(folder): name for folder, name in volumes.items()}} if volumes else {}),
        "run": f"exec mammo-aln sweep work {shlex.quote(str(jobs.file))} --retries {retries}\n",
    }
    return yaml.safe_dump(task, sort_keys=False)


def launch_command(file: Path, jobs: JobList, cluster: ClusterConfig) -> str:
    """Say what to type to start as many managed jobs as cells may train at once."""
    count = min(len(jobs.run_ids), cluster.max_jobs)
    launch = f"sky jobs launch --yes --detach-run --name {jobs.name}-$n {shlex.quote(str(file))}"
    return f"for n in $(seq {count}); do {launch}; done"
