"""Exit codes, and the exceptions that mean something to the user: wrong input or setting, or start me again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `mammo-aln` and of the processes that a sweep starts."""

    DONE = 0
    PROBLEMS = 1  # a check found some, a cell of a sweep failed, memory did not suffice, or a fault of our own
    WRONG_INPUT = 2
    HELD = 3  # of a sweep's process: another one trains the run
    AGAIN = 75  # EX_TEMPFAIL: a scheduler's signal stopped a training, which goes on when it is started again
    INTERRUPTED = 130  # Ctrl-C


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`; did you mean NAME?` for the name that is most like a word, or nothing where none is."""
    likely = get_close_matches(word, list(names), n=1)
    return f"; did you mean {likely[0]}?" if likely else ""


LONGEST_SHOWN = 200
"""So many characters of a value stand in a message."""


def shortened(value: object, most: int = LONGEST_SHOWN, *, plain: bool = False) -> str:
    """Show a value in a message, at most so many characters of it: as Python writes it, or `plain` without quotes."""
    # of a long text the first characters alone: its whole representation may take as much memory again
    text = value[: most + 1] if isinstance(value, str) else str(value) if plain else repr(value)
    text = repr(text) if isinstance(value, str) and not (plain and text.isprintable()) else text
    return text if len(text) <= most else f"{text[: most - 3]}..."


class InputError(Exception):
    """Wrong input or setting, told in plain words that say what to do.

    Attributes:
        on_all_ranks: every rank of a training raises it alike, so that the first one speaks for all.
    """

    on_all_ranks = False


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
        table = self.file if self.row is None else f"{self.file} row {self.row}"
        return f"{table}, {shortened(self.column, plain=True)} = {shortened(self.value)}: expected {self.expected}"


EMPTY_CELL = "; the cell is empty"
"""Ends what is expected of a cell that must not be empty."""

LIKE_FAULTS = 4
"""From so many on, faults of one file, column and kind share a line."""

VALUES_SHOWN = 20
MOST_FAULTS = 500
"""So many lines of faults stand in a message; further ones are counted."""
LONGEST_MESSAGE = 50_000


def message_text(error: object, most: int = LONGEST_MESSAGE) -> str:
    """Give a message for a terminal: its middle left out where it is long, and no character that steers the terminal.

    What is wrong and what to type stand at its ends.
    """
    text = str(error)
    if len(text) > most:
        left_out = f"\n... ({len(text) - most} characters left out) ...\n"
        text = text[: most // 2] + left_out + text[len(text) - most // 2 :]
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def fault_lines(cells: Sequence[BadCell]) -> list[str]:
    """Faults in words, in order, one line each; many like ones share the line of the first, and many lines are cut."""
    kinds: dict[tuple[str, str, str], list[BadCell]] = {}
    for cell in cells:
        kinds.setdefault((cell.file, cell.column, cell.expected), []).append(cell)
    apart = {kind for kind, like in kinds.items() if len(like) < LIKE_FAULTS or any(cell.row is None for cell in like)}
    lines: list[str] = []
    for number, cell in enumerate(cells):
        if len(lines) == MOST_FAULTS:
            return [*lines, f"... and up to {len(cells) - number} further faults; mend these first"]
        kind = (cell.file, cell.column, cell.expected)
        like = kinds[kind]
        if kind in apart:
            lines.append(str(cell))
        elif cell is like[0]:
            lines.append(_shared_line(like))
    return lines


def _shared_line(like: Sequence[BadCell]) -> str:
    first = like[0]
    rows = f"{len(like)} rows ({_ranges([cell.row or 0 for cell in like])})"
    if all(cell.value == first.value for cell in like):
        state = "is empty" if first.value == "" else f"= {shortened(first.value)}"
        return f"{first.file}: {first.column} {state} in {rows}: expected {first.expected.removesuffix(EMPTY_CELL)}"
    values = ", ".join(f"row {cell.row} = {shortened(cell.value)}" for cell in like[:VALUES_SHOWN])
    more = ", ..." if len(like) > VALUES_SHOWN else ""
    return f"{first.file}: {first.column} in {rows}: expected {first.expected}; {values}{more}"


def _ranges(rows: Sequence[int]) -> str:
    """`2-58, 60`."""
    ends: list[list[int]] = []
    for row in sorted(set(rows)):
        if ends and row == ends[-1][1] + 1:
            ends[-1][1] = row
        else:
            ends.append([row, row])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ends[:VALUES_SHOWN]]
    return ", ".join(shown) + (", ..." if len(ends) > VALUES_SHOWN else "")


def raise_bad_cells(cells: Sequence[BadCell]) -> None:
    """Raise one `InputError` that lists every fault; nothing happens where there is none."""
    if cells:
        count = f"{len(cells)} fault{'s' if len(cells) > 1 else ''} in the tables:"
        raise InputError("\n".join([count, *(f"  {line}" for line in fault_lines(cells))]))
