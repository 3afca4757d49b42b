"""Exceptions that mean something to the user: wrong input or setting (exit code 2), or start me again (75)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class InputError(Exception):
    """Wrong input or setting, told in plain words that say what to do."""


class CheckFailed(Exception):
    """A check found problems (exit code 1); the message lists them and says what to do."""


class Requeue(BaseException):
    """A signal asked the process to leave; what is done is saved, the same command goes on (exit code 75)."""


class UnreadableDicom(InputError):
    """A file that should hold a DICOM image and does not; the message names the file and the cause."""


@dataclass(frozen=True)
class BadCell:
    """One fault in a table: where, what stands there, what was expected; `row` counts as a spreadsheet (header = 1)."""

    file: str
    row: int | None
    column: str
    value: object
    expected: str

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file} row {self.row}"
        return f"{place}, {self.column} = {self.value!r}: expected {self.expected}"


def raise_bad_cells(cells: Sequence[BadCell]) -> None:
    """Raise one `InputError` that lists every fault; nothing happens where there is none."""
    if cells:
        count = f"{len(cells)} fault{'s' if len(cells) > 1 else ''} in the tables:"
        raise InputError("\n".join([count, *(f"  {cell}" for cell in cells)]))
