"""A folder of DICOM files becomes the tables of a cohort; headers are read, pixels are not.

Which patient: where a file lies in a subfolder, `patient_id` is the name of the first folder below the indexed one.
Files directly in the indexed folder are grouped by the header's PatientID (else StudyInstanceUID, else each file alone)
and get numbers, `p0001` on, in the order of their paths: no identifying tag is written, nor a hash of one, which a list
of hospital numbers would reverse. `image_id` is `i` and 16 hexadecimal digits of the SHA-256 of SOPInstanceUID.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import DECLARATION_FILE, read_declaration
from mammo_aln.cohort.reading import read_text_table
from mammo_aln.cohort.survey import SurveyedImage, survey
from mammo_aln.dicom.archive import folders_of, is_archive, members
from mammo_aln.dicom.fast_header import Excluded, map_files
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import write_csv, write_text
from mammo_aln.progress import say, track

OWN_FILES = (
    "cohort.yaml",
    "patients.csv",
    "images.csv",
    "regions.csv",
    "volumes.csv",
    "features.csv",
    "exclusions.csv",
)
COLUMNS = (
    "image_id", "patient_id", "path", "laterality", "view", "spacing_mm", "manufacturer", "model", "rows", "columns",
    "imager_pixel_spacing_mm", "pixel_spacing_mm", "magnification", "breast_spacing_mm", "spacing_source",
    "photometric", "transfer_syntax", "bits_stored", "presentation_intent", "flags",
)  # fmt: skip
REASONS_SHOWN = 5
SKELETON = """\
name: {name}
label:
  column: aln_status
  # say here how isolated tumour cells count: ypN0(i+) has N stage 0, but is no pathological complete response
  meaning: 1 = residual nodal metastasis after NAT, 0 = ypN0
# where the paths of images.csv begin
dicom_root: {dicom_root}
# one entry per clinical column of patients.csv, for example
# clinical:
#   age: {{kind: continuous, unit: years, known_at: baseline}}
#   cT: {{kind: ordinal, levels: [1, 2, 3, 4]}}
#   her2: {{kind: categorical}}
"""


def index_folder(dicom_dir: str | Path, out: str | Path, *, workers: int | None = None) -> Path:
    """Write `images.csv` and `exclusions.csv`, and `cohort.yaml` and `patients.csv` to fill in where none stand.

    Rows of an `images.csv` that stands are kept as they are, so that what a user filled in stays; new files are added.
    Hidden files and folders are not looked at; links to folders are followed; ZIP files are read as they are, see
    `dicom.archive`.

    Args:
        dicom_dir: folder with DICOM files, one subfolder per patient or all in one.
        out: the cohort folder.
        workers: processes; by default one per core.

    Returns:
        The cohort folder.

    Raises:
        InputError: no such folder, no file in it, no mammogram among them (`exclusions.csv` then says why), or a table
            that stands is faulty.
    """
    dicom_dir, out = Path(dicom_dir), Path(out)
    if not dicom_dir.is_dir():
        raise InputError(f"{dicom_dir}: no such folder (expected one that holds DICOM files)")
    faults: list[BadCell] = []
    kept = read_text_table(out / "images.csv", faults) if (out / "images.csv").is_file() else None
    base = read_declaration(out, faults).dicom_root if (out / DECLARATION_FILE).is_file() else dicom_dir
    if kept is not None and not {"image_id", "patient_id", "path"} <= set(kept.columns):
        faults.append(BadCell("images.csv", 1, "header", ", ".join(kept.columns), "image_id, patient_id and path"))
    raise_bad_cells(faults)
    excluded: list[tuple[str, str]] = []
    files = _files(dicom_dir, out, excluded)
    if not files and not excluded:
        raise InputError(f"{dicom_dir}: the folder holds no file")
    surveys = map_files(survey, (dicom_dir / name for name in files), workers)
    mammograms = _mammograms(files, track(surveys, total=len(files), what="headers", unit="file"), excluded)
    new = _rows(dicom_dir, base, mammograms, kept, excluded)
    images = new if kept is None else pd.concat([kept, new], ignore_index=True)
    write_csv(out / "exclusions.csv", pd.DataFrame(sorted(excluded), columns=["path", "reason"]))
    if images.empty:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(r for _, r in excluded).most_common(3))
        raise InputError(
            f"{dicom_dir}: no mammogram among {len(excluded)} files ({reasons}); see {out / 'exclusions.csv'}"
        )
    _write_where_missing(out, dicom_dir, images)
    write_csv(out / "images.csv", images)
    _report(images, len(new), excluded, mammograms)
    _warn_of_mixed_folders(mammograms)
    return out


def _files(dicom_dir: Path, out: Path, excluded: list[tuple[str, str]]) -> list[str]:
    """Files below a folder as paths relative to it, in their order, without the cohort's own."""
    own = out.resolve()
    inside = dicom_dir.resolve() in own.parents
    files = []

    def left_out(error: OSError) -> None:
        excluded.append((os.path.relpath(error.filename, dicom_dir), f"folder cannot be opened ({error.strerror})"))

    for folder, folders, names in os.walk(dicom_dir, onerror=left_out, followlinks=True):
        here = Path(folder)
        if here.is_symlink() and here != dicom_dir and here.resolve() in [above.resolve() for above in here.parents]:
            folders.clear()  # a link to a folder above: its files are listed there
            continue
        is_own = here.resolve() == own
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if inside and is_own:
            folders.clear()
            continue
        before = "" if here == dicom_dir else f"{here.relative_to(dicom_dir)}{os.sep}"
        for name in sorted(names):
            if name.startswith(".") or (is_own and name in OWN_FILES):
                continue
            relative = before + name
            if relative != relative.encode("utf-8", "replace").decode():
                shown = relative.encode("utf-8", "backslashreplace").decode()
                excluded.append((shown, "the file's name is not UTF-8; rename it"))
            elif is_archive(here / name):
                files += _packed(here / name, relative, excluded)
            else:
                files.append(relative)
    return files


