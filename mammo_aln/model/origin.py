"""Whom and what the weights of `model.pretrained` have seen, as their file tells it."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import InputError, shortened
from mammo_aln.progress import say

DAMAGED = (
    pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError,
    AssertionError, struct.error,
)  # fmt: skip
"""What torch raises where the bytes of a checkpoint are not those that it wrote."""
RESTORE = "bring the file back from a copy, or train the run anew"
"""What helps where a finished run's checkpoint is damaged."""
PRETRAINED_FILE = "pretrained.safetensors"
PRETRAINED_KEY = "mammo_aln"
"""File that `mammo-aln pretrain` leaves in a run, and the key of its metadata; our checkpoints have the same key."""

HASHES = ("patients", "files", "pixels", "uids", "rows")
"""Lists of hashes in `Seen`."""


@dataclass(frozen=True)
class Seen:
    """Patients and images that one pre-training or training learnt from, as salted hashes.

    Args:
        salt: its run id.
        patients: of cohort name and patient_id.
        files: of the image files' content.
        pixels: of the decoded matrices, which a re-coded file shares.
        uids: of StudyInstanceUID and SOPInstanceUID.
        columns: clinical features of `rows`, in their order.
        rows: of the patients' clinical values, one of each row that has enough of them.
        sketches: int8, base64: sketches of the images' textures, one after another, which copies are near to.
        whole: False in files of versions that kept patients and files alone.
    """

    salt: str
    patients: frozenset[str]
    files: frozenset[str]
    pixels: frozenset[str] = frozenset()
    uids: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    sketches: str = ""
    whole: bool = False

    def to_state(self) -> dict[str, str | bool | list[str]]:
        """Plain dict for metadata and checkpoints."""
        hashes = {name: sorted(getattr(self, name)) for name in HASHES}
        return {
            "salt": self.salt,
            "columns": list(self.columns),
            **hashes,
            "sketches": self.sketches,
            "whole": self.whole,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Seen:
        """Read what `to_state` wrote."""
        kept = {name: frozenset(state.get(name, ())) for name in HASHES if name != "rows"}
        columns, rows = (tuple(state.get(name, ())) for name in ("columns", "rows"))
        whole, sketches = state.get("whole") is True, str(state.get("sketches", ""))
        return cls(str(state["salt"]), **kept, columns=columns, rows=rows, sketches=sketches, whole=whole)


@dataclass(frozen=True)
class Origin:
    """The past of starting weights.

    Args:
        seen: whom the trainings behind them learnt from, the oldest first.
        strategy: the crop that the last of them read; None where none is told.
    """

    seen: tuple[Seen, ...]
    strategy: str | None


@dataclass(frozen=True)
class PretrainedFacts:
    """The metadata of a file of `mammo-aln pretrain`; `lineage` is None where its version did not record it."""

    run_id: str
    package_version: str
    backbone: str
    timm_name: str
    backbone_args: Mapping[str, Any]
    size_px: int
    in_chans: int
    mode: str
    labels: tuple[str, ...]
    crop: Mapping[str, Any]
    recipe_digest: str
    seen: tuple[Seen, ...]
    lineage: tuple[Source, ...] | None = None

    def to_json(self) -> str:
        """One line of JSON with sorted keys: the same run writes the same bytes."""
        lineage = None if self.lineage is None else [source.to_state() for source in self.lineage]
        plain = {**vars(self), "seen": [seen.to_state() for seen in self.seen], "lineage": lineage}
        return json.dumps(plain, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PretrainedFacts:
        """Read what `to_json` wrote; keys of other versions are left aside."""
        plain = json.loads(text)
        facts = {name: plain[name] for name in cls.__dataclass_fields__ if name != "lineage"}
        seen = tuple(Seen.from_state(state) for state in plain["seen"])
        return cls(**{**facts, "seen": seen, "lineage": recorded_sources(plain.get("lineage"))})


def recorded_sources(states: Sequence[Mapping[str, Any]] | None) -> tuple[Source, ...] | None:
    """Sources as metadata, checkpoints and JSON files hold them; None where they hold none."""
    return None if states is None else tuple(map(Source.from_state, states))


def about_pretrained(pretrained: bool | str) -> PretrainedFacts | None:
    """Read what the file of `model.pretrained` says of itself; None where `mammo-aln pretrain` did not write it.

    Raises:
        InputError: no such file, or no safetensors in it.
    """
    if not isinstance(pretrained, str):
        return None
    path = Path(pretrained)
    if not path.is_file():
        raise InputError(f"model.pretrained = {pretrained!r}: no such file")
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(PRETRAINED_KEY)
    except (SafetensorError, OSError) as error:
        raise InputError(f"model.pretrained = {pretrained!r} can't be read as weights: {error}") from error
    with stated_facts(path):
        return PretrainedFacts.from_json(text) if text else None


def origin_of(pretrained: bool | str) -> Origin | None:
    """Find whom the weights of `model.pretrained` saw, and in which crop; None where their file does not tell.

    Files of `mammo-aln pretrain` tell, and so do checkpoints of its runs and of `mammo-aln train`.

    Raises:
        InputError: no such file, or it can't be read.
    """
    about = about_pretrained(pretrained)
    if about is not None:
        return Origin(about.seen, about.crop.get("strategy"))
    if not isinstance(pretrained, str) or pretrained.endswith(".safetensors"):
        return None
    frozen = read_checkpoint(Path(pretrained)).get(PRETRAINED_KEY)
    if not isinstance(frozen, dict):
        return None
    if "trained_on" not in frozen:
        say(f"note: {Path(pretrained).name} does not say whom it was trained on: make sure that no test patient was")
    with stated_facts(Path(pretrained)):
        states = [*frozen.get("pretraining", []), *frozen.get("trained_on", [])]
        crop = frozen.get("recipe", {}).get("crop") or {}
        return Origin(tuple(Seen.from_state(state) for state in states), crop.get("strategy"))


@contextmanager
def stated_facts(path: Path) -> Iterator[None]:
    """Refuse a file of weights where what it says of itself, which this block reads, is not what a training wrote."""
    try:
        yield
    except torch.OutOfMemoryError:  # a RuntimeError that is no fault of the file's
        raise
    except DAMAGED as error:
        cause = shortened(f"{type(error).__name__}: {error}", plain=True)
        raise InputError(f"{path}: what it says of its training is damaged ({cause}); {RESTORE}") from error


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Content of a checkpoint, plain data and tensors alone; empty where it holds no dict.

    Raises:
        InputError: it can't be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise unreadable_weights(path, error) from error
    return content if isinstance(content, dict) else {}


def stored_checkpoint(path: Path, remedy: str, map_location: str = "cpu") -> Mapping[str, Any]:
    """Content of a run's own checkpoint, plain data and tensors alone, these mapped from the disk.

    Args:
        path: the file.
        remedy: what to do where it is damaged.
        map_location: device of the tensors.

    Raises:
        InputError: the file is gone, empty, cut short or no checkpoint.
    """
    try:
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {remedy}") from error
    except DAMAGED as error:
        raise InputError(f"{path}: damaged or cut short, it can't be read as a checkpoint; {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a checkpoint, it holds something else; {remedy}")
    return content


def unreadable_weights(path: Path, error: Exception) -> InputError:
    """The error that names the file and the cause."""
    reason = "" if isinstance(error, pickle.UnpicklingError | RuntimeError | EOFError) else f": {error}"
    return InputError(
        f"model.pretrained = {str(path)!r} can't be read as weights{reason}; expected safetensors or a checkpoint of"
        " torch.save, whole and of plain tensors"
    )
