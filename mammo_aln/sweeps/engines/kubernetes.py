"""A sweep as Kubernetes Indexed Jobs: one index a cell.

A pod that ends with exit code 75 has saved its step, and one that a drained node takes along has too: the pod failure
policy ignores both, and another pod goes on from there without a try being counted. Exit code 2 (wrong input) ends its
index at once; everything else is tried again `backoffLimitPerIndex` times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mammo_aln.errors import ExitCode, InputError, did_you_mean
from mammo_aln.machine.locks import VARIABLE
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.engines.jobs import JobList, Resources

CONTAINER = "train"
SAVES_S = 120
"""Seconds that a pod gets between SIGTERM and SIGKILL."""
OWN_FIELDS = ("containers", "restartPolicy", "terminationGracePeriodSeconds", "volumes")
"""Fields of the pod that stand here; `cluster.extra` may give any other."""


def kubernetes_file(
    lists: Sequence[JobList], *, image: str, volumes: Mapping[Path, str], retries: int, cluster: ClusterConfig
) -> str:
    """Write the YAML of one Job a list.

    Args:
        lists: lists of cells.
        image: container image that holds this package.
        volumes: name of a PersistentVolumeClaim by the folder where it hangs; every pod mounts all of them.
        retries: how often a pod that failed is replaced.
        cluster: `max_jobs`, and `extra` as further fields of the pod's specification.

    Raises:
        InputError: `cluster.extra` has a field that is written here.
    """
    taken = sorted(set(OWN_FIELDS) & set(cluster.extra))
    if taken:
        raise InputError(
            f"cluster.extra: {taken[0]} is written by the sweep; expected further fields of a pod's specification, "
            "such as nodeSelector, tolerations or imagePullSecrets"
        )
    jobs = [_job(jobs, image, volumes, retries, cluster) for jobs in lists]
    return yaml.safe_dump_all(jobs, sort_keys=False)


def _job(
    jobs: JobList, image: str, volumes: Mapping[Path, str], retries: int, cluster: ClusterConfig
) -> Mapping[str, object]:
    names = {folder: f"disk-{number}" for number, folder in enumerate(volumes)}
    mounts = [{"name": names[folder], "mountPath": str(folder)} for folder in volumes]
    container = {
        "name": CONTAINER,
        "image": image,
        "command": ["mammo-aln", "sweep", "work", str(jobs.file), "--index", "$(JOB_COMPLETION_INDEX)"],
        "env": [
            {"name": VARIABLE, "value": "lease"},  # a claim's disk does not tell whether its locks bind all nodes
            {"name": "OMP_NUM_THREADS", "value": str(jobs.resources.threads)},
        ],
        "resources": _resources(jobs.resources),
        # Loader processes hand batches over in shared memory, of which a container has 64 MB by default.
        "volumeMounts": [*mounts, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    pod = {
        **cluster.extra,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": SAVES_S,
        "containers": [container],
        "volumes": [
            *({"name": names[at], "persistentVolumeClaim": {"claimName": claim}} for at, claim in volumes.items()),
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }
    labels = {"app.kubernetes.io/name": "mammo-aln", "app.kubernetes.io/instance": jobs.name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": jobs.name, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": len(jobs.run_ids),
            "parallelism": min(len(jobs.run_ids), cluster.max_jobs),
            "backoffLimitPerIndex": retries,
            "podFailurePolicy": {
                "rules": [
                    _on_exit("Ignore", ExitCode.AGAIN),
                    _on_exit("FailIndex", ExitCode.WRONG_INPUT),
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _on_exit(action: str, code: ExitCode) -> Mapping[str, object]:
    return {
        "action": action,
        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [int(code)]},
    }


def _resources(resources: Resources) -> Mapping[str, object]:
    asked: dict[str, Any] = {"cpu": str(resources.cores)}
    if resources.memory_gb is not None:
        asked["memory"] = f"{resources.memory_gb}G"
    limits = {key: value for key, value in asked.items() if key == "memory"}
    if resources.gpus:
        limits["nvidia.com/gpu"] = str(resources.gpus)
    return {"requests": asked, "limits": limits} if limits else {"requests": asked}


def read_volumes(given: Sequence[str], needed: Mapping[str, Path]) -> dict[Path, str]:
    """Read `NAME:/FOLDER` words.

    Args:
        given: the words.
        needed: folders that every process must see at the same path, by the flag that names each.

    Raises:
        InputError: a word of another form, a folder given twice, or a needed folder on none of the volumes.
    """
    volumes: dict[Path, str] = {}
    for word in given:
        name, colon, folder = word.partition(":")
        if not name or not colon or not folder.startswith("/"):
            raise InputError(f"--volumes {word}: expected NAME:/FOLDER, a volume and the folder where it hangs")
        if Path(folder) in volumes:
            raise InputError(f"--volumes {word}: {volumes[Path(folder)]} hangs there already")
        volumes[Path(folder)] = name
    for flag, path in needed.items():
        if not any(path.is_relative_to(folder) for folder in volumes):
            near = did_you_mean(str(path), [str(folder) for folder in volumes])
            raise InputError(
                f"{flag} {path}: on no volume of --volumes{near}; the job's processes must see it at this very path, "
                f"e.g. --volumes '[data:{path.parent}]'"
            )
    return volumes
