"""Jobs of a sweep for any engine: lists of cells that ask for the same resources, in OUT/jobs."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.files import write_text
from mammo_aln.machine.cores import MOST_LOADERS
from mammo_aln.settings import ClusterConfig, Settings
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.plan_file import read_plan

FOLDER = "jobs"


@dataclass(frozen=True)
class Resources:
    """Resources that one cell asks of a node.

    Attributes:
        cores: CPU cores of all its processes.
        threads: threads that each of its processes computes with.
        gpus: GPUs.
        memory_gb: memory in GB; None for the engine's default.
    """

    cores: int
    threads: int
    gpus: int
    memory_gb: int | None

    @classmethod
    def of(cls, settings: Settings, cluster: ClusterConfig) -> Resources:
        """Read them from a cell's settings, unless `cluster` says so."""
        devices = settings.trainer.devices
        gpus = 0 if settings.trainer.accelerator == "cpu" else devices
        loaders = settings.data.num_workers
        if loaders == "auto":
            loaders = MOST_LOADERS if gpus else 0
        cores = cluster.cpus_per_task or loaders + 1
        if cluster.gpus_per_node is not None:
            gpus = cluster.gpus_per_node
        return cls(cores * devices, max(1, cores - loaders), gpus, cluster.mem_gb)


@dataclass(frozen=True)
class JobList:
    """Cells that one job file trains.

    Attributes:
        name: of the job, and of its files; fit for a DNS label.
        file: list of the cells' ids, one a line, in OUT/jobs.
        run_ids: the ids.
        resources: what each cell asks for.
    """

    name: str
    file: Path
    run_ids: tuple[str, ...]
    resources: Resources


def job_lists(plan: Plan, cells: Sequence[Cell], cluster: ClusterConfig) -> Iterator[JobList]:
    """Group cells by the resources that they ask for.

    Raises:
        InputError: a cell trains on several nodes.
    """
    groups: dict[Resources, list[str]] = defaultdict(list)
    for cell in cells:
        if cell.settings.trainer.num_nodes > 1:
            raise InputError(
                f"{cell.name}: trainer.num_nodes={cell.settings.trainer.num_nodes}: a job file trains each cell on one "
                "node; use --executor slurm, or trainer.num_nodes=1"
            )
        groups[Resources.of(cell.settings, cluster)].append(cell.run_id)
    for resources, run_ids in groups.items():
        digest = hashlib.sha256("\n".join([str(plan.out), repr(resources), *run_ids]).encode()).hexdigest()[:8]
        words = re.sub(r"[^a-z0-9]+", "-", plan.out.name.lower()).strip("-")[:24].strip("-")
        name = "-".join(filter(None, ("aln", words, digest)))
        yield JobList(name, plan.out / FOLDER / f"{name}.cells", tuple(run_ids), resources)


def write_list(jobs: JobList) -> None:
    """Write the list of a job's cells."""
    write_text(jobs.file, "".join(f"{run_id}\n" for run_id in jobs.run_ids))


def read_list(file: Path) -> tuple[Plan, list[Cell]]:
    """Read the cells of a list, and their plan, which stands in the folder above.

    Raises:
        InputError: no such file, or a cell that the plan does not hold.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected a list of cells that `mammo-aln sweep write` made")
    plan = read_plan(file.absolute().parent.parent)
    cells = {cell.run_id: cell for cell in (*plan.cells, *plan.dropped)}
    run_ids = file.read_text(encoding="utf-8").split()
    missing = [run_id for run_id in run_ids if run_id not in cells]
    if missing:
        raise InputError(
            f"{file}: {len(missing)} of {len(run_ids)} cells left the plan meanwhile ({missing[0]}); "
            "write the job file anew by `mammo-aln sweep write`"
        )
    return plan, [cells[run_id] for run_id in run_ids]