def _packed(archive: Path, relative: str, excluded: list[tuple[str, str]]) -> list[str]:
    """Files in a ZIP file as `relative!/name`; what cannot be read of it goes to `excluded`."""
    try:
        packed = members(archive)
    except OSError as error:
        excluded.append((relative, f"cannot be opened: {error.strerror}"))
        return []
    excluded += [(f"{relative}!/{member.name}", member.refusal) for member in packed if member.refusal]
    return [f"{relative}!/{member.name}" for member in packed if not member.refusal]


def _mammograms(
    files: list[str], surveys: Iterable[SurveyedImage | Excluded], excluded: list[tuple[str, str]]
) -> list[tuple[str, SurveyedImage]]:
    """Mammograms with their relative paths; the others, and copies of an instance, go to `excluded`."""
    mammograms = []
    first_with: dict[str, str] = {}
    for relative, image in zip(files, surveys, strict=True):
        if isinstance(image, Excluded):
            excluded.append((relative, image.reason))
            continue
        first = first_with.setdefault(image.sop_instance, relative) if image.sop_instance else relative
        if first != relative:
            excluded.append((relative, f"the same SOPInstanceUID as {first}"))
            continue
        mammograms.append((relative, image))
    return mammograms


def _rows(
    dicom_dir: Path,
    base: Path,
    mammograms: list[tuple[str, SurveyedImage]],
    kept: pd.DataFrame | None,
    excluded: list[tuple[str, str]],
) -> pd.DataFrame:
    """Rows of the files that `kept` does not have yet, neither by path nor, as copied or moved files, by instance."""
    patient_of = {} if kept is None else dict(zip(kept["path"], kept["patient_id"], strict=True))
    listed = {} if kept is None else dict(zip(kept["image_id"], kept["path"], strict=True))
    start = _as_given(dicom_dir, base)
    before = "" if start == "." else f"{start}{os.sep}"
    paths = [before + relative for relative, _ in mammograms]
    groups = [_group(relative, mammogram) for relative, mammogram in mammograms]
    name_of = {group: patient_of[path] for path, group in zip(paths, groups, strict=True) if path in patient_of}
    # A folder's name is its patient's, so that no number may be one.
    taken = {*patient_of.values(), *(name for kind, name in groups if kind == "folder")}
    rows = []
    for (relative, mammogram), path, group in zip(mammograms, paths, groups, strict=True):
        if group not in name_of:
            name_of[group] = group[1] if group[0] == "folder" else _next_number(taken)
            taken.add(name_of[group])
        if path in patient_of:
            continue
        identity = mammogram.sop_instance or relative
        image_id = f"i{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        if image_id in listed:
            reason = f"the same SOPInstanceUID as {listed[image_id]}, which images.csv lists as {image_id}"
            excluded.append((relative, reason))
            continue
        row = {"image_id": image_id, "patient_id": name_of[group], "path": path, "flags": "; ".join(mammogram.flags)}
        rows.append(mammogram.cells | row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).replace("", np.nan)


