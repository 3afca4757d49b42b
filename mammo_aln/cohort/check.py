"""Find the problems that must be mended before a cohort is used, and the flags that its user should know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.checks.copies import copies, shared_findings
from mammo_aln.cohort.checks.exams import exam_findings, header_findings, patients_without_image
from mammo_aln.cohort.checks.finding import Finding
from mammo_aln.cohort.checks.regions import boxes_on_breasts, region_name_findings
from mammo_aln.cohort.likeness.guard import once_each, shared_in_tables
from mammo_aln.cohort.likeness.people import Labelled, shared_identities, shared_names
from mammo_aln.cohort.listing.identity import identity_of
from mammo_aln.cohort.selection import barred_by_user, select_images, timepoints
from mammo_aln.cohort.tables import Cohort, image_path, read_cohort, table_faults, with_split
from mammo_aln.cohort.values.codes import suspicious_codes
from mammo_aln.cohort.values.columns import spelling_facts
from mammo_aln.cohort.values.table_files import patients_as_written
from mammo_aln.dicom.archive import image_bytes
from mammo_aln.dicom.fast_header import Excluded, FastHeader, read_headers
from mammo_aln.dicom.mammogram import NO_SPACING, judge
from mammo_aln.errors import fault_lines
from mammo_aln.progress import say, track
from mammo_aln.spreadsheet.characters import folded, look_alikes

SHOWN = 50
MISSING_NAMED = 3
# an annotation may round to the next pixel; more than that is another image's box
OVERHANG_PX = 1.0
PLAUSIBLE_SPACING_MM = (0.02, 0.5)
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


def check_cohort(
    root: str | Path,
    *,
    clinical_inputs: bool = True,
    workers: int | None = None,
    kept_in: Path | None = None,
    pixels: bool = True,
) -> list[str]:
    """Check a cohort's tables, splits and files; problems and flags are said on standard error.

    Of files the headers are read, and the pixels: all images' for their fingerprints, and a sample's with boxes.

    Args:
        root: the cohort folder.
        clinical_inputs: a model is to read the declared clinical features, so that one known too late is a problem.
        workers: processes that read headers; by default one per core.
        kept_in: folder that keeps the images' fingerprints; by default `.crops` in the cohort folder.
        pixels: look at pixels; without them nothing is decoded and nothing written.

    Returns:
        The problems, one line each, without the flags; empty where the cohort is fine.

    Raises:
        InputError: there is no such folder.
    """
    faults = table_faults(root)
    if faults:
        lines = fault_lines(faults)
        _say_list(lines, f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'} in the tables")
        return lines
    cohort = read_cohort(root, need=("patients",), tell=False)
    selection = select_images(cohort)
    read = replace(cohort, images=pd.concat([selection.used, selection.undecided]).sort_index())
    eligible = cohort.patients.loc[cohort.patients["eligible"], "patient_id"].unique().tolist()
    splits = with_split(cohort).patients.dropna(subset=["split"])
    stated = dict(zip(splits["patient_id"], splits["split"], strict=True))
    fingerprints_in = (kept_in or cohort.root / ".crops") if pixels else None
    findings = [
        *_codes_and_spellings(cohort),
        *_split_findings(cohort),
        *_late_features(cohort, clinical_inputs),
        *exam_findings(selection),
        *(patients_without_image(cohort, selection) if len(cohort.images) else ()),
        *_completeness(read),
        *region_name_findings(cohort),
        *shared_findings(cohort, once_each([*shared_names(eligible), *shared_in_tables(cohort, eligible, stated)])),
        *_file_findings(cohort, set(read.images["image_id"]), fingerprints_in, workers),
        *(boxes_on_breasts(read, workers, fingerprints_in) if pixels else ()),
    ]
    problems = [f"{finding.subject}: {finding.fact}" for finding in findings if finding.problem]
    flags: dict[str, list[str]] = {}
    for finding in findings:
        if not finding.problem:
            flags.setdefault(finding.fact, []).append(finding.subject)
    for line in _split_table(cohort):
        say(line)
    if not cohort.regions.empty:
        counts = cohort.regions["region"].value_counts()
        say(f"regions: {', '.join(f'{name} ({count})' for name, count in counts.items())}")
    for fact, subjects in flags.items():
        say(f"flag: {fact} ({len(subjects)}: {', '.join(subjects[:3])}{', ...' if len(subjects) > 3 else ''})")
    _say_list(problems, f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}")
    return problems


def _say_list(lines: list[str], head: str) -> None:
    say(head)
    for line in lines[:SHOWN]:
        say(f"  {line}")
    if len(lines) > SHOWN:
        say(f"  ... and {len(lines) - SHOWN} more")


def _late_features(cohort: Cohort, clinical_inputs: bool) -> Iterator[Finding]:
    """Declared clinical features that `train`, `sweep` and `radiomics fit` refuse, or accept on demand alone."""
    for name, feature in cohort.clinical.items():
        if feature.known_at == "post_surgery":
            fact = (
                "known_at is post_surgery, so it holds the outcome and is refused as an input: take it out of "
                "`clinical` in cohort.yaml"
            )
            yield Finding(fact, f"clinical feature {name}", clinical_inputs)
        elif feature.known_at == "post_nat":
            fact = "known_at is post_nat: an input only with data.allow_post_nat (radiomics: fit.allow_post_nat) = true"
            yield Finding(fact, f"clinical feature {name}", False)


def _codes_and_spellings(cohort: Cohort) -> Iterator[Finding]:
    """Values that look like codes for missing, names in several spellings, and names that look like others."""
    table, declared = patients_as_written(cohort.root)
    for code in suspicious_codes(cohort.patients, declared):
        fact = f"{code}; write {code.remedy}, or a range or levels that hold it"
        yield Finding(fact, f"clinical feature {code.feature}", code.apart)
    for column, counts in spelling_facts(table, declared):
        words = ", ".join(f"{name!r} ({count})" for name, count in counts.most_common())
        yield Finding(f"read as one {column}: {words}", f"column {column}", False)
    for names in look_alikes(cohort.patients["center"].dropna().unique()):
        fact = f"centres that look alike and are read as {len(names)}: {', '.join(map(repr, names))}; map them to one"
        yield Finding(f"{fact} with columns.center.map in cohort.yaml", "column center", False)
    alike = look_alikes(cohort.patients["patient_id"].unique(), lambda name: folded(name).lstrip("0"))
    if alike:
        words = "; ".join(" and ".join(map(repr, names)) for names in alike[:MISSING_NAMED])
        fact = (
            f"names that look alike and are read as different patients: {words}{', ...' * (len(alike) > MISSING_NAMED)}"
        )
        yield Finding(f"{fact}; of one patient, rows may come into two splits", "column patient_id", False)


def _split_findings(cohort: Cohort) -> Iterator[Finding]:
    stated = "split" in cohort.patients
    if not stated:
        yield Finding("no split column: the cohort reads as external_test; `split` deals patients out", "cohort", False)
    eligible = with_split(cohort).patients
    eligible = eligible[eligible["eligible"]]
    if eligible.empty:
        yield Finding("no eligible patient", "patients.csv", True)
    for name, rows in eligible.groupby("split"):
        positive, negative = (int((rows["aln_status"] == status).sum()) for status in (1, 0))
        if positive + negative == 0:
            yield Finding("no patient with a known outcome", f"split {name}", name != "external_test")
        elif positive == 0 or negative == 0:
            fact = f"one class only ({positive} patients with status 1, {negative} with status 0)"
            yield Finding(fact, f"split {name}", stated)
    if stated and "train" in set(eligible["split"]) and "val" not in set(eligible["split"]):
        yield Finding("train without val: `train` needs one to choose checkpoint and threshold", "cohort", False)


def _completeness(cohort: Cohort) -> Iterator[Finding]:
    if cohort.images.empty:
        yield Finding("no images.csv: only commands that need no images will run", "cohort", False)
        return
    eligible = cohort.patients[cohort.patients["eligible"]]
    patients = list(dict.fromkeys(eligible["patient_id"]))
    with_image = set(cohort.images["patient_id"])
    yield from _side_findings(cohort, eligible)
    if cohort.regions.empty:
        yield Finding("no box in regions.csv: only crops of the whole breast can be made", "cohort", False)
        return
    primary = set(cohort.regions.loc[cohort.regions["region"] == "primary", "image_id"])
    with_lesion = set(cohort.images.loc[cohort.images["image_id"].isin(primary), "patient_id"])
    for name in patients:
        if name in with_image and name not in with_lesion:
            yield Finding("no primary region in any image of this eligible patient", f"patient {name}", False)
    for column in ("laterality", "view"):
        for image in cohort.images.loc[cohort.images[column].isna(), "image_id"]:
            yield Finding(f"{column} unknown", f"image {image}", False)


def _side_findings(cohort: Cohort, eligible: pd.DataFrame) -> Iterator[Finding]:
    """Treated sides without an image, and primary regions drawn on a side that is not treated."""
    sides = eligible.dropna(subset=["side"]).groupby("patient_id")["side"].agg(set)
    images = cohort.images[cohort.images["patient_id"].isin(sides.index)]
    primary = set(cohort.regions.loc[cohort.regions["region"] == "primary", "image_id"])
    for name, rows in images.groupby("patient_id"):
        shown = set(rows["laterality"].dropna())
        if rows["laterality"].notna().all():
            for side in sorted(sides[name] - shown):
                yield Finding(f"no image of the treated side {side}", f"patient {name}", False)
        idle = rows[rows["image_id"].isin(primary) & rows["laterality"].notna() & ~rows["laterality"].isin(sides[name])]
        for image in idle["image_id"]:
            yield Finding("a primary region on a side that patients.csv does not treat", f"image {image}", False)


def _file_findings(cohort: Cohort, read: set[str], kept_in: Path | None, workers: int | None) -> Iterator[Finding]:
    """Faults of the files of images that are read, and what the headers of all but the barred ones say of exams."""
    images = cohort.images[~barred_by_user(cohort.images)] if len(cohort.images) else cohort.images
    if images.empty:
        return
    paths = [image_path(cohort, row) for _, row in images.iterrows()]
    headers = list(track(read_headers(paths, workers), total=len(paths), what="headers", unit="file"))
    boxes = dict(iter(cohort.regions.groupby("image_id")))
    missing = [path for path, header in zip(paths, headers, strict=True) if _is_missing(header)]
    if len(missing) > MISSING_NAMED:
        yield Finding(_missing_words(cohort, missing, len(paths)), "images.csv", True)
    for (_, image), path, header in zip(images.iterrows(), paths, headers, strict=True):
        subject = f"image {image['image_id']}"
        if image["image_id"] not in read:
            continue
        if isinstance(header, Excluded):
            if len(missing) <= MISSING_NAMED or not _is_missing(header):
                yield Finding(f"{header.reason}: {image['path']}", subject, True)
            continue
        yield from _header_findings(image, header, subject)
        if _is_cut_short(header, path):
            yield Finding(f"the file is too short for its {header.rows} x {header.columns} pixels", subject, True)
        if header.rows and image["image_id"] in boxes:
            yield from _box_findings(boxes[image["image_id"]], header, subject)
    yield from header_findings(images, headers, timepoints(cohort)[images.index])
    patient, center = images["patient_id"].tolist(), cohort.patients.groupby("patient_id")["center"].first()
    labelled = [
        Labelled(image, name, str(center.get(name, "")), header.text("SOPInstanceUID"), identity_of(header))
        for image, name, header in zip(images["image_id"].tolist(), patient, headers, strict=True)
        if isinstance(header, FastHeader)
    ]
    of_read = [number for number, image in enumerate(images["image_id"]) if image in read]
    kept = {images["image_id"].iloc[number]: paths[number] for number in of_read}
    copied: list[set[str]] = []
    for finding, people in copies(cohort, kept, [headers[number] for number in of_read], kept_in, workers):
        yield finding
        copied.append(people)
    persons = [shared for shared in once_each(shared_identities(labelled)) if set(shared.patients) not in copied]
    yield from shared_findings(cohort, persons)


def _is_missing(header: FastHeader | Excluded) -> bool:
    return isinstance(header, Excluded) and header.reason.startswith("cannot be opened (No such file")


def _missing_words(cohort: Cohort, missing: list[Path], total: int) -> str:
    root = cohort.dicom_root
    where = f"the folder {root} is not there" if not root.is_dir() else f"paths begin at {root}"
    shown = ", ".join(path.name for path in missing[:MISSING_NAMED])
    return (
        f"{len(missing)} of {total} files are missing ({shown}, ...): {where}; bring them back, or correct "
        "dicom_root in cohort.yaml"
    )


def _header_findings(image: pd.Series, header: FastHeader, subject: str) -> Iterator[Finding]:
    verdict = judge(header)
    if isinstance(verdict, Excluded):
        yield Finding(f"by its header: {verdict.reason}", subject, header.rows == 0)
        return
    stated = image["spacing_mm"]
    low, high = PLAUSIBLE_SPACING_MM
    if pd.notna(stated) and not low <= stated <= high:
        yield Finding(f"spacing_mm outside {low} to {high} mm", subject, False)
    for flag in verdict.flags:
        # the table may fill in what the header lacks
        if "unknown: fill it in" not in flag and not (flag == NO_SPACING and pd.notna(stated)):
            yield Finding(flag, subject, False)
    for column, of_header in (("laterality", verdict.laterality), ("view", verdict.view)):
        if of_header and pd.notna(image[column]) and image[column] != of_header:
            yield Finding(f"{column} is {image[column]} in images.csv but {of_header} in the header", subject, False)


def _is_cut_short(header: FastHeader, path: Path) -> bool:
    bytes_per_pixel = 2 if header.bits_stored > 8 else 1
    needed = header.rows * header.columns * bytes_per_pixel
    return header.transfer_syntax in UNCOMPRESSED and image_bytes(path) < needed


def _box_findings(boxes: pd.DataFrame, header: FastHeader, subject: str) -> Iterator[Finding]:
    for _, box in boxes.iterrows():
        over = max(-box["x_min"], -box["y_min"], box["x_max"] - header.columns, box["y_max"] - header.rows)
        if over > OVERHANG_PX:
            corners = ", ".join(f"{box[corner]:g}" for corner in ("x_min", "y_min", "x_max", "y_max"))
            size = f"{header.columns} columns x {header.rows} rows"
            yield Finding(f"region {box['region']} ({corners}) reaches outside the image of {size}", subject, True)


def _split_table(cohort: Cohort) -> list[str]:
    patients = with_split(cohort).patients
    eligible = patients[patients["eligible"]]
    lines = [f"{cohort.name}: {patients['patient_id'].nunique()} patients, {len(eligible)} eligible treated axillae"]
    lines.append(f"{'split':<14}{'n':>6}{'share':>8}{'status 1':>10}{'status 0':>10}{'unknown':>9}  centres")
    for name, rows in eligible.groupby("split"):
        positive, negative = (int((rows["aln_status"] == status).sum()) for status in (1, 0))
        unknown, share = len(rows) - positive - negative, len(rows) / len(eligible)
        centers = ", ".join(sorted(rows["center"].unique()))
        lines.append(f"{name!s:<14}{len(rows):>6}{share:>8.1%}{positive:>10}{negative:>10}{unknown:>9}  {centers}")
    return lines
