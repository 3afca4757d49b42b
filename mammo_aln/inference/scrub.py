"""Scrubbing: what a run's folder would tell a stranger, and a copy that predicts the same and tells none of it.

The copy holds weights, threshold, calibration, pixel recipe, clinical encoding (means and levels), licences and
settings. What the table `FILES` does not name stays out of it. The copy is read byte by byte for what it must not hold
before it is given its name.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import re
import socket
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.errors import InputError, shortened
from mammo_aln.files import (
    folder_whole,
    irregular,
    make_folder,
    read_own_table,
    write_json,
)
from mammo_aln.inference.ensemble import read_member
from mammo_aln.inference.scrubbed_files import WRITTEN, CompletedRun
from mammo_aln.model.origin import RESTORE
from mammo_aln.runs.lineage import LINEAGE_FILE
from mammo_aln.runs.names import run_path
from mammo_aln.runs.record import State
from mammo_aln.runs.seal import RECIPE_FILE, WEIGHTS, frozen_digests, holds_recipe, require_unchanged

PATH = re.compile(r"(?<![\w.:/<])/(?:[\w.+@ -]+/)+[\w.+@-]+")
DATE = re.compile(r"\b(?:19|20)\d\d-[01]\d-[0-3]\d")
SHORTEST = 4
"""Letters of a name below which it stands anywhere by chance."""
STATE = "state.json"
TEXTS = (".json", ".jsonl", ".yaml", ".csv", ".log", ".txt", ".html", ".md", "")
"""Endings of files in which paths and dates are looked for; in weights they would stand by chance."""


@dataclass(frozen=True)
class FileKind:
    """A file of a run.

    Attributes:
        tells: what it says of patients, places and people.
        in_copy: what the copy holds in its stead; empty where it leaves the file out.
    """

    tells: str
    in_copy: str = ""


@dataclass(frozen=True)
class Telling:
    """One file of a run, and what it tells a stranger.

    Attributes:
        file: its path in the run; a tracker's folder stands for its files.
        kind: of the table.
        stands: names, paths and dates that stand in it, in words.
    """

    file: str
    kind: FileKind
    stands: tuple[str, ...]


FILES: Mapping[str, FileKind] = {
    "config.yaml": FileKind("all settings", "settings; weights without their folder, no tracker"),
    "environment.json": FileKind("machine, versions, digest of the cohort", "versions, digest of the cohort"),
    RECIPE_FILE: FileKind("how pixels became crops", "the same, by the weights' file"),
    LINEAGE_FILE: FileKind("data sets and weights, with their licences", "the same, by the weights' file"),
    "predictions.json": FileKind(
        "threshold, calibration, counts of patients by centre, smallest and largest values",
        "threshold, calibration, settings",
    ),
    "predictions.csv": FileKind("each patient's id, centre, outcome and score", "its heading"),
    STATE: FileKind("when it was trained, digests of what is frozen", "that it is completed, new digests"),
    WEIGHTS: FileKind(
        "weights, clinical means and levels, hashes of the patients and files it learnt from",
        "weights, clinical means and levels",
    ),
    "checkpoints/last.ckpt": FileKind("the same, and what a training needs to go on"),
    "baseline.json": FileKind("clinical features and outcomes of its patients, counted by split and centre"),
    "metrics.csv": FileKind("loss and AUC by epoch, seconds"),
    "exclusions.csv": FileKind("ids of patients and images that were left out, and why"),
    "validation_scores.npz": FileKind("outcome and scores of each validation patient"),
    "openings.jsonl": FileKind("when a test was opened, and the cohort's name"),
    "training.png": FileKind("loss and AUC by epoch"),
    "augmented.png": FileKind("crops of its patients' mammograms"),
    ".lock": FileKind("the process that trains it"),
}
TRACKED = FileKind("a tracker's mirror: settings, figures by epoch, times")
TRACKERS = ("wandb", "tensorboard", "mlflow.db", "csv")
UNKNOWN = FileKind("unknown to this version")


def tellings(run: Path) -> list[Telling]:
    """List what each file of a run's folder tells a stranger.

    Args:
        run: run directory, or its name.

    Raises:
        InputError: it is no completed run.
    """
    run = read_member(run_path(run)).run
    names = _names(run)
    files = sorted(path for path in run.rglob("*") if not path.is_dir())
    standing: dict[str, set[str]] = {}
    for path in files:
        name = path.relative_to(run).as_posix()
        mirror = name.split("/")[0]
        standing.setdefault(mirror if mirror in TRACKERS else name, set()).update(_standing(path, names))
    return [
        Telling(name, TRACKED if name in TRACKERS else FILES.get(name, UNKNOWN), tuple(sorted(stands)))
        for name, stands in standing.items()
    ]


def report(told_by: list[Telling]) -> str:
    """Say it in words, a line per file."""
    lines = []
    for telling in told_by:
        stands = f"; holds {', '.join(telling.stands)}" if telling.stands else ""
        lines.append(f"{telling.file}: {telling.kind.tells}{stands}")
        lines.append(f"    in a copy (--out): {telling.kind.in_copy or 'left out'}")
    return "\n".join(lines)


def scrubbed_copy(run: Path, out: Path) -> Path:
    """Write a copy of a run that predicts the same and tells nothing of patients, machines and folders.

    What it cannot do any more: know its own patients in another cohort, be averaged with other runs, go on training.

    Args:
        run: a completed run.
        out: folder to be made.

    Returns:
        `out`.

    Raises:
        InputError: no completed run, `out` is there already, or something that must not be told is left in the copy.
    """
    run = read_member(run_path(run)).run
    require_unchanged(run)
    if out.exists():
        raise InputError(f"--out {out}: exists; expected a folder to be made")
    with folder_whole(out) as unfinished:
        own = CompletedRun.of(run)
        if not holds_recipe(run, own.frozen.recipe):
            raise InputError(f"{run / RECIPE_FILE}: changed after the training ({WEIGHTS} has another); {RESTORE}")
        for name, write in WRITTEN.items():
            make_folder((unfinished / name).parent)
            try:
                write(own, unfinished / name)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                cause = shortened(f"{type(error).__name__}: {error}", plain=True)
                raise InputError(f"{run / name}: not what a training writes there ({cause}); {RESTORE}") from error
        state = State("completed", 1, own.frozen.run_id, frozen=frozen_digests(unfinished))
        write_json(unfinished / STATE, state.to_json())
        names = _names(run)
        left = {
            str(path.relative_to(unfinished)): stands
            for path in sorted(unfinished.rglob("*"))
            if path.is_file() and (stands := list(_standing(path, names)))
        }
        if left:
            lines = "; ".join(f"{file}: {', '.join(stands)}" for file, stands in left.items())
            raise InputError(f"{run}: no copy was written, since it would hold {lines}; take that out of the settings")
    return out


def _names(run: Path) -> dict[str, set[str]]:
    """Names that nobody else need know, by what they are."""
    tables = [
        read_own_table(run / name, dtype=str)
        for name in ("predictions.csv", "exclusions.csv")
        if (run / name).is_file() and (run / name).stat().st_size
    ]
    openings = run / "openings.jsonl"
    lines = openings.read_text(encoding="utf-8").splitlines() if openings.is_file() else []
    names = {
        "patients": {name for table in tables if "patient_id" in table for name in table["patient_id"].dropna()},
        "centres": {name for table in tables if "center" in table for name in table["center"].dropna()},
        "name of a cohort": {str(json.loads(line).get("cohort_name", "")) for line in lines if line.strip()},
        "name of this machine": {socket.gethostname()} - {"localhost"},
        "name of a user": {os.environ.get("USER", ""), Path.home().name} - {"root"},
    }
    return {kind: {name for name in own if len(name) >= SHORTEST} for kind, own in names.items()}


def _standing(path: Path, names: Mapping[str, set[str]]) -> Iterator[str]:
    """Say which names, paths and dates stand in a file; one that is no file of a disk is not opened."""
    if kind := irregular(path.stat()):
        yield f"nothing that was read: it is {kind}"
        return
    for suffix, content in _contents(path):
        text = content.decode("utf-8", "replace")
        words = set(re.findall(r"[\w.@+-]+", text))
        for kind, own in names.items():
            count = len(own & words) + sum(" " in name and name in text for name in own)
            if count:
                yield f"{count} {kind}" if kind in ("patients", "centres") else kind
        if suffix in TEXTS:
            if places := set(PATH.findall(text)):
                yield f"{len(places)} paths ({min(places)})"
            if days := set(DATE.findall(text)):
                yield f"dates ({min(days)})"


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Bytes of a file, or of each member of an archive, with its ending."""
    content = path.read_bytes()
    if content[:2] != b"PK":
        yield path.suffix, content
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.namelist():
            inside = archive.read(member)
            yield Path(member).suffix or ".bin", _pickled_texts(inside) if member.endswith(".pkl") else inside


def _pickled_texts(pickled: bytes) -> bytes:
    """Texts of a pickle, a line each; nothing in it is executed."""
    texts = (value for _, value, _ in pickletools.genops(pickled) if isinstance(value, str))
    return "\n".join(texts).encode("utf-8", "replace")
