"""A folder of DICOM files becomes the tables of a cohort; headers are read, pixels are not.

Which patient: where a file lies in a subfolder, `patient_id` is the name of the first folder below the indexed one.
Files directly in the indexed folder, or in a first folder that holds several patients by their headers, are grouped by
the header's IssuerOfPatientID and PatientID, and get numbers, `p0001` on, in the order of their paths. Where PatientID
is empty or a placeholder (`removed`, `anonymous`, `0` ...) they are grouped by StudyInstanceUID; without one, they are
left out. No identifying tag and no date is written, nor a hash of one, which a list of hospital numbers would reverse.
`image_id` is `i` and 16 hexadecimal digits of the SHA-256 of SOPInstanceUID.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.declaration import DECLARATION_FILE, read_declaration
from mammo_aln.cohort.listing.image_rows import DELETED, Surveyed, new_rows, path_prefix, with_exams
from mammo_aln.cohort.listing.private_key import key_target, write_key
from mammo_aln.cohort.listing.survey import SurveyedImage, survey
from mammo_aln.cohort.listing.walk import LINKED_FOLDER, leads_out, listed_files
from mammo_aln.cohort.listing.words import tell_exams, tell_patients
from mammo_aln.cohort.reading import read_text_table
from mammo_aln.cohort.schemas import NAT_START_DAY
from mammo_aln.dicom.archive import image_bytes
from mammo_aln.dicom.fast_header import Excluded, map_files
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import stands, write_csv, write_text
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
INDEXED = ".indexed"
"""Names every image that was ever listed, so that a row which the user deleted stays out."""
REASONS_SHOWN, LINKS_SHOWN = 5, 3
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


def index_folder(
    dicom_dir: str | Path, out: str | Path, *, key: str | Path | None = None, workers: int | None = None
) -> Path:
    """Write `images.csv` and `exclusions.csv`, and `cohort.yaml` and `patients.csv` to fill in where none stand.

    Rows of an `images.csv` that stands are kept, so that what a user filled in stays: only `study` and `days` are
    counted anew (not `days` that `nat_start_day` counts on where the headers contradict them). New files are added;
    those whose rows the user deleted are not. Hidden files and folders are not looked at; links to
    folders are followed once, behind all that lies here itself; ZIP files are read as they are, see `dicom.archive`.

    Args:
        dicom_dir: folder with DICOM files, one subfolder per patient or all in one.
        out: the cohort folder.
        key: CSV file outside the cohort that gets PatientID, accession, dates and instances of each image.
        workers: processes; by default one per core.

    Returns:
        The cohort folder.

    Raises:
        InputError: no such folder, no file in it, a key inside the cohort, no mammogram among them (`exclusions.csv`
            then says why), or a table that stands is faulty.
    """
    dicom_dir, out = Path(dicom_dir), Path(out)
    if dicom_dir.is_file():
        raise InputError(
            f"{dicom_dir}: is a file; expected a folder, e.g. "
            f"mammo-aln index {shlex.quote(str(dicom_dir.parent))} --out {shlex.quote(str(out))}"
        )
    if not dicom_dir.is_dir():
        raise InputError(f"{dicom_dir}: no such folder (expected one that holds DICOM files)")
    target = key_target(Path(key), out) if key else None
    faults: list[BadCell] = []
    kept = read_text_table(out / "images.csv", faults) if stands(out / "images.csv") else None
    base = read_declaration(out, faults).dicom_root if stands(out / DECLARATION_FILE) else dicom_dir
    if kept is not None and not {"image_id", "patient_id", "path"} <= set(kept.columns):
        faults.append(BadCell("images.csv", 1, "header", ", ".join(kept.columns), "image_id, patient_id and path"))
    anchored = _anchored(out, faults)
    raise_bad_cells(faults)
    excluded: list[tuple[str, str]] = []
    files = listed_files(dicom_dir, excluded, cohort=out, own=OWN_FILES)
    if not files and not excluded:
        raise InputError(f"{dicom_dir}: the folder holds no file")
    surveys = map_files(survey, (dicom_dir / name for name in files), workers)
    mammograms = _mammograms(dicom_dir, files, track(surveys, total=len(files), what="headers", unit="file"), excluded)
    before = path_prefix(dicom_dir, base)
    listed_once = _listed_once(out)
    new = new_rows(before, mammograms, kept, listed_once if kept is not None else (), excluded)
    images = new if kept is None else pd.concat([kept, new], ignore_index=True)
    by_path = {before + relative: mammogram for relative, mammogram in mammograms}
    write_csv(out / "exclusions.csv", pd.DataFrame(sorted(excluded), columns=["path", "reason"]))
    if images.empty:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(r for _, r in excluded).most_common(3))
        raise InputError(
            f"{dicom_dir}: no mammogram among {len(excluded)} files ({reasons}); see {out / 'exclusions.csv'}"
        )
    images = with_exams(images, by_path, anchored)
    _write_where_missing(out, dicom_dir, images)
    write_csv(out / "images.csv", images)
    write_text(out / INDEXED, "".join(f"{image}\n" for image in sorted({*listed_once, *images["image_id"].dropna()})))
    if target is not None:
        say(f"{target}: {write_key(target, images, by_path)} images with the hospital's numbers; keep it private")
    _report(out, images, len(new), excluded, mammograms)
    if kept is None and listed_once and anchored:
        say(
            f"images.csv had been taken away: its days are counted anew. nat_start_day of {len(anchored)} patients in"
            " patients.csv counts on the former ones: compare, or an exam after NAT may pass for one before it"
        )
    tell_exams(images, anchored)
    tell_patients(mammograms, dict(zip(images["path"], images["patient_id"], strict=True)), before)
    return out


def _listed_once(out: Path) -> set[str]:
    """Images that some `index` listed, whether or not their rows still stand."""
    return set((out / INDEXED).read_text(encoding="utf-8").split()) if (out / INDEXED).is_file() else set()


def _anchored(out: Path, faults: list[BadCell]) -> set[str]:
    """Patients whose `nat_start_day` counts on the days that images.csv states."""
    patients = read_text_table(out / "patients.csv", faults) if stands(out / "patients.csv") else None
    if patients is None or not {"patient_id", NAT_START_DAY} <= set(patients.columns):
        return set()
    return set(patients.loc[patients[NAT_START_DAY].notna(), "patient_id"].dropna())


def _mammograms(
    dicom_dir: Path, files: list[str], surveys: Iterable[SurveyedImage | Excluded], excluded: list[tuple[str, str]]
) -> list[Surveyed]:
    """Mammograms with their relative paths; the others, and copies of an instance, go to `excluded`."""
    mammograms: list[Surveyed] = []
    row_of: dict[str, int] = {}
    for relative, image in zip(files, surveys, strict=True):
        if isinstance(image, Excluded):
            excluded.append((relative, image.reason))
            continue
        row = row_of.setdefault(image.sop_instance, len(mammograms)) if image.sop_instance else len(mammograms)
        if row == len(mammograms):
            mammograms.append((relative, image))
            continue
        first = mammograms[row]
        link, first_is_link = (leads_out(dicom_dir, name) for name in (relative, first[0]))
        if first_is_link and not link:  # what lies here comes before what is linked from elsewhere
            mammograms[row] = relative, image
            excluded.append((first[0], f"the same SOPInstanceUID as {relative}, and a link"))
        elif link == first_is_link and _is_longer(dicom_dir, (relative, image), first):
            # the first one may have been cut in a transfer
            mammograms[row] = relative, image
            excluded.append((first[0], f"the same SOPInstanceUID as {relative}, and the shorter file"))
        else:
            excluded.append((relative, f"the same SOPInstanceUID as {first[0]}"))
    return mammograms


def _is_longer(dicom_dir: Path, copy: Surveyed, first: Surveyed) -> bool:
    """Tell whether a copy of an instance holds more bytes of the same coding than the one met first."""
    if copy[1].cells["transfer_syntax"] != first[1].cells["transfer_syntax"]:
        return False
    return image_bytes(dicom_dir / copy[0]) > image_bytes(dicom_dir / first[0])


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
    out: Path, images: pd.DataFrame, added: int, excluded: list[tuple[str, str]], mammograms: list[Surveyed]
) -> None:
    patients = images["patient_id"].nunique()
    say(f"{len(images)} images ({added} new) of {patients} patients; {len(excluded)} files excluded")
    for flag, count in Counter(flag for _, mammogram in mammograms for flag in mammogram.flags).most_common():
        say(f"  {count} x {flag}")
    reasons = Counter(reason for _, reason in excluded).most_common()
    if links := [path for path, reason in excluded if reason == LINKED_FOLDER]:
        shown = ", ".join(links[:LINKS_SHOWN]) + (", ..." if len(links) > LINKS_SHOWN else "")
        say(f"links to folders ({shown}) are not followed: these folders are listed themselves, or hold DICOM_DIR")
    for reason, count in reasons[:REASONS_SHOWN]:
        say(f"  excluded: {count} x {reason}")
    deleted = dict(reasons).get(DELETED, 0)
    if deleted:
        whose = "images whose rows were" if deleted > 1 else "image whose row was"
        say(f"{deleted} {whose} deleted from images.csv: still out; to list again, delete {out / INDEXED}")
    if others := sum(count for _, count in reasons[REASONS_SHOWN:]):
        say(f"  excluded: and {others} others, see exclusions.csv")
