"""Files below a folder of DICOM files that a table can name, each once: no link brings a folder in twice."""

from __future__ import annotations

import os
from collections.abc import Collection
from itertools import chain
from pathlib import Path

from mammo_aln.dicom.archive import folders_of, is_archive, members
from mammo_aln.spreadsheet.text_table import lost_in_a_table

LINKED_FOLDER = "a link to a folder that is listed itself, or that holds this one: not followed"
Excluded = list[tuple[str, str]]
"""Paths that are left out, and why."""


def listed_files(dicom_dir: Path, excluded: Excluded, *, cohort: Path, own: Collection[str]) -> list[str]:
    """List files below a folder as paths relative to it, in their order; what is hidden is not looked at.

    Links are followed, behind all that lies here itself, unless what they lead to is listed itself.

    Args:
        dicom_dir: the folder.
        excluded: gets what is not listed, with the reason.
        cohort: a folder below it that is passed over or, where it is `dicom_dir` itself, has `own` files.
        own: names of the cohort's files.
    """
    base = dicom_dir.resolve()
    files: list[str] = []

    def left_out(error: OSError) -> None:
        name = os.path.relpath(error.filename, dicom_dir)
        excluded.append((_shown(name), f"folder cannot be opened ({error.strerror})"))

    followed = [base]
    waiting = [dicom_dir]
    for folder, folders, names in chain.from_iterable(os.walk(each, onerror=left_out) for each in waiting):
        here = Path(folder)
        own_here = here.resolve() == cohort.resolve()
        if own_here and here != dicom_dir:
            folders.clear()
            continue
        before = "" if here == dicom_dir else f"{here.relative_to(dicom_dir)}{os.sep}"
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if (here / name).is_symlink()]
        for name in links:
            elsewhere = (here / name).resolve()
            if any(elsewhere.is_relative_to(known) or known.is_relative_to(elsewhere) for known in followed):
                excluded.append((_shown(before + name), LINKED_FOLDER))
            else:
                followed.append(elsewhere)
                waiting.append(here / name)
        folders[:] = [name for name in folders if name not in links]
        for name in sorted(names):
            if name.startswith(".") or (own_here and name in own):
                continue
            relative, target = before + name, _target(here / name, base)
            if target:
                excluded.append((_shown(relative), f"a link to {_shown(target)}"))
            else:
                files += _packed(here / name, relative, excluded) if is_archive(here / name) else [relative]
    lost = {name: reason for name in files if (reason := _lost(name))}
    excluded += [(_shown(name), reason) for name, reason in lost.items()]
    return [name for name in files if name not in lost]


def leads_out(dicom_dir: Path, name: str) -> bool:
    """Tell whether a listed file came by a link, and lies elsewhere."""
    return not (dicom_dir / name).resolve().is_relative_to(dicom_dir.resolve())


def _target(path: Path, base: Path) -> str:
    """Path of the listed file that a link leads to; empty where it is no link, or leads to another file."""
    if not path.is_symlink():
        return ""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # nothing there, or a circle: said where it is read
        return ""
    if not target.is_relative_to(base):
        return ""
    inside = target.relative_to(base)
    return "" if any(piece.startswith(".") for piece in inside.parts) else str(inside)


def _lost(relative: str) -> str:
    """Why no table can name a file; empty where one can."""
    if relative != relative.encode("utf-8", "replace").decode():
        return "the file's name is not UTF-8; rename it"
    folder, below, _ = folders_of(relative).partition(os.sep)
    reason = lost_in_a_table(relative) or (lost_in_a_table(folder) if below else "")
    return f"the name of the file, or of its folder, {reason}: no table can hold it; rename it" if reason else ""


def _shown(name: str) -> str:
    """Give a name in characters that a table can hold."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if not lost_in_a_table(text) else repr(text)[1:-1].encode("ascii", "backslashreplace").decode()


def _packed(archive: Path, relative: str, excluded: Excluded) -> list[str]:
    """Files in a ZIP file as `relative!/name`; what cannot be read of it goes to `excluded`."""
    try:
        packed = members(archive)
    except OSError as error:
        excluded.append((_shown(relative), f"cannot be opened: {error.strerror}"))
        return []
    excluded += [(_shown(f"{relative}!/{member.name}"), member.refusal) for member in packed if member.refusal]
    return [f"{relative}!/{member.name}" for member in packed if not member.refusal]
