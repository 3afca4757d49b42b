"""Runs that W&B wrote offline, read back from its own record files."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7
WHOLE, LAST = 1, 4


@dataclass(frozen=True)
class OfflineRun:
    """What `wandb sync` would upload of a run.

    Attributes:
        id: the run's.
        record: its record: display_name, run_group, job_type, tags, host ...
        config: by key.
        history: rows in their order, by key.
        summary: its numbers, as sent.
        raw: bytes of the file.
    """

    id: str
    record: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    raw: bytes


def offline_runs(run: Path) -> list[OfflineRun]:
    """Read the offline runs of a run directory, one a folder; W&B's service may be writing the last one still."""
    runs = [_read(file) for file in sorted((run / "wandb").glob("*run-*/*.wandb"))]
    for _ in range(100):
        if all(each is not None for each in runs):
            break
        time.sleep(0.1)
        runs = [_read(file) for file in sorted((run / "wandb").glob("*run-*/*.wandb"))]
    assert None not in runs, "a run without its last record"
    return [each for each in runs if each is not None]


def _read(file: Path) -> OfflineRun | None:
    from wandb.proto import wandb_internal_pb2 as records

    run, config, history, summary, ended = None, {}, [], {}, False
    for chunk in _chunks(file.read_bytes()):
        record = records.Record()
        record.ParseFromString(chunk)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            history.append(_items(record.history.item))
        elif kind == "summary":
            summary |= _items(record.summary.update)
        ended = ended or kind == "exit"
    if run is None or not ended:
        return None
    return OfflineRun(run.run_id, run, config, history, summary, file.read_bytes())


def _items(items: Any) -> dict[str, Any]:
    return {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}


def _chunks(data: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format behind W&B's own header."""
    at, pieces = HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        at += HEADER
        pieces += data[at : at + length]
        at += length
        if kind in (WHOLE, LAST):
            yield pieces
            pieces = b""
