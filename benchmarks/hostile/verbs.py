"""Readers of whole folders one of whose files is hostile, by the rooms' own doors or by the command line itself."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from benchmarks.hostile.targets import Fault
from mammo_aln.errors import InputError

OWN_FAULT = "a fault of mammo-aln itself"
STAND_IN = "~"
"""In an input's name for the slash of a path in its folder."""
TABLES = {
    "cbis": "calc_case_description_train_set.csv mass_case_description_train_set.csv "
    "calc_case_description_test_set.csv mass_case_description_test_set.csv",
    "cmmd": "cmmd_raw_label.csv",
    "ispy2": "breastdcedl_ispy2_metadata.csv",
    "I-SPY": "I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx",
}
"""By what stands in the seed's name: the files that its data set's reader looks for."""


def verb(words: Sequence[str]) -> None:
    """Type a verb: what it refuses is an `InputError`, what it says of itself a `Fault`."""
    from mammo_aln.cli import main

    stated = io.StringIO()
    with redirect_stderr(stated), redirect_stdout(io.StringIO()):
        code = main(words)
    text = stated.getvalue()
    if OWN_FAULT in text:
        raise Fault(text[-600:])
    if code == 2:
        raise InputError(text)
    if code not in (0, 1):
        raise Fault(f"exit code {code}: {text[-600:]}")


@contextmanager
def changed(path: Path, folder: str) -> Iterator[Path]:
    """Put an input in its place in a folder beside it for this block; the folder is yielded."""
    whole = path.parent / folder
    file = whole / path.name.split("_", 1)[1].replace(STAND_IN, "/")
    sound = path.parent / "sound"
    if file.is_file():
        shutil.copyfile(file, sound)
    shutil.copyfile(path, file)
    try:
        yield whole
    finally:
        file.unlink()
        if sound.is_file():
            shutil.move(sound, file)


def run_folder(path: Path) -> object:
    """Read a run, its settings and its past, as `predict`, `explain` and `evaluate --run` do."""
    from mammo_aln.evaluation.people import Development
    from mammo_aln.inference.ensemble import read_member
    from mammo_aln.runs.record import read_settings
    from mammo_aln.training.summary import Summary

    with changed(path, "run") as run:
        read = (read_settings, read_member, Development.read, Summary.of_run)
        return [each(run) for each in read]


def run_verbs(path: Path) -> None:
    """Type what needs no image of a run: its listing, its lineage, what it tells a stranger."""
    with changed(path, "run") as run:
        typed(["runs", run.parent], ["lineage", run], ["scrub", run])


def sweep_folder(path: Path) -> None:
    """Type `sweep status`, `log`, `prune` and `retry` of a sweep."""
    with changed(path, "swept") as out:
        of_cell = ["000000000000", "--out", out]
        typed(["sweep", "status", out], ["sweep", "prune", "--out", out], ["sweep", "log", *of_cell])
        typed(["sweep", "retry", *of_cell])


def typed(*lines: Sequence[object]) -> None:
    """Type several verbs, each whatever became of the others; the first refusal is raised at their end."""
    refusals = []
    for words in lines:
        try:
            verb([str(word) for word in words])
        except InputError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def ledger(path: Path) -> object:
    """Read a ledger of openings and whether its lines follow one another."""
    from mammo_aln.runs.ledger import broken_links, read_entries

    with path.open(encoding="utf-8") as stream:
        entries = read_entries(stream, path)
        stream.seek(0)
        return entries, broken_links(stream)


def published_table(path: Path) -> object:
    """Read a public data set whose table this is, as `import` does."""
    from mammo_aln.cohort.datasets.catalogue import DATASETS

    name = next(name for name in TABLES if name in path.name)
    reader = {"cbis": "cbis-ddsm", "cmmd": "cmmd", "ispy2": "ispy2", "I-SPY": "ispy1"}[name]
    folder = path.parent / "published"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in TABLES[name].split():
        shutil.copyfile(path, folder / file)
    return DATASETS[reader].read(folder)


def clinical_table(path: Path) -> object:
    """Fill a cohort's templates in from a clinical table, as `init --clinical` does."""
    from mammo_aln.cohort.templates.init import init_cohort

    folder = path.parent / "to_fill"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(path.parent / "cohort" / "images.csv.sound", folder / "images.csv")
    return init_cohort(folder, clinical=path)
