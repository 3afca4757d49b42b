"""Readers that a user's files meet, each with the sound files whose mutations it is fed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

SMALL = 600_000
"""Bytes of the largest file that is mutated: larger ones are decoded too slowly to be many."""


@dataclass(frozen=True)
class Target:
    """A reader under attack.

    Attributes:
        name: what it is called on the page.
        files: sound files that belong to it.
        read: reads the file at a path, and may refuse it by `InputError` alone.
        suffix: ending of the mutated file; that of the seed where empty.
    """

    name: str
    files: Sequence[Path]
    read: Callable[[Path], object]
    suffix: str = ""


def header(path: Path) -> object:
    """Read a header as `index` does."""
    from mammo_aln.cohort.listing.survey import survey

    return survey(path)


def pixels(path: Path) -> object:
    """Decode an image and make display values of it, as `crop` does."""
    from mammo_aln.dicom.read import read_image

    return read_image(path)


def region_file(path: Path) -> object:
    """Read an annotation file as `regions` does: DICOM SR, SEG, RTSTRUCT, GSPS, and each tool's format."""
    from mammo_aln.cohort.annotations.formats import FORMATS, format_of

    name = format_of(path)
    return None if name is None else FORMATS[name].read(path)


def patients(path: Path) -> object:
    """Read a cohort whose patients.csv this is, as each verb does."""
    return _cohort(path, "patients.csv")


def declaration(path: Path) -> object:
    """Read a cohort whose cohort.yaml this is."""
    return _cohort(path, "cohort.yaml")


def _cohort(path: Path, name: str) -> object:
    from mammo_aln.cohort.tables import read_cohort

    folder = path.parent / "cohort"
    shutil.copyfile(path, folder / name)
    try:
        return read_cohort(folder, need=("patients", "images", "regions"), tell=False)
    finally:
        shutil.copyfile(folder / f"{name}.sound", folder / name)


def sweep_file(path: Path) -> object:
    """Read a sweep's file, all its points and their settings."""
    from mammo_aln.settings import Settings
    from mammo_aln.settings.parse import settings_from
    from mammo_aln.sweeps.planning.definition import points, read_definition

    definition = read_definition(path)
    return [settings_from(Settings, point.settings, path.name) for point in islice(points(definition), 50)]


def predictions(path: Path) -> object:
    """Read predictions and the facts beside them, as `evaluate` does."""
    from mammo_aln.evaluation.predictions import read_predictions

    return read_predictions([path])


def volume(path: Path) -> object:
    """Read a volume that is its own mask, as `radiomics extract` does."""
    from mammo_aln.radiomics.extraction.volumes import read_volume

    return read_volume(path, path)


def checkpoint(path: Path) -> object:
    """Read a run's facts and weights from its checkpoint, as `predict` does."""
    from mammo_aln.model.origin import stored_checkpoint
    from mammo_aln.training.frozen_facts import FrozenFacts

    stored_checkpoint(path, "train it again")
    return FrozenFacts.of_checkpoint(path)


def run_folder(path: Path) -> object:
    """Read a run one of whose files this is; its name says which."""
    from mammo_aln.inference.ensemble import read_member
    from mammo_aln.runs.record import read_settings

    run = path.parent / "run"
    name = path.name.split("_", 1)[1]
    shutil.copyfile(run / name, run / f"{name}.sound")
    shutil.copyfile(path, run / name)
    try:
        return read_settings(run), read_member(run)
    finally:
        shutil.move(run / f"{name}.sound", run / name)


def kept_tables(path: Path) -> object:
    """Read tables of our own binary form; a damaged one is none."""
    from mammo_aln.cohort.packed import read_packed

    return read_packed(path)


def sizable(paths: Iterable[Path]) -> list[Path]:
    """Sort out folders, empty and large files."""
    return sorted(path for path in paths if path.is_file() and 0 < path.stat().st_size <= SMALL)
