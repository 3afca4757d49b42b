"""The crop store: append-only segments with journals, keyed by content, memory-mapped, safe under kill -9.

`segments/ID.u16` holds crops back to back (uint16, little-endian), each with the surround that training moves it into;
`segments/ID.jsonl` holds one line per record. Each
writing process owns one pair that nobody else ever appends to, so any number may write at once. Pixels are on disk
before the line that names them is written, so a record stands if and only if its line is complete, its checksum agrees
and the pixels it names are all there.
"""

from __future__ import annotations

import json
import mmap
import os
import uuid
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.store.index import StoreIndex, segment_sizes
from mammo_aln.crops.store.records import (
    ContentRecord,
    CropRecord,
    ImageRecord,
    Record,
    RefusedContent,
    RefusedCrop,
    SampledRecord,
)
from mammo_aln.crops.window import surround_px
from mammo_aln.errors import InputError

_LINE_START = b'{"crc":"%08x","record":'
_LINE_START_LENGTH = len(_LINE_START % 0)
_LINE_END = b"}\n"
_BYTES_PER_PIXEL = 2
LEVELS = 65535
_LEVEL = np.float32(1) / np.float32(LEVELS)


def display_values(levels: NDArray[np.uint16], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Stored levels (0 to 65535) as float32 in [0, 1], in a new array or in `out`."""
    values = np.empty(levels.shape, np.float32) if out is None else out
    np.copyto(values, levels)
    values *= _LEVEL  # in place: a second fresh array would cost more; a product is five times as fast as a quotient
    return values


class _Entry(NamedTuple):
    """One record in the segments: its line, and where its pixels begin."""

    segment: int
    start: int
    stop: int
    offset: int
    side: int
    margin: int


class SegmentCut(InputError):
    """A file of pixels is shorter than its journal."""


class StoreUnwritable(InputError):
    """The store's disk is full or its folder cannot be written; no image is to blame."""


class CropStore:
    """Reader of a store, empty where nothing stands yet; sees what writers add after `refresh()`.

    It travels to loader processes as its path alone, or with its index where it was opened with one.

    Args:
        path: folder of the store.
        index: of records that are known to stand; the journals are read once another one is asked for.
    """

    def __init__(self, path: str | Path, index: StoreIndex | None = None) -> None:
        self.path = Path(path)
        self._segments: list[str] = []
        self._scanned: dict[str, int] = {}
        self._entries: dict[str, _Entry] = {}
        self._pixels: dict[int, NDArray[np.uint16]] = {}
        self._journals: dict[int, BinaryIO] = {}
        self._remembered: dict[str, ContentRecord] = {}
        self._index = index
        self._rows: dict[str, int] = {}
        if index is None:
            self.refresh()
        else:
            self._segments = list(index.segments)
            self._rows = dict(zip(index.keys, range(len(index.keys)), strict=True))

    def __reduce__(self) -> tuple[type[CropStore], tuple[Path, StoreIndex | None]]:
        return CropStore, (self.path, self._index)

    def index_of(self, keys: Iterable[str]) -> StoreIndex:
        """Where these records stand; `KeyError` for one that the store does not hold."""
        listed = tuple(dict.fromkeys(keys))
        rows = np.array([self._located(key) for key in listed], np.int64).reshape(len(listed), -1)
        return StoreIndex(tuple(self._segments), listed, rows, tuple(segment_sizes(self.path, self._segments)))

    def _located(self, key: str) -> _Entry:
        """Where a record stands, be it one that was added since the last look; `KeyError` where there is none."""
        if self._index is not None and key in self._rows:
            return _Entry._make(self._index.rows[self._rows[key]].tolist())
        if key not in self._entries:
            self.refresh()
        return self._entries[key]

    def refresh(self) -> None:
        """Take in all complete records that writers have added since the last look."""
        self._index, self._rows = None, {}
        folder = self.path / "segments"
        if not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            journals = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.name.endswith(".jsonl"))
        for name, size in journals:
            if size > self._scanned.get(name, 0):
                self._scan(folder / name)

    def _scan(self, journal: Path) -> None:
        name = journal.name
        if name not in self._scanned:
            self._scanned[name] = 0
            if journal.stem not in self._segments:
                self._segments.append(journal.stem)
        segment = self._segments.index(journal.stem)
        with journal.open("rb") as lines:
            lines.seek(self._scanned[name])
            added = lines.read()
        pixels = journal.with_suffix(".u16")
        available = pixels.stat().st_size // _BYTES_PER_PIXEL if pixels.exists() else 0
        start = 0
        while (end := added.find(b"\n", start) + 1) > 0:
            record = _checked(added[start:end])
            begin, stop = self._scanned[name] + start, self._scanned[name] + end
            start = end
            if record is None:
                continue
            offset, side, margin = (record.get(name, 0) for name in ("offset", "size_px", "surround_px"))
            if offset + (side + 2 * margin) ** 2 <= available:
                self._entries.setdefault(record["key"], _Entry(segment, begin, stop, offset, side, margin))
        self._scanned[name] += start

    def remember(self, record: ContentRecord) -> None:
        """Hold a record for as long as this reader lives, where the store itself cannot be written."""
        self._remembered.setdefault(record.key, record)

    @property
    def remembered(self) -> int:
        """Number of records that this reader alone holds."""
        return len(self._remembered)

    def __contains__(self, key: str) -> bool:
        if key in self._entries or key in self._rows or key in self._remembered:
            return True
        if self._index is not None:
            self.refresh()
        return key in self._entries

    def __len__(self) -> int:
        if self._index is not None:
            self.refresh()
        return len(self._entries)

    def read(self, key: str) -> NDArray[np.uint16]:
        """The crop (side, side), a read-only view of the memory-mapped file, chest wall on the left.

        Raises:
            KeyError: the store has no crop under this key.
        """
        block, margin = self.read_surround(key), self._located(key).margin
        return block[margin : len(block) - margin, margin : len(block) - margin]

    def read_surround(self, key: str) -> NDArray[np.uint16]:
        """The crop with what lies around it, (S', S') with S' = side + 2 * surround_px(side); a view as `read`'s.

        Raises:
            KeyError: the store has no crop under this key.
        """
        entry = self._located(key)
        if not entry.side:
            raise KeyError(key)
        side = entry.side + 2 * entry.margin
        pixels = self._pixels.get(entry.segment)
        if pixels is None or pixels.size < entry.offset + side * side:
            pixels = self._pixels[entry.segment] = self._mapped(entry.segment, entry.offset + side * side)
        return pixels[entry.offset : entry.offset + side * side].reshape(side, side)

    def read_values(self, key: str, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The crop as display values in [0, 1], float32 (side, side), in a new array or in `out`.

        Raises:
            KeyError: the store has no crop under this key.
        """
        return display_values(self.read(key), out)

    def content(self, key: str) -> ContentRecord:
        """The record of a file's content; `KeyError` where there is none."""
        if key in self._remembered and key not in self._entries and key not in self._rows:
            return self._remembered[key]
        return ContentRecord.from_json(self._entry(key))

    def sampled(self, key: str) -> SampledRecord:
        """The record of a file's content and samples; `KeyError` where there is none."""
        return SampledRecord.from_json(self._entry(key))

    def refused_content(self, key: str) -> RefusedContent:
        """The record of a content that is not decoded again; `KeyError` where there is none."""
        return RefusedContent.from_json(self._entry(key))

    def image(self, key: str) -> ImageRecord:
        """The record of an image; `KeyError` where there is none."""
        return ImageRecord.from_json(self._entry(key))

    def crop(self, key: str) -> CropRecord:
        """The record of a crop that was cut; `KeyError` where there is none."""
        return CropRecord.from_json(self._entry(key))

    def outcome(self, key: str) -> CropRecord | RefusedCrop:
        """The record of a crop, cut or refused; `KeyError` where there is none."""
        entry = self._entry(key)
        return RefusedCrop.from_json(entry) if entry["kind"] == "refused" else CropRecord.from_json(entry)

    def _entry(self, key: str) -> Any:
        """The journal's JSON under a key."""
        segment, start, stop = self._located(key)[:3]
        journal = self._journals.get(segment)
        if journal is None:
            journal = (self.path / "segments" / f"{self._segments[segment]}.jsonl").open("rb", buffering=0)
            self._journals[segment] = journal
        # Not mapped: the pages of all records ever looked at would count as this process's memory.
        line = os.pread(journal.fileno(), stop - start, start)
        return json.loads(line[_LINE_START_LENGTH : -len(_LINE_END)])

    def is_intact(self, key: str) -> bool:
        """True where the pixels of the crop and its surround still have the checksum that the journal recorded."""
        try:
            return zlib.crc32(self.read_surround(key).data) == self._entry(key)["pixels_crc"]
        except SegmentCut:
            return False

    def crops_in(self, segment: str) -> list[str]:
        """List the keys of the crops whose pixels stand in a segment."""
        return [key for key, entry in self._entries.items() if entry.side and self._segments[entry.segment] == segment]

    def _mapped(self, segment: int, needed: int) -> NDArray[np.uint16]:
        path = self.path / "segments" / f"{self._segments[segment]}.u16"
        try:
            with path.open("rb") as pixels:
                whole = os.fstat(pixels.fileno()).st_size // _BYTES_PER_PIXEL  # a killed writer may leave half a pixel
                if whole >= needed:
                    # A plain array over the map: slicing np.memmap costs more than converting the crop.
                    mapped = mmap.mmap(pixels.fileno(), 0, access=mmap.ACCESS_READ)
                    return np.frombuffer(mapped, dtype="<u2", count=whole)
        except FileNotFoundError:
            whole = 0
        raise SegmentCut(
            f"{path}: {whole:,} pixels, and its journal tells of {needed:,}: it was cut or replaced while it was read;"
            " bring it back, or remove the folder of the store: the same command cuts its crops anew"
        )


def _checked(line: bytes) -> Any:
    """The entry on a journal's line, or None where the line is torn."""
    body = line[_LINE_START_LENGTH : -len(_LINE_END)]
    if not line.endswith(_LINE_END) or line[:_LINE_START_LENGTH] != _LINE_START % zlib.crc32(body):
        return None
    return json.loads(body)


def _line(entry: Any) -> bytes:
    body = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return _LINE_START % zlib.crc32(body) + body + _LINE_END


class SegmentWriter:
    """Appends to one segment of its own, made at the first write. Use one per process."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._pixels: BinaryIO | None = None
        self._journal: BinaryIO | None = None
        self._offset = 0

    def append(self, records: Iterable[Record], crops: Iterable[tuple[CropRecord, NDArray[np.uint16]]] = ()) -> None:
        """Write crops and records; all of them exist after this call, and none whose line is not complete.

        Args:
            records: without pixels.
            crops: records with pixels (S', S'), see `CropStore.read_surround`.

        Raises:
            ValueError: pixels of another side than the record's crop has with its surround.
            StoreUnwritable: the disk is full or the folder cannot be written.
        """
        try:
            self._append(records, crops)
        except OSError as error:
            self.close()
            raise StoreUnwritable(
                f"{self.path}: the crop store cannot be written ({error.strerror}): make it writable, with space, or "
                "give another folder with --store"
            ) from error

    def _append(self, records: Iterable[Record], crops: Iterable[tuple[CropRecord, NDArray[np.uint16]]]) -> None:
        if self._pixels is None or self._journal is None:
            folder = self.path / "segments"
            folder.mkdir(parents=True, exist_ok=True)
            name = uuid.uuid4().hex
            self._pixels = (folder / f"{name}.u16").open("xb")
            self._journal = (folder / f"{name}.jsonl").open("xb", buffering=0)
            self._offset = 0
        lines = [_line(record.to_json()) for record in records]
        wrote = False
        for record, crop in crops:
            stored, margin = np.ascontiguousarray(crop, dtype="<u2"), surround_px(record.size_px)
            if stored.shape != (record.size_px + 2 * margin,) * 2:
                raise ValueError(f"{stored.shape} pixels for a crop of {record.size_px} and {margin} around it")
            self._pixels.write(stored.data.cast("B"))
            pixels = {"offset": self._offset, "surround_px": margin, "pixels_crc": zlib.crc32(stored.data)}
            lines.append(_line({**record.to_json(), **pixels}))
            self._offset += stored.size
            wrote = True
        if wrote:
            self._pixels.flush()
            # The journal must never reach the disk before the pixels it vouches for, not even in a power cut.
            os.fdatasync(self._pixels.fileno())
        text = memoryview(b"".join(lines))
        while text:
            text = text[self._journal.write(text) :]

    def close(self) -> None:
        """End this segment; a later `append` begins another."""
        for file in (self._pixels, self._journal):
            if file is not None:
                file.close()
        self._pixels = self._journal = None
