"""A cluster for a sweep's queue, whose jobs end as a test says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mammo_aln.runs.record import write_state
from mammo_aln.settings import ClusterConfig, Settings, TrainerConfig
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.slurm.queue import Queue

ON_CPU = replace(Settings(), trainer=TrainerConfig(accelerator="cpu"))


def planned(out: Path, names: str) -> Plan:
    """A sweep of one cell a letter, whose ids are the letter twelve times."""
    cells = [Cell(name * 12, {"config": f"net_{name}"}, {}, 0, None, ON_CPU) for name in names]
    return freeze(Plan(out, out / "cohort", None, "cohort", tuple(cells)))


class Cluster:
    """A cluster whose jobs end as a test says, one look after the other."""

    def __init__(self, state: Path, plan: Plan) -> None:
        self.state, self.plan, self.most = state, plan, 0
        self.jobs: dict[str, str] = {}

    def ends(self, job: str, word: str, code: str = "0:0", *, completed: str = "") -> None:
        """Take a job from the queue."""
        with (self.state / "ends").open("a") as stream:
            stream.write(f"JobId={job} JobState={word} Reason=None ExitCode={code}\n")
        for name in completed:
            (self.plan.runs / (name * 12)).mkdir(exist_ok=True)
            write_state(self.plan.runs / (name * 12), "completed")
        self.jobs.pop(job, None)
        self.show()

    def show(self) -> None:
        """Have squeue print the jobs."""
        (self.state / "queue").write_text("".join(f"{job}|{word}|None\n" for job, word in self.jobs.items()))

    def look(self, queue: Queue) -> None:
        """One look of the command, and what it submitted begins."""
        queue._work()
        self.jobs |= dict.fromkeys(queue._alive(), "RUNNING")
        self.most = max(self.most, len(self.jobs))
        self.show()


def at_work(
    programs: Path, out: Path, names: str, retries: int = 2, **cluster: Any
) -> tuple[Plan, Queue, Cluster, list[str]]:
    plan = planned(out, names)
    return plan, *command(programs, plan, retries, **cluster)


def command(programs: Path, plan: Plan, retries: int = 2, **cluster: Any) -> tuple[Queue, Cluster, list[str]]:
    """A command that takes up what a sweep has not completed."""
    completed: list[str] = []

    def changed(cell: Cell | None = None, **_: object) -> None:
        completed.extend([cell.run_id[0]] if cell else [])

    queue = Queue(plan, ClusterConfig(**cluster), retries, changed)
    queue._take_up(plan.cells)
    return queue, Cluster(programs, plan), completed


def left_alone(programs: Path, out: Path, names: str, **cluster: Any) -> tuple[Plan, Cluster]:
    """A sweep whose command submitted its jobs and was left."""
    plan, queue, slurm, _ = at_work(programs, out, names, **cluster)
    slurm.look(queue)
    return plan, slurm
