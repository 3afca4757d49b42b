"""Files that kill their decoder, put among sound images: the command that a user types must crop all the others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

TABLES = ("patients", "images")
FLAGS = ("--crop.size_px=64", "--crop.strategy=whole_breast", "--pixels.decode_timeout_s=5")


def cropped_beside(deadly: Sequence[Path], sound: Path, folder: Path) -> str:
    """Type `mammo-aln crop` of a cohort that holds these files too; says in words what became of all images.

    Args:
        deadly: files whose decoder died, each of a patient of its own.
        sound: cohort folder with its images.
        folder: for the cohorts that are made; it must not stand.
    """
    alone, beside = (shutil.copytree(sound, folder / name, ignore=_kept) for name in ("alone", "beside"))
    for table in TABLES:
        rows = pd.read_csv(beside / f"{table}.csv", dtype=str, keep_default_na=False)
        own = [_row(rows.iloc[0].to_dict(), f"deadly{number}") for number in range(len(deadly))]
        pd.concat([rows, pd.DataFrame(own)]).to_csv(beside / f"{table}.csv", index=False)
    for number, path in enumerate(deadly):
        shutil.copyfile(path, beside / "dicom" / f"deadly{number}.dcm")
    (before, _, _), (after, excluded, code) = _cropped(alone), _cropped(beside)
    reasons = sum(f"deadly{number}" in excluded for number in range(len(deadly)))
    return (
        f"`mammo-aln crop` of {len(before)} sound images and {len(deadly)} of the files whose decoder died: exit code "
        f"{code}, {len(before & after)} of {len(before)} sound images cropped, {reasons} of {len(deadly)} files "
        "excluded with the reason."
    )


def _kept(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == ".crops"]


def _row(like: dict[str, str], name: str) -> dict[str, str]:
    own = {"patient_id": name, "image_id": name, "path": f"dicom/{name}.dcm"}
    return {column: own.get(column, cell) for column, cell in like.items()}


def _cropped(cohort: Path) -> tuple[set[str], set[str], int]:
    """Crop a cohort: images with a crop, images that are excluded as a whole, and the exit code."""
    words = [sys.executable, "-m", "mammo_aln", "crop", str(cohort), *FLAGS, "--export", str(cohort / "npy")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    cropped = {path.name.split(".")[0] for path in (cohort / "npy").rglob("*.npy")}
    listed = pd.read_csv(cohort / ".crops" / "exclusions.csv", dtype=str, keep_default_na=False)
    return cropped, set(listed["image_id"]) - cropped, done.returncode
