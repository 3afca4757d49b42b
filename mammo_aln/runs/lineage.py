"""`lineage.json` of a run: the data sets and weights that it descends from. It does not enter the run's id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mammo_aln.cohort.lineage import UNRECORDED_RUN, Source
from mammo_aln.errors import InputError
from mammo_aln.files import read_json, write_json

LINEAGE_FILE = "lineage.json"


def write_lineage(run: Path, sources: Sequence[Source]) -> None:
    """Write the file, whole or not at all."""
    write_json(run / LINEAGE_FILE, [source.to_state() for source in sources])


def read_lineage(run: Path) -> tuple[Source, ...]:
    """Read the file; a run that has none is older than the record, and says so.

    Raises:
        InputError: the file is damaged.
    """
    path = run / LINEAGE_FILE
    if not path.is_file():
        return (UNRECORDED_RUN,)
    try:
        return tuple(map(Source.from_state, read_json(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected the file that the run wrote") from error
