"""Records of SLURM jobs in OUT/slurm: which job a cell was given last, and whether that job's end is still to be told.

They outlive the command that submitted the job: a job may end while no command looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.files import make_folder, read_object, write_json, write_text

FOLDER = "slurm"


@dataclass(frozen=True)
class JobRecord:
    """Job that was submitted for a cell, or for the sweep.

    Attributes:
        job: its id, as squeue shows it.
        tries: failed tries of the cell when it was submitted: whatever is more, the job has recorded itself.
        settled: nothing more is to be understood from its end.
    """

    job: str
    tries: int = 0
    settled: bool = False


def record_job(out: Path, name: str, job: str, tries: int = 0, cell: str = "") -> JobRecord:
    """Keep the job that was submitted for a cell.

    Args:
        out: the sweep's folder.
        name: the cell's id, or a name of the sweep's own job.
        job: id of the job.
        tries: see `JobRecord`.
        cell: the cell's name, for whoever reads the file.
    """
    write_json(make_folder(out / FOLDER) / f"{name}.json", {"job": job, "cell": cell, "tries": tries})
    return JobRecord(job, tries)


def read_job(out: Path, name: str) -> JobRecord | None:
    """Read which job was submitted last; None where none was.

    A record of a version that did not keep `tries` is settled: its end was looked at, or nobody knows it any more.
    """
    path = out / FOLDER / f"{name}.json"
    if not path.is_file():
        return None
    plain = read_object(path, "job")
    job = str(plain["job"])
    return JobRecord(job, int(plain.get("tries", 0)), "tries" not in plain or _settled(out, name) == job)


def settle_jobs(out: Path, names: Iterable[str]) -> None:
    """Note that the ends of these cells' jobs are understood, or say nothing of the cells any more.

    It is a file of its own, which names the job: another command may submit a new one at this very moment.
    """
    for name in names:
        record = read_job(out, name)
        if record is not None and not record.settled:
            write_text(_marker(out, name), f"{record.job}\n")


def unsettle_job(out: Path, name: str) -> None:
    """Note that a cell's job trains it (again): how it ends is to be understood."""
    _marker(out, name).unlink(missing_ok=True)


def _settled(out: Path, name: str) -> str:
    file = _marker(out, name)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def _marker(out: Path, name: str) -> Path:
    return out / FOLDER / f"{name}.settled"
