"""One patient's exam, scored without tables: it becomes a cohort of its own and goes the very way of every cohort."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml

from mammo_aln.cohort.annotations.regions import import_regions
from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.cohort.index import index_folder
from mammo_aln.cohort.schemas import MOST
from mammo_aln.cohort.selection import select_images
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.proof.proof import write_proof
from mammo_aln.errors import InputError, did_you_mean
from mammo_aln.files import make_folder, write_csv, write_text
from mammo_aln.inference.ensemble import read_member
from mammo_aln.inference.predict import ScoredCohort, score_cohort, write_scored
from mammo_aln.progress import say
from mammo_aln.runs.record import read_settings
from mammo_aln.spreadsheet.characters import likely_name
from mammo_aln.training.frozen_facts import FrozenFacts

Box = tuple[float, float, float, float]
PATIENT = "patient"
CENTER = "not stated"
COHORT_NAME = "one patient"
OVERHANG_PX = 1.0
"""A drawn box may round to the next pixel beyond the image."""


@dataclass(frozen=True)
class Exam:
    """One patient's images, and what else is known of them.

    Attributes:
        dicom: folder of the DICOM files, all of one patient.
        boxes: image and box (x_min, y_min, x_max, y_max) in pixels of the stored matrix, of each lesion; an image is
            named by its file's name, its path in the folder, or its image_id.
        regions: annotation file, in place of `boxes`.
        clinical: value of each feature that is known, as text.
        side: treated side; by default the side of the boxes, or of all images.
    """

    dicom: Path
    boxes: tuple[tuple[str, Box], ...] = ()
    regions: Path | None = None
    clinical: Mapping[str, str] = field(default_factory=dict)
    side: Literal["L", "R"] | None = None


def parse_box(text: str) -> tuple[str, Box]:
    """Read `IMAGE:x_min,y_min,x_max,y_max`; `InputError` for anything else."""
    image, colon, corners = text.rpartition(":")
    numbers = [_number(corner) for corner in corners.split(",")]
    if not (colon and image and len(numbers) == 4 and all(map(math.isfinite, numbers))):
        raise InputError(f"--box {text}: expected IMAGE:x_min,y_min,x_max,y_max, e.g. IM0001.dcm:812,1040,1010,1275")
    return image, (numbers[0], numbers[1], numbers[2], numbers[3])


def parse_clinical(words: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE` words; `InputError` for anything else, or a name that stands twice."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.strip()):
            raise InputError(f"--clinical {word}: expected NAME=VALUE, e.g. age=54")
        if name.strip() in values:
            raise InputError(f"--clinical: {name.strip()} is given twice")
        values[name.strip()] = value.strip()
    return values


def predict_exam(runs: Sequence[Path], exam: Exam, out: Path, *, allow_missing: bool = False) -> Path:
    """Score one patient; say probability, call and what was not seen; write predictions and a proof sheet.

    Args:
        runs: run directories; several are one model.
        exam: the patient.
        out: folder for `predictions.csv`, its JSON and `proof/`; or the name of a CSV file, whose proof sheet goes to
            the folder of that name with `.proof`.
        allow_missing: score without a crop of the lesion, or without any clinical value.

    Returns:
        The path of the predictions.

    Raises:
        InputError: whatever `score_exam` refuses.
    """
    named = out.suffix == ".csv"
    if out.is_dir() == named and out.exists():
        raise InputError(f"--out {out}: expected {'the name of a CSV file' if named else 'a folder'}")
    path, proof = (out, out.with_suffix(".proof")) if named else (out / "predictions.csv", out / "proof")
    with tempfile.TemporaryDirectory(prefix="mammo_aln_exam_") as folder:
        scored = score_exam(runs, exam, Path(folder), allow_missing=allow_missing)
        if scored.data.reads_images:
            write_proof(scored.data.cohort, scored.data.crop_set, proof)
        write_scored(scored, path)
    row = scored.table.iloc[0]
    threshold = float(scored.facts.operating.threshold["value"])
    call = "at or above" if row["call"] == 1 else "below"
    event = (scored.facts.outcome or {}).get("words", "the outcome that the run learnt")
    say(
        f"run {row['run_id']}: probability of {event} {row['score']:.3f}, {call} the frozen threshold"
        f" {threshold:.3f}: called {'positive' if row['call'] == 1 else 'negative'}"
    )
    say(f"seen: {row['inputs_seen'].replace(';', ', ') or 'nothing'}")
    return path


def score_exam(
    runs: Sequence[Path], exam: Exam, folder: Path, *, store: Path | None = None, allow_missing: bool = False
) -> ScoredCohort:
    """Write one patient's exam as a cohort into a folder, and score it as any cohort.

    Args:
        runs: run directories; several are one model.
        exam: the patient.
        folder: empty folder for the cohort.
        store: crop store; by default in that folder.
        allow_missing: score without a crop of the lesion, or without any clinical value.

    Raises:
        InputError: no mammogram, images of several patients, a box or clinical value that does not fit, no lesion or no
            clinical value and not `allow_missing`, or whatever `score_cohort` refuses.
    """
    member = read_member(runs[0])
    settings = read_settings(member.run)
    state = FrozenFacts.of_checkpoint(member.run / "checkpoints" / "best.ckpt").clinical_encoder
    features = ClinicalEncoder.from_state(state).features if state else ()
    _refuse_values(features, exam.clinical)
    cohort = _indexed(exam, folder, features)
    images = pd.read_csv(cohort / "images.csv", dtype=str, keep_default_na=False)
    if exam.boxes and exam.regions:
        raise InputError("--box and --regions: expected one of them")
    if exam.boxes:
        rows = [(_image(name, images), "primary", *box) for name, box in exam.boxes]
        for (image, _, *corners), (name, _) in zip(rows, exam.boxes, strict=True):
            _refuse_outside(name, corners, images[images["image_id"] == image].iloc[0])
        columns = ["image_id", "region", "x_min", "y_min", "x_max", "y_max"]
        write_csv(cohort / "regions.csv", pd.DataFrame(rows, columns=columns))
    elif exam.regions is not None:
        import_regions([exam.regions], cohort)
    _refuse_sides(exam, cohort, images)
    _choose_images(exam, cohort)
    reads_lesion = "primary" in settings.model.inputs and settings.crop.strategy != "whole_breast"
    if reads_lesion and not (exam.boxes or exam.regions or allow_missing):
        raise InputError(
            f"this run reads the lesion ({settings.crop.strategy}), and no box of it is given: "
            "--box IMAGE:x_min,y_min,x_max,y_max (pixels of the stored image), or --regions FILE; --allow_missing "
            f"scores without it. The images:\n{_listed(images)}"
        )
    try:
        return score_cohort(
            tuple(runs),
            cohort,
            store=store or folder / "crops",
            allow_missing=allow_missing,
            one_patient=True,
        )
    except InputError as error:  # the folder that was given, not the one that stands for it
        raise InputError(str(error).replace(str(cohort), str(exam.dicom))) from error


def _indexed(exam: Exam, folder: Path, features: Sequence[ClinicalFeature]) -> Path:
    """The exam's folder as a cohort with one patient; its files are linked side by side, so that headers say whose
    they are and not the names of folders."""
    if not exam.dicom.is_dir():
        raise InputError(f"--dicom {exam.dicom}: expected a folder that holds one patient's DICOM files")
    links, cohort = make_folder(folder / "dicom"), folder / "cohort"
    walked = list(os.walk(exam.dicom))
    linked = [Path(root) / name for root, folders, _ in walked for name in folders if (Path(root) / name).is_symlink()]
    if linked:  # as `index` does
        say(f"{len(linked)} links to folders are not followed ({linked[0]}): put the folders themselves there")
    files = [Path(root) / name for root, _, names in walked for name in names]
    # As `index` does, nothing hidden is looked at: a folder of deleted or synchronised files holds no exam.
    hidden = [path for path in files if any(word.startswith(".") for word in path.relative_to(exam.dicom).parts)]
    files = sorted(set(files) - set(hidden))
    names = Counter(path.name for path in files)
    for path in files:
        own = path.name if names[path.name] == 1 else "__".join(path.relative_to(exam.dicom).parts)
        (links / own).symlink_to(path.resolve())
    row = {"patient_id": PATIENT, "center": CENTER, "side": exam.side or "", "aln_status": ""}
    values = {feature.name: exam.clinical.get(feature.name, "") for feature in features}
    write_csv(cohort / "patients.csv", pd.DataFrame([row | values]))
    declared = {feature.name: _declared(feature) for feature in features}
    about = {"name": COHORT_NAME, "dicom_root": str(links.resolve()), "clinical": declared}
    write_text(cohort / "cohort.yaml", yaml.safe_dump(about, sort_keys=False, allow_unicode=True))
    try:
        index_folder(links, cohort)
    except InputError as error:
        # it names the folder of links, which is gone by the time that somebody reads this
        raise InputError(f"--dicom {exam.dicom}: {_without_mammogram(cohort / 'exclusions.csv')}") from error
    images = pd.read_csv(cohort / "images.csv", dtype=str, keep_default_na=False)
    patients = sorted(images["patient_id"].unique())
    if len(patients) > 1:
        raise InputError(
            f"--dicom {exam.dicom}: images of {len(patients)} patients by their headers; expected those of one "
            "(`mammo-aln index` makes a cohort of several)"
        )
    write_csv(cohort / "images.csv", images.assign(patient_id=PATIENT))
    return cohort


def _without_mammogram(exclusions: Path) -> str:
    """Say that no file of a folder is a mammogram, and why its first ones are none."""
    if not exclusions.is_file():
        return "the folder holds no file"
    rows = pd.read_csv(exclusions, dtype=str, keep_default_na=False)
    shown = "; ".join(f"{row.path}: {row.reason}" for row in rows.head(3).itertuples())
    return f"no mammogram among {len(rows)} files ({shown}{'; ...' if len(rows) > 3 else ''})"


def _refuse_sides(exam: Exam, folder: Path, images: pd.DataFrame) -> None:
    """Refuse lesions that are all in the other breast than the treated one, or in both where no side is stated."""
    if not (exam.boxes or exam.regions):
        return
    regions = pd.read_csv(folder / "regions.csv", dtype=str, keep_default_na=False)
    drawn = images[images["image_id"].isin(regions.loc[regions["region"] == "primary", "image_id"])]
    sides = sorted({"L", "R"} & set(drawn["laterality"]))
    if exam.side and sides and exam.side not in sides:
        raise InputError(f"--side {exam.side}: the lesion's boxes are in images of side {sides[0]}\n{_listed(images)}")
    if len(sides) > 1 and not exam.side:
        raise InputError(
            f"boxes of the lesion in both breasts: expected --side L or --side R, the treated one\n{_listed(images)}"
        )


def _choose_images(exam: Exam, folder: Path) -> None:
    """Say which images are not used and why; refuse several exams, of which nobody says which is before NAT."""
    selection = select_images(read_cohort(folder, need=("patients", "images"), outcome=False))
    if len(selection.undecided):
        files = ", ".join(selection.undecided["path"])
        reasons = " or ".join(dict.fromkeys(selection.undecided["reason"]))
        raise InputError(
            f"--dicom {exam.dicom}: images of {reasons} ({files}); give a folder that holds the one before NAT alone"
        )
    for path, reason in selection.set_aside[["path", "reason"]].itertuples(index=False):
        say(f"not used: {path}: {reason}")


def _declared(feature: ClinicalFeature) -> dict[str, object]:
    stated: dict[str, object] = {"kind": feature.kind, "known_at": feature.known_at}
    if feature.unit:
        stated["unit"] = feature.unit
    if feature.levels:
        stated["levels"] = list(feature.levels)
    return stated


def _refuse_values(features: Sequence[ClinicalFeature], clinical: Mapping[str, str]) -> None:
    """Refuse names and values that the run does not know, all in one message."""
    if clinical and not features:
        raise InputError("--clinical: this run reads no clinical features")
    by_name = {feature.name: feature for feature in features}
    lines = []
    for name, value in clinical.items():
        feature = by_name.get(name)
        if feature is None:
            likely = likely_name(name, list(by_name))
            meant = f"; did you mean {likely}?" if likely else "."
            lines.append(f"{name}: this run has no such feature{meant} It reads {', '.join(by_name)}")
        elif value and feature.kind == "continuous" and not abs(_number(value)) <= MOST:  # NaN too
            unit = f" of {feature.unit}" if feature.unit else ""
            lines.append(f"{name} = {value}: expected a finite number{unit} (up to {MOST:g}), with a point, or nothing")
        elif value and feature.kind != "continuous" and value not in feature.levels:
            likely = likely_name(value, list(feature.levels))
            meant = f"; did you mean {likely}?" if likely else ""
            lines.append(f"{name} = {value}: expected one of {', '.join(feature.levels)}, or nothing{meant}")
    if lines:
        raise InputError("--clinical: " + "\n".join(lines))


def _image(name: str, images: pd.DataFrame) -> str:
    """The image_id that a name stands for; `InputError` where it is none or several."""
    path = "__".join(Path(name).parts)
    hits = images[
        images["image_id"].eq(name)
        | images["path"].isin([name, path])
        | images["path"].map(lambda own: Path(own).stem == name)
    ]
    if len(hits) == 1:
        return str(hits["image_id"].iloc[0])
    many = "names several images" if len(hits) else "no such image"
    meant = did_you_mean(name, [*images["path"], *images["image_id"]]) if hits.empty else ""
    raise InputError(f"--box {name}: {many}{meant}\n{_listed(images)}")


def _refuse_outside(name: str, box: Sequence[float], image: pd.Series) -> None:
    """Refuse a box that is empty, or reaches outside its image."""
    x_min, y_min, x_max, y_max = box
    rows, columns = int(image["rows"]), int(image["columns"])
    shown = ",".join(f"{corner:g}" for corner in box)
    size = f"{columns} columns x {rows} rows"
    if x_min >= x_max or y_min >= y_max:
        raise InputError(f"--box {name}:{shown}: empty; expected x_min < x_max and y_min < y_max")
    if max(-x_min, -y_min, x_max - columns, y_max - rows) > OVERHANG_PX:
        exchanged = max(x_max - rows, y_max - columns) <= OVERHANG_PX
        cause = "; are x and y exchanged?" if exchanged else "; was it drawn on a picture of another size?"
        raise InputError(f"--box {name}:{shown}: reaches outside the image of {size}{cause}")


def _listed(images: pd.DataFrame) -> str:
    return "\n".join(
        f"  {row['path']} ({row['image_id']}): {row['laterality'] or 'side unknown'} {row['view'] or 'view unknown'}, "
        f"{row['columns']} columns x {row['rows']} rows"
        for row in images.to_dict("records")
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
