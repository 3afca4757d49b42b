"""Completed cells that were computed otherwise than others, as far as last digits hang on it: threads, GPU, torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.files import read_object, stands
from mammo_aln.progress import counted
from mammo_aln.sweeps.plan import Cell, Plan, names_in_words


def arithmetics(plan: Plan, cells: Sequence[Cell]) -> dict[str, tuple[str, ...]]:
    """Read what computed some completed cells, by their ids; those whose runs do not tell are left out."""
    records = {cell.run_id: _recorded(plan.runs / cell.run_id) for cell in cells}
    return {run_id: words for run_id, words in records.items() if words}


def differences(plan: Plan, cells: Sequence[Cell]) -> str | None:
    """Say in a line which completed cells were computed otherwise than others, and how; None where none was."""
    computed = arithmetics(plan, cells)
    groups: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        if cell.run_id in computed:
            groups.setdefault(computed[cell.run_id], []).append(cell.name)
    if len(groups) < 2:
        return None
    common = set.intersection(*map(set, groups))
    each = [
        f"{', '.join(word for word in words if word not in common)}: {counted(len(names), 'cell')}"
        f" ({names_in_words(names)})"
        for words, names in groups.items()
    ]
    return (
        f"cells were computed otherwise than others, {'; '.join(each)}: the same trainings, but their figures differ as"
        " roundings add up (column arithmetic of cells.csv)"
    )


def column_of(computed: Mapping[str, tuple[str, ...]]) -> Mapping[str, str]:
    """Give what computed each cell as a table's column; nothing where all were computed alike."""
    alike = len(set(computed.values())) < 2
    return {} if alike else {run_id: "; ".join(words) for run_id, words in computed.items()}


def _recorded(run: Path) -> tuple[str, ...]:
    """Read a run's own record, without the size of its memory budget, which changes no digit."""
    record = run / "environment.json"
    try:
        words = read_object(record).get("arithmetic") if stands(record) else None
    except InputError:
        return ("environment.json cannot be read",)
    if not isinstance(words, list):
        return ()  # another version recorded none, or in another form
    return tuple(
        word.partition(" (")[2].removesuffix(")") if word.startswith("data.device_gb=") and " (" in word else word
        for word in map(str, words)
    )
