"""Test reports of a sweep, as its pages lead to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.files import read_object
from mammo_aln.sweeps.sealed import OPENED, report_folders


@dataclass(frozen=True)
class OpenedReport:
    """A report on the test splits.

    Attributes:
        address: of its page, relative to the sweep's folder.
        time: when it was written, UTC.
        models: file names of what it judges.
        model_ids: their ids.
    """

    address: str
    time: str
    models: tuple[str, ...]
    model_ids: tuple[str, ...]


def reports_of(out: Path) -> list[OpenedReport]:
    """List a sweep's test reports, oldest first.

    Raises:
        InputError: the record of one cannot be read.
    """
    reports = []
    for folder in report_folders(out):
        path = folder / OPENED
        if not path.is_file():
            continue  # a command was killed before its report, or an earlier version wrote it
        try:
            about = read_object(path)
            models, page, time = about["models"], str(about["page"]), str(about["time"])
            reports.append(OpenedReport(f"{folder.name}/{page}", time, tuple(models), tuple(map(str, models.values()))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: cannot be read as the record of a test report ({type(error).__name__}: {error})"
            ) from error
    return reports
