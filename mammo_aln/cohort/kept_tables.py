"""A cohort's tables as they were read and judged once, kept beside its crops: the next start parses no cell.

What was kept holds for the very bytes of `cohort.yaml` and all tables, for the code that read them and the versions of
the packages below it: its name is a digest of these. Only what had no fault is kept, and only what said nothing while
it was read but the codes for missing values, which are kept with it and said again. Remarks about patients
(columns that cohort.yaml does not declare, reasons of exclusion) stay in the cohort's own tables: one that holds any is
left out of what is kept, and read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.declaration import DECLARATION_FILE, Declaration
from mammo_aln.cohort.judged import EXAM_COLUMNS, IMAGE_COLUMNS, NO_REASON, reread
from mammo_aln.cohort.listing.image_rows import COLUMNS
from mammo_aln.cohort.packed import Packed, mark_used, read_packed, write_packed
from mammo_aln.cohort.values.columns import known_columns
from mammo_aln.errors import InputError
from mammo_aln.files import irregular, stands
from mammo_aln.machine.code import code_digest
from mammo_aln.progress import say
from mammo_aln.spreadsheet.workbook import WORKBOOKS

KEPT_TABLES_VERSION = 2
"""Raise this when other tables or facts are kept."""

FOLDER = "frozen"
SUFFIX = ".tables"
MOST_KEPT = 8
TABLES = ("patients", "images", "regions", "volumes")
ROOMS = ("cohort", "dicom", "settings", "spreadsheet")
MADE = ("unit_id", "aln_status", "eligible", "exclusion_reason", "side", "center", "patient_id")
"""Columns that reading makes or fills, whether or not the file has them."""


@dataclass(frozen=True)
class KeptTables:
    """The file that keeps a cohort's tables.

    Attributes:
        path: of the file.
        root: the cohort folder.
        reading: how the tables are read.
        sources: SHA-256 of each file that they are read from, by name.
    """

    path: Path
    root: Path
    reading: Mapping[str, object]
    sources: Mapping[str, str]

    @classmethod
    def of(cls, root: Path, store: Path, need: Collection[str], outcome: bool) -> KeptTables | None:
        """Look at a cohort's files as they stand now; None where a start has nothing to read back.

        Args:
            root: the cohort folder.
            store: folder of the crop store; nothing is kept where there is none yet.
            need: tables that must stand.
            outcome: the outcome's column must stand.
        """
        if not store.is_dir():
            return None
        sources = _sources(root)
        if sources is None:
            return None
        reading = {"need": sorted(need), "outcome": outcome}
        made_from = {"form": KEPT_TABLES_VERSION, "code": code_digest(ROOMS), "sources": sources, **reading}
        name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
        return cls(store / FOLDER / f"{name}{SUFFIX}", root, reading, sources)

    @property
    def holds(self) -> bool:
        """True where the files are still those that were looked at."""
        return _sources(self.root) == self.sources

    def read(self) -> Packed | None:
        """Read what is kept; None where there is nothing."""
        packed = read_packed(self.path)
        if packed is not None:
            mark_used(self.path)
        return packed

    def keep(self, packed: Packed) -> None:
        """Keep tables, unless a file has changed while they were read."""
        if not self.holds:
            return
        try:
            write_packed(self.path, packed, most=MOST_KEPT)
        except (OSError, InputError) as error:  # a finished store may be shared read-only
            say(f"the cohort's tables are not kept, the next start reads them again ({error})")


def _sources(root: Path) -> dict[str, str] | None:
    """SHA-256 of cohort.yaml and of each table; None where one is a workbook, unreadable, or no UTF-8.

    Reading such a table may say something, which each start has to say.
    """
    digests = {}
    try:
        for name in (DECLARATION_FILE, *(f"{table}.csv" for table in TABLES)):
            if stands(root / name):
                if irregular((root / name).stat()):
                    return None
                content = (root / name).read_bytes()
                content.decode("utf-8")
                digests[name] = hashlib.sha256(content).hexdigest()
        workbooks = [root / f"{table}{ending}" for table in TABLES for ending in WORKBOOKS]
        return None if any(workbook.exists() for workbook in workbooks) else digests
    except (OSError, UnicodeDecodeError):
        return None


def without_remarks(packed: Packed, declared: Declaration) -> Packed:
    """Leave out patients and images whose tables hold remarks: undeclared columns, or why somebody is excluded."""
    known = {"patients": {*known_columns(declared), *MADE}, "images": {*IMAGE_COLUMNS, *EXAM_COLUMNS, *COLUMNS}}
    left_out = {name for name, columns in known.items() if _has_remarks(packed.tables[name], columns)}
    return replace(packed, tables={name: table for name, table in packed.tables.items() if name not in left_out})


def _has_remarks(table: pd.DataFrame, known: Collection[str]) -> bool:
    stated = table["exclusion_reason"].dropna() if "exclusion_reason" in table else pd.Series(dtype=object)
    return not set(known).issuperset(table.columns) or not stated.isin(["", NO_REASON]).all()


def with_remarks(root: Path, packed: Packed, declared: Declaration, outcome: bool) -> Packed | None:
    """Put tables back that were left out, as their files hold them; None where one can no longer be read."""
    tables = dict(packed.tables)
    for name in ("patients", "images"):
        table = tables[name] if name in tables else reread(root, name, declared, outcome)
        if table is None:
            return None
        tables[name] = table
    return replace(packed, tables=tables)
