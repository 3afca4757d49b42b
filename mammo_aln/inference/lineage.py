"""Lineage of anything that the program reads or writes: a cohort, a run, a folder of runs, weights, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mammo_aln.cohort.declaration import DECLARATION_FILE, read_declaration
from mammo_aln.cohort.lineage import (
    UNRECORDED_RUN,
    Road,
    Source,
    joined,
    lineage_lines,
    road_warnings,
    stated_or_not,
)
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import read_object
from mammo_aln.model.lineage import recorded_lineage
from mammo_aln.model.origin import recorded_sources
from mammo_aln.runs.lineage import read_lineage
from mammo_aln.runs.listing import listed_runs
from mammo_aln.runs.names import run_path

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth")
PREDICTIONS = (".csv", ".json")
EXPECTED = "expected a cohort, a run, a folder of runs, a weights file or predictions"


def lineage_of(path: Path) -> tuple[Source, ...]:
    """Find the data sets and weights that something descends from.

    Args:
        path: cohort folder, run directory, folder of runs or of a sweep (all its runs), weights (safetensors or a
            checkpoint), or a predictions file (CSV, or the JSON beside it).

    Raises:
        InputError: it is none of these, or it cannot be read.
    """
    path = run_path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; {EXPECTED}")
    if path.is_file():
        return _of_file(path)
    if (path / "state.json").is_file():
        return read_lineage(path)
    if (path / DECLARATION_FILE).is_file() or (path / "patients.csv").is_file():
        faults: list[BadCell] = []
        declared = read_declaration(path, faults)
        raise_bad_cells(faults)
        return stated_or_not(declared.sources)
    runs = [Path(run.folder) for run in listed_runs(path)]
    if not runs:
        raise InputError(f"{path}: neither cohort.yaml, state.json nor a folder of runs in it; {EXPECTED}")
    return joined(*map(read_lineage, runs))


def _of_file(path: Path) -> tuple[Source, ...]:
    if path.suffix in WEIGHTS:
        recorded = recorded_lineage(path)
        return (UNRECORDED_RUN,) if recorded is None else recorded
    facts = path.with_suffix(".json")
    if path.suffix not in PREDICTIONS or not facts.is_file():
        raise InputError(f"{path}: {EXPECTED}")
    try:
        recorded = recorded_sources(read_object(facts).get("lineage"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{facts}: cannot be read as the facts beside predictions ({error})") from error
    return (UNRECORDED_RUN,) if recorded is None else recorded


def lineage_report(paths: Sequence[Path]) -> str:
    """The lineage of one path, or of several together (an ensemble), in words; what forbids passing on comes last."""
    sources = joined(*map(lineage_of, paths))
    roads: tuple[Road, ...] = ("weights", "crops")
    warnings = [f"{road}: {line}" for road in roads for line in road_warnings(sources, road)]
    return "\n".join([*lineage_lines(sources), *(["", "before you pass on", *warnings] if warnings else [])])