def _as_given(path: Path, base: Path) -> str:
    absolute, base = path.absolute(), base.absolute()
    return str(absolute.relative_to(base)) if absolute.is_relative_to(base) else str(absolute)


def _group(relative: str, mammogram: SurveyedImage) -> tuple[str, str]:
    """Kind and value of the mark that a patient's files share; only a folder's name is ever written."""
    folder, below, _ = folders_of(relative).partition(os.sep)
    if below:
        return ("folder", folder)
    if mammogram.patient:
        return ("patient", mammogram.patient)
    return ("study", mammogram.study) if mammogram.study else ("file", relative)


def _next_number(taken: set[str]) -> str:
    number = 1
    while f"p{number:04d}" in taken:
        number += 1
    return f"p{number:04d}"


def _write_where_missing(out: Path, dicom_dir: Path, images: pd.DataFrame) -> None:
    if not (out / DECLARATION_FILE).is_file():
        # JSON strings are YAML strings, whatever stands in a folder's name
        name, root = json.dumps(out.resolve().name), json.dumps(str(dicom_dir.absolute()))
        write_text(out / DECLARATION_FILE, SKELETON.format(name=name, dicom_root=root))
    if not (out / "patients.csv").is_file():
        patients = pd.DataFrame({"patient_id": sorted(images["patient_id"].dropna().unique())})
        write_csv(out / "patients.csv", patients.assign(center="", aln_status=""))
        say(
            "patients.csv: fill in center and aln_status; no folder name that became a patient_id may identify a person"
        )


def _report(
    images: pd.DataFrame, added: int, excluded: list[tuple[str, str]], mammograms: list[tuple[str, SurveyedImage]]
) -> None:
    patients = images["patient_id"].nunique()
    say(f"{len(images)} images ({added} new) of {patients} patients; {len(excluded)} files excluded")
    for flag, count in Counter(flag for _, mammogram in mammograms for flag in mammogram.flags).most_common():
        say(f"  {count} x {flag}")
    reasons = Counter(reason for _, reason in excluded).most_common()
    for reason, count in reasons[:REASONS_SHOWN]:
        say(f"  excluded: {count} x {reason}")
    if others := sum(count for _, count in reasons[REASONS_SHOWN:]):
        say(f"  excluded: and {others} others, see exclusions.csv")


def _warn_of_mixed_folders(mammograms: list[tuple[str, SurveyedImage]]) -> None:
    """Name the patient folders that hold several patients by their headers, as with a folder level too many."""
    inside: dict[str, set[str]] = {}
    for relative, mammogram in mammograms:
        kind, folder = _group(relative, mammogram)
        if kind == "folder" and mammogram.patient:
            inside.setdefault(folder, set()).add(mammogram.patient)
    mixed = sorted(folder for folder, patients in inside.items() if len(patients) > 1)
    if mixed:
        more = ", ..." if len(mixed) > 3 else ""
        say(
            f"{len(mixed)} folder{'s' if len(mixed) > 1 else ''} of several patients by their headers, each "
            f"taken as one patient ({', '.join(mixed[:3])}{more}): index the folder whose subfolders are the patients, "
            "or correct patient_id in images.csv"
        )
