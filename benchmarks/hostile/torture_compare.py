"""Meaning of files: equal for two results that differ only in times, ids of processes and the order of records."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MOVING = {
    "time", "times", "started", "finished", "created", "updated", "begun", "ended", "seconds", "epoch_seconds",
    "host", "process", "pid", "created_at", "modified", "mtime", "mtime_ns", "written", "plan_time", "choice_time",
    "train_s", "train_patients_per_s", "data_wait_s", "training_s", "trained_s",
    "opened_before_plan_time", "images_per_s", "step_s", "wait_s", "duration_s", "after", "attempts",
}  # fmt: skip
"""Fields and columns that hold a time, a duration, a process, a count of attempts or a link to such."""
UNSEEN = re.compile(
    r"(^|/)(\.[^/]*\.lease/.*|failures/.*|[^/]*\.lock|frozen/.*|contents\.json|fingerprints\.(compared\.)?jsonl?|\.figures\.json|\.indexed)$"
)
"""Locks, what was noted of tries that failed, and caches that any command makes again."""
OF_ITS_FOLDER = re.compile(r"(/jobs/[^/]+-)[0-9a-f]{8}(?=\.)")
"""Names of jobs that end with a digest of their sweep's folder, so that two sweeps of a cluster differ."""
JOB = re.compile(rb"\b(aln-[\w.-]+-)[0-9a-f]{8}\b")
LITTER = re.compile(r"(^|/)\.[^/]*\.part(/|$)")
"""What is written beside its place, and not yet there."""


def meanings(folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Digest the meaning of every file below a folder, by its path.

    Args:
        folder: what a command ran in.
        names: texts that stand for others, such as the folder's own name.
    """
    files, stores = {}, set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            files[name] = f"link to {path.readlink()}"
        elif path.is_file() and not UNSEEN.search(name) and not LITTER.search(name):
            if path.parent.name == "segments":
                stores.add(path.parent.parent)
            else:
                files[OF_ITS_FOLDER.sub(r"\1*", name)] = meaning(path, names)
    for store in stores:
        files.update({f"{store.relative_to(folder)}/{key}": value for key, value in _records(store).items()})
    return files


def litter(folder: Path) -> int:
    """Count files that were being written when their command ended."""
    return sum(1 for path in folder.rglob(".*.part") if LITTER.search(path.relative_to(folder).as_posix()))


def meaning(path: Path, names: Mapping[str, str]) -> str:
    """Digest what a file means."""
    content = JOB.sub(rb"\1*", path.read_bytes())
    for other, name in names.items():
        content = content.replace(other.encode(), name.encode())
    read = READERS.get(path.suffix, lambda content: content)
    try:
        plain = read(content)
    except Exception as error:  # noqa: BLE001 - a damaged file is a finding, not an end
        plain = f"unreadable: {type(error).__name__}".encode() + content
    return hashlib.sha256(plain).hexdigest()[:16]


def _json(content: bytes) -> bytes:
    return json.dumps(_still(json.loads(content)), sort_keys=True).encode()


def _lines(content: bytes) -> bytes:
    return b"\n".join(_json(line) for line in content.splitlines() if line.strip())


def _still(value: Any) -> Any:
    """Leave out what moves."""
    if isinstance(value, Mapping):
        return {str(name): _still(item) for name, item in value.items() if name not in MOVING and not _digest(item)}
    if isinstance(value, list | tuple):
        return [_still(item) for item in value]
    if hasattr(value, "numpy"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    return value if isinstance(value, str | int | float | bool | None) else repr(type(value))


def _digest(value: Any) -> bool:
    """Tell a digest of a file's bytes, which hold times, from other values."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _table(content: bytes) -> bytes:
    table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    return table.drop(columns=[name for name in table if name in MOVING]).to_csv(index=False).encode()


def _archive(content: bytes) -> bytes:
    """Digest a zip's members, whatever their times."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return b"".join(name.encode() + archive.read(name) for name in sorted(archive.namelist()))


def _checkpoint(content: bytes) -> bytes:
    import torch

    return json.dumps(
        _still(torch.load(io.BytesIO(content), weights_only=False)), sort_keys=True, default=repr
    ).encode()


TIMES = re.compile(rb"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?(\.\d+)?(Z|[+-]\d{2}:?\d{2})?|\d+(\.\d+)? (s|min|h)\b")


def _page(content: bytes) -> bytes:
    return TIMES.sub(b"", content)


def _document(content: bytes) -> bytes:
    return re.sub(rb"/CreationDate \([^)]*\)|/ID \[[^]]*\]", b"", content)


READERS: dict[str, Callable[[bytes], bytes]] = {
    ".json": _json,
    ".jsonl": _lines,
    ".csv": _table,
    ".npz": _archive,
    ".ckpt": _checkpoint,
    ".html": _page,
    ".pdf": _document,
    ".log": lambda content: b"",
    ".txt": _page,
}


def _records(store: Path) -> dict[str, str]:
    """Digest what a crop store holds by key: records of images, crops and their pixels, in whatever segment."""
    from mammo_aln.crops.store.store import CropStore

    opened = CropStore(store)
    records = {}
    for key in opened._entries:
        entry = dict(opened._entry(key))
        if entry["kind"] in ("content", "sampled"):
            continue
        if "pixels_crc" in entry and not opened.is_intact(key):
            entry["pixels_crc"] = "damaged"
        entry.pop("offset", None)
        records[key] = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
    return records
