"""A sweep as Ray tasks, one a cell: `ray job submit -- python -m mammo_aln.sweeps.engines.ray_tasks FILE.ray.json`.

A task runs `mammo-aln sweep work` as a process of its own, so that signals, exit codes and threads are those of any
other engine. Exit code 75 sends the cell out again; wrong input does not; a task whose node is lost is Ray's to repeat.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mammo_aln.errors import ExitCode, InputError
from mammo_aln.files import read_object
from mammo_aln.machine.locks import VARIABLE
from mammo_aln.progress import Progress, say
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.engines.jobs import JobList, Resources, read_list

GB = 10**9


@dataclass(frozen=True)
class RayTask:
    """One cell: its list, its index there, and what it asks for."""

    file: Path
    index: int
    resources: Resources


def ray_file(lists: Sequence[JobList], *, retries: int, cluster: ClusterConfig) -> str:
    """Write what the tasks of some lists need: lists, resources, tasks at once, and how often each is repeated.

    Raises:
        InputError: `cluster.extra` is given.
    """
    if cluster.extra:
        raise InputError("cluster.extra: Ray's tasks take cores, GPUs and memory alone; leave it out")
    jobs = [{"file": str(jobs.file), "resources": asdict(jobs.resources)} for jobs in lists]
    at_once = {"max_jobs": cluster.max_jobs, "retries": retries, "lost": cluster.requeues}
    return json.dumps({"lists": jobs, **at_once}, indent=1) + "\n"


def read_tasks(file: Path) -> tuple[list[RayTask], Mapping[str, int]]:
    """Read a file of `ray_file`: its tasks, and the counts `max_jobs`, `retries` and `lost`.

    Raises:
        InputError: no such file, or another form.
    """
    try:
        plain = read_object(file)
        tasks = [
            RayTask(Path(jobs["file"]), index, Resources(**jobs["resources"]))
            for jobs in plain["lists"]
            for index in range(len(read_list(Path(jobs["file"]))[1]))
        ]
        return tasks, {name: int(plain[name]) for name in ("max_jobs", "retries", "lost")}
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file; expected one that `sweep write --engine ray` made") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{file}: expected a file that `sweep write --engine ray` of this version made") from error


def train_by_ray(file: Path) -> int:
    """Train the cells of a file on the Ray cluster at hand, or on a Ray of this machine; returns the exit code.

    Raises:
        InputError: no such file, or Ray is missing.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("tasks on Ray need it: pip install 'mammo-aln[ray]'") from error

    waiting, counts = read_tasks(file)
    tries = dict.fromkeys(waiting, 0)
    failed: list[RayTask] = []
    remote = ray.remote(max_retries=counts["lost"])(run_task)
    if not ray.is_initialized():
        ray.init(log_to_driver=True)
    require_gpus(waiting, int(ray.cluster_resources().get("GPU", 0)), cluster=bool(os.environ.get("RAY_ADDRESS")))
    progress = Progress(total=len(waiting), what=file.stem, unit="cell")
    running: dict[Any, RayTask] = {}
    while waiting or running:
        while waiting and len(running) < counts["max_jobs"]:
            task = waiting.pop(0)
            asked = task.resources
            memory = {} if asked.memory_gb is None else {"memory": asked.memory_gb * GB}
            running[
                remote.options(num_cpus=asked.cores, num_gpus=asked.gpus, **memory).remote(
                    str(task.file), task.index, asked.threads
                )
            ] = task
        (ended, *_), _ = ray.wait(list(running))
        task = running.pop(ended)
        try:
            code = ray.get(ended)
        except ray.exceptions.RayError as error:
            say(f"{task.file.stem} {task.index}: {type(error).__name__}: {str(error).splitlines()[0]}")
            code = ExitCode.PROBLEMS
        if code == ExitCode.AGAIN:
            waiting.append(task)
        elif code not in (ExitCode.DONE, ExitCode.WRONG_INPUT) and tries[task] < counts["retries"]:
            tries[task] += 1
            waiting.append(task)
        else:
            progress.advance(1)
            if code != ExitCode.DONE:
                failed.append(task)
    progress.end()
    for task in failed:
        say(
            f"FAILED {task.file} --index {task.index};"
            f" `mammo-aln sweep status --out {shlex.quote(str(task.file.parents[1]))}` says why"
        )
    return ExitCode.PROBLEMS if failed else ExitCode.DONE


def require_gpus(tasks: Sequence[RayTask], there: int, *, cluster: bool) -> None:
    """Refuse cells that would wait for GPUs for ever, or say that they wait.

    Args:
        tasks: cells.
        there: GPUs that Ray has now.
        cluster: nodes may join, with GPUs of their own; a Ray that was begun here stays as it is.

    Raises:
        InputError: more GPUs are asked for than there will be.
    """
    needed = max((task.resources.gpus for task in tasks), default=0)
    if needed <= there:
        return
    lacks = f"a cell asks for {needed} GPU{'s' * (needed > 1)}, and this Ray has {there}"
    if not cluster:
        raise InputError(
            f"{lacks}; expected a Ray with GPUs (RAY_ADDRESS), or a file written with --trainer.accelerator=cpu: "
            "in a job file, trainer.accelerator=auto is a GPU"
        )
    say(f"{lacks} now: such cells wait until a node with GPUs joins")


def run_task(file: str, index: int, threads: int) -> int:
    """Train one cell in a process that ends with this one; returns its exit code, negative for a signal."""
    import subprocess

    from mammo_aln.machine.signals import die_with_parent

    words = [sys.executable, "-m", "mammo_aln", "sweep", "work", file, "--index", str(index)]
    own = {VARIABLE: "lease", "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(
        words, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **own}, preexec_fn=die_with_parent
    ).returncode


def main(file: Path) -> int:
    """Train, with wrong input told in a line."""
    try:
        return train_by_ray(file)
    except InputError as error:
        say(str(error))
        return ExitCode.WRONG_INPUT


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
