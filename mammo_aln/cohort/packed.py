"""Tables in one file of our own, read back in one pass, equal to what was written: order, names, types, every cell.

The file begins with the SHA-256 of all that follows: a line of JSON (facts, and where each column stands), then the
columns' bytes. One that is cut off, damaged or of another form is none. Nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln.files import written_whole

PACKED_VERSION = 1
"""Raise this when the file's form changes."""

BETWEEN = "\0"
"""Stands between texts."""
FIRST_BYTE = 65
"""Of what the digest and its line's end stand before."""


@dataclass(frozen=True)
class Packed:
    """Tables, indexed from 0 on, and facts in plain JSON.

    Attributes:
        tables: by name; cells are numbers, or text and NaN.
        facts: lists, mappings, texts and numbers.
    """

    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any] = field(default_factory=dict)


class _Column(TypedDict, total=False):
    """Where a column stands: its numbers, or its texts, each once and by number where `codes` says."""

    name: str
    dtype: str
    numbers: list[int]
    texts: list[int]
    codes: list[int]


class _Table(TypedDict):
    rows: int
    names: str
    """Type of the column names."""
    columns: list[_Column]


def write_packed(path: Path, packed: Packed, *, most: int) -> bool:
    """Write a file, whole or not at all, and remove the oldest ones of its ending beside it.

    Args:
        path: of the file.
        packed: its content.
        most: files of this ending that the folder keeps.

    Returns:
        False, with nothing written, where the content would not be read back as it is.

    Raises:
        OSError, InputError: the folder cannot be written.
    """
    whole = _whole(packed)
    if whole is None or not _equal(packed, _read(whole)):
        return False
    # not durable: one that a power cut left empty has no digest
    with written_whole(path, durable=False) as unfinished:
        unfinished.write_bytes(whole)
    ages = []
    for other in path.parent.glob(f"*{path.suffix}"):
        with suppress(FileNotFoundError):  # another process has removed it
            ages.append((other.stat().st_mtime_ns, other))
    for _, old in sorted(ages)[:-most]:
        old.unlink(missing_ok=True)
    return True


def read_packed(path: Path) -> Packed | None:
    """Read a file; None where there is none, or no whole one of this form."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    if _digest(memoryview(whole)[FIRST_BYTE:]) != whole[:FIRST_BYTE]:
        return None
    return _read(whole)


def mark_used(path: Path) -> None:
    """Make a file the youngest of its folder, which keeps the youngest; in a read-only one it stays as it is."""
    with suppress(OSError):
        path.touch()


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n"


def _whole(packed: Packed) -> bytes | None:
    """Bytes of a file; None where a table holds what no file of this form can."""
    blocks = _Blocks()
    try:
        tables = {name: _described(table, blocks) for name, table in packed.tables.items()}
        header = {"version": PACKED_VERSION, "facts": packed.facts, "tables": tables}
        content = b"\n".join([json.dumps(header, separators=(",", ":")).encode(), b"".join(blocks.contents)])
    except (TypeError, ValueError):
        return None
    return _digest(content) + content


def _read(whole: bytes) -> Packed | None:
    end = whole.find(b"\n", FIRST_BYTE)
    try:
        header = json.loads(whole[FIRST_BYTE:end])
    except ValueError:
        return None
    if not isinstance(header, dict) or header.get("version") != PACKED_VERSION:
        return None
    texts = _Texts(whole, end + 1)
    return Packed({name: _table(table, texts) for name, table in header["tables"].items()}, header["facts"])


@dataclass
class _Blocks:
    """Blocks of bytes one after the other, equal ones once."""

    contents: list[bytes] = field(default_factory=list)
    first: dict[bytes, int] = field(default_factory=dict)
    length: int = 0

    def add(self, content: bytes) -> list[int]:
        """Append a block; its first byte and length."""
        if content not in self.first:
            self.first[content] = self.length
            self.contents.append(content)
            self.length += len(content)
        return [self.first[content], len(content)]


def _described(table: pd.DataFrame, blocks: _Blocks) -> _Table:
    if not table.columns.is_unique:
        raise ValueError("two columns of one name")
    columns: list[_Column] = []
    for name in table.columns:
        column = table[name]
        own: _Column = {"name": name, "dtype": str(column.dtype)}
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
            own["numbers"] = blocks.add(column.to_numpy().tobytes())
        else:
            codes, texts = pd.factorize(column)
            joined = BETWEEN.join(texts)
            if len(texts) and joined.count(BETWEEN) != len(texts) - 1:
                raise ValueError("a text holds the character that stands between texts")
            own["texts"] = [*blocks.add(joined.encode()), len(texts)]
            if len(texts) < len(column):  # else each row has its own, in order
                own["codes"] = blocks.add(codes.astype("<i4").tobytes())
        columns.append(own)
    return {"rows": len(table), "names": str(table.columns.dtype), "columns": columns}


@dataclass(frozen=True)
class _Texts:
    """Blocks of a file, texts of one block being split once."""

    whole: bytes
    begin: int
    split: dict[tuple[int, ...], NDArray[np.object_]] = field(default_factory=dict)

    def block(self, span: Sequence[int]) -> memoryview:
        """The bytes of a block."""
        first = self.begin + span[0]
        return memoryview(self.whole)[first : first + span[1]]

    def texts(self, span: Sequence[int]) -> NDArray[np.object_]:
        """The texts of a block: its first byte, length, and how many texts it holds."""
        key = tuple(span)
        if key not in self.split:
            texts = str(self.block(span), "utf-8").split(BETWEEN) if span[2] else []
            self.split[key] = np.array(texts, object)
        return self.split[key]


def _table(table: _Table, texts: _Texts) -> pd.DataFrame:
    cells: dict[str, pd.Series] = {}
    for column in table["columns"]:
        if "numbers" in column:
            values = np.frombuffer(texts.block(column["numbers"]), np.dtype(column["dtype"])).copy()
        else:
            values = texts.texts(column["texts"])
            if "codes" in column:
                codes = np.frombuffer(texts.block(column["codes"]), "<i4")
                values = np.append(values, np.nan)[codes]  # -1, a missing one, is the last
        cells[column["name"]] = pd.Series(values, dtype=column["dtype"])
    names = pd.Index(list(cells), dtype=table["names"])
    return pd.DataFrame(cells, index=range(table["rows"]), columns=names)


def _equal(one: Packed, other: Packed | None) -> bool:
    """True where all cells, types, names and facts are the same."""
    return (
        other is not None
        and json.dumps(one.facts) == json.dumps(other.facts)
        and list(one.tables) == list(other.tables)
        and all(_same(table, other.tables[name]) for name, table in one.tables.items())
    )


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return (
        one.equals(other)
        and one.columns.dtype == other.columns.dtype
        and list(one.dtypes) == list(other.dtypes)
        and all(_types(one[name]) == _types(other[name]) for name in one.columns)
    )


def _types(column: pd.Series) -> set[type]:
    return set(map(type, column.tolist())) if column.dtype == object else set()
