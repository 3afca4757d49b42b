"""The verb `regions`: boxes of any annotation tool become rows of a cohort's `regions.csv`, all of them or none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.annotations.matching import UID, ListedImage, Matches, match_images, same_file_twice
from mammo_aln.cohort.annotations.placement import Picture, PlacedBox, Sides, StoredImage, place_box, refuse_misfits
from mammo_aln.cohort.annotations.raw_images import raw_instances, with_raw_images
from mammo_aln.cohort.annotations.record import Annotation
from mammo_aln.cohort.annotations.report import SHOWN, listed, nothing_words, report
from mammo_aln.cohort.annotations.sources import SourceReading, read_sources
from mammo_aln.cohort.annotations.text.columns import parse_columns
from mammo_aln.cohort.checks.boxes import misplaced_boxes
from mammo_aln.cohort.judged import REGION_COLUMNS
from mammo_aln.cohort.reading import read_text_table
from mammo_aln.cohort.region_keys import KEYS, with_image_ids
from mammo_aln.cohort.region_names import idle_labels, is_file_name, parse_region_names, region_of
from mammo_aln.cohort.schemas import BOX
from mammo_aln.cohort.tables import Cohort, image_path, read_images
from mammo_aln.cohort.values.table_files import table_file
from mammo_aln.dicom.fast_header import Excluded, FastHeader, read_headers
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import write_csv
from mammo_aln.progress import say, track
from mammo_aln.spreadsheet.written_numbers import numbers

SAME_BOX_PX = 0.5
"""Two boxes of one region whose edges all lie within this are one."""
DECIMALS = 3


def import_regions(
    files: Sequence[Path],
    out: str | Path,
    *,
    format: str = "auto",
    columns: str = "",
    regions: str = "",
    picture_size: str = "",
    stretched: bool = False,
    flipped: Sides = "none",
    spacing_mm: float | None = None,
    replace: bool = False,
) -> Path:
    """Write the boxes of annotation files to `regions.csv`; rows that stand there are kept.

    Args:
        files: annotation files, folders of them or patterns.
        out: the cohort folder, with its `images.csv`.
        format: a name of `formats.FORMATS`, or `auto`.
        columns: `ROLE=COLUMN,...` for tables of boxes.
        regions: `LABEL=REGION,...`.
        picture_size: `ROWSxCOLUMNS` of the annotated pictures, their longer side, or a share of the images' sides,
            where no file says it.
        stretched: pictures of another ratio of sides were stretched.
        flipped: images whose annotated picture was mirrored left to right.
        spacing_mm: spacing of the annotated picture, for millimetres.
        replace: rows of the images that these files name go first.

    Returns:
        The path of `regions.csv`.

    Raises:
        InputError: files, names of images, coordinates or flags that do not make sense; nothing is written then.
    """
    names = parse_region_names(regions)
    picture = Picture(*_parse_size(picture_size), stretched, flipped, spacing_mm)
    cohort = read_images(out)
    source = read_sources(files, format, parse_columns(columns), partial(_image_file, cohort, {}))
    _refuse_idle_flags(source, columns, spacing_mm)
    matches = _matches(cohort, source, source.listed if replace else ())
    skipped = Counter(element.reason for element in source.skipped)
    kept: list[tuple[Annotation, str]] = []
    for annotation in source.annotations:
        region = region_of(annotation.region, names)
        if annotation.image not in matches.image_ids:
            skipped["its image is not in images.csv"] += 1
        elif annotation.frame is not None and annotation.frame > 1:
            skipped["a later frame of a multi-frame image"] += 1
        elif region is None:
            skipped["its label is dropped by --regions"] += 1
        elif not is_file_name(region):
            raise InputError(
                f"{annotation.source}: the label {region!r} becomes part of file names: expected no / and no \\: give "
                "it another name by --regions"
            )
        else:
            kept.append((annotation, region))
    standing = _standing(cohort.root)
    named = None if standing is None else standing["image_id"].isin(matches.image_ids.values())
    is_emptied = replace and not source.annotations and named is not None and named.any()
    if not kept and not is_emptied:
        raise InputError(nothing_words(files, skipped, matches, cohort))
    stored = _stored_images(cohort, {matches.image_ids[annotation.image] for annotation, _ in kept})
    boxes = [place_box(annotation, stored[matches.image_ids[annotation.image]], picture) for annotation, _ in kept]
    refuse_misfits(boxes)
    rows = _rows(boxes, [region for _, region in kept])
    path = cohort.root / "regions.csv"
    if replace and standing is not None and named is not None:
        say(f"  replaced: {named.sum()} rows of the images that the files name")
        standing = standing[~named]
    table, known = _merged(standing, rows)
    doubled = _under_other_names(standing, rows)
    report(source, skipped, boxes, rows, matches, known, picture)
    for label in idle_labels(names, [annotation.region for annotation in source.annotations]):
        say(f"  --regions {label}=...: no box has this label")
    if doubled:
        count, others = sum(doubled.values()), ", ".join(doubled)
        say(f"  {count} boxes stand under another region as well ({others}): --replace true drops those rows")
    _refuse_pattern(cohort, rows, picture)
    write_csv(path, table)
    return path


def _refuse_idle_flags(source: SourceReading, columns: str, spacing_mm: float | None) -> None:
    read = ", ".join(source.formats)
    if columns and "csv" not in source.formats:
        raise InputError(f"--columns {columns}: no file is a table of boxes ({read}): leave it out")
    if spacing_mm is not None and source.annotations and not any(box.millimetres for box in source.annotations):
        raise InputError(f"--spacing_mm {spacing_mm:g}: no box is in millimetres ({read}): leave it out")


def _parse_size(text: str) -> tuple[tuple[int, int] | None, float | None, int | None]:
    """Read `1024x832` as (rows, columns), `0.5` as a share of the image's sides, `1024` as the longer side's pixels."""
    if not text:
        return None, None, None
    size = re.fullmatch(r"([1-9]\d{0,5})\s*[xX×]\s*([1-9]\d{0,5})", text.strip())
    if size is not None:
        return (int(size[1]), int(size[2])), None, None
    if re.fullmatch(r"[1-9]\d{1,5}", text.strip()):
        return None, None, int(text)
    if re.fullmatch(r"\d?\.?\d{1,6}", text.strip()) and 0.001 <= float(text) < 10:
        return None, float(text), None
    raise InputError(
        f"--picture_size {text}: expected ROWSxCOLUMNS (1024x832), the longer side's pixels (1024), or a share of the "
        "image's sides (0.5)"
    )


def _image_file(cohort: Cohort, files: dict[str, Path], uid: str) -> Path | None:
    """The file of an instance; `files` keeps those of all headers once one is asked for."""
    if not files:
        paths = [image_path(cohort, row) for _, row in cohort.images.iterrows()]
        for path, header in zip(paths, _headers(cohort, cohort.images), strict=True):
            files.setdefault(header.text("SOPInstanceUID") if isinstance(header, FastHeader) else "", path)
    return files.get(uid) if uid else None


def _matches(cohort: Cohort, source: SourceReading, listed_names: Sequence[str]) -> Matches:
    """The cohort's image of each name; headers are read only where a UID stands that no image_id was made of.

    Raises:
        InputError: a name that several images have, or two pictures of one name.
    """
    names = [*(annotation.image for annotation in source.annotations), *listed_names]
    listed = [ListedImage(str(row["image_id"]), str(row["path"])) for row in cohort.images.to_dict("records")]
    matches = match_images(names, listed)
    if any(UID.search(name) for name in matches.unmatched):
        headers = _headers(cohort, cohort.images)
        instances = [header.text("SOPInstanceUID") if isinstance(header, FastHeader) else "" for header in headers]
        listed = [ListedImage(image.image_id, image.path, uid) for image, uid in zip(listed, instances, strict=True)]
        matches = match_images(names, listed)
    if may_be_raw := raw_instances(matches, cohort.images):
        paths = [image_path(cohort, row) for _, row in cohort.images.iterrows()]
        matches = with_raw_images(matches, may_be_raw, listed, paths)
    if matches.ambiguous:
        shown = "; ".join(
            f"{name} is {' or '.join(ids[:SHOWN])}" for name, ids in list(matches.ambiguous.items())[:SHOWN]
        )
        raise InputError(
            f"{len(matches.ambiguous)} names of pictures are those of several images in images.csv ({shown}): expected "
            "names that tell them apart: paths with the patient's folder, image_id or SOP Instance UID"
        )
    doubles = same_file_twice(matches.image_ids)
    if doubles:
        image_id, several = next(iter(doubles.items()))
        raise InputError(
            f"{len(doubles)} images are named by pictures of several folders ({image_id}: "
            f"{', '.join(several[:SHOWN])}): two pictures of one name; expected names that tell them apart"
        )
    return matches


def _headers(cohort: Cohort, images: pd.DataFrame) -> list[FastHeader | Excluded]:
    paths = [image_path(cohort, row) for _, row in images.iterrows()]
    return list(track(read_headers(paths), total=len(paths), what="headers", unit="file"))


def _stored_images(cohort: Cohort, image_ids: set[str]) -> dict[str, StoredImage]:
    """Sizes and spacings of images from their headers.

    Raises:
        InputError: a file that cannot be read or states no size.
    """
    images = cohort.images[cohort.images["image_id"].isin(image_ids)]
    stored = {}
    for (_, row), header in zip(images.iterrows(), _headers(cohort, images), strict=True):
        if isinstance(header, Excluded) or not header.rows or not header.columns:
            reason = header.reason if isinstance(header, Excluded) else "the header states no size"
            raise InputError(f"image {row['image_id']} ({row['path']}): {reason}: expected its DICOM file")
        spacings = {pair for pair in (header.imager_spacing, header.pixel_spacing) if pair is not None}
        stored[str(row["image_id"])] = StoredImage(
            str(row["image_id"]),
            header.rows,
            header.columns,
            str(row["laterality"]) if pd.notna(row["laterality"]) else "",
            spacings.pop() if len(spacings) == 1 else None,
        )
    return stored


def _rows(boxes: Sequence[PlacedBox], regions: Sequence[str]) -> pd.DataFrame:
    """Rows of `regions.csv`, edges as text: a table that stands is text too."""
    edges = np.array([box.clipped for box in boxes]).reshape(-1, 4).round(DECIMALS)
    table = pd.DataFrame({"image_id": [box.image.image_id for box in boxes], "region": regions})
    for index, corner in enumerate(BOX):
        table[corner] = [f"{edge:.{DECIMALS}f}".rstrip("0").rstrip(".") for edge in edges[:, index]]
    return table


def _standing(root: Path) -> pd.DataFrame | None:
    """The table that stands, every cell as the text it is, rows named by image_id.

    Raises:
        InputError: a workbook, whose further sheets and formats would be lost, or a table that cannot be read.
    """
    faults: list[BadCell] = []
    path = table_file(root, "regions", faults)
    if path is None or path.suffix != ".csv":
        raise_bad_cells(faults)
        if path is not None:
            raise InputError(f"{path}: a workbook stands here: save it as regions.csv and take the workbook away")
        return None
    table = read_text_table(path, faults, (*REGION_COLUMNS, *KEYS), may_be_empty=True)
    images = read_text_table(table_file(root, "images", faults) or root / "images.csv", faults)
    raise_bad_cells(faults)
    return None if table is None else with_image_ids(table, images)[0].fillna("")


def _merged(standing: pd.DataFrame | None, rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The table with the new rows below, and how many boxes stood already or were named twice."""
    if standing is None:
        standing = pd.DataFrame(columns=rows.columns, dtype=object)
    of_images = standing["image_id"].isin(rows["image_id"])
    empty = (standing[list(BOX)] == "").all(axis=1)  # a template's row, filled in now
    standing = standing[~(of_images & empty)]
    known: dict[tuple[str, str], list[np.ndarray]] = {}
    for image_id, region, *corners in standing[["image_id", "region", *BOX]].itertuples(index=False):
        edges = numbers(pd.Series(corners, dtype=object)).to_numpy(float)
        known.setdefault((str(image_id).strip(), str(region).strip()), []).append(edges)
    new = []
    for image_id, region, *corners in rows.itertuples(index=False):
        edges = np.array(corners, float)
        like = known.setdefault((image_id, region), [])
        new.append(not any(np.abs(edges - other).max() <= SAME_BOX_PX for other in like))
        like.append(edges)
    return pd.concat([standing, rows[np.array(new, bool)]], ignore_index=True), new.count(False)


def _under_other_names(standing: pd.DataFrame | None, rows: pd.DataFrame) -> dict[str, int]:
    """Count new boxes that stand already under another region's name, by that name."""
    if standing is None:
        return {}
    drawn = standing[(standing[list(BOX)] != "").all(axis=1)]
    edges = drawn[list(BOX)].apply(numbers).to_numpy(float)
    names = drawn["region"].str.strip().to_numpy(object)
    of_image = drawn.groupby(drawn["image_id"].str.strip()).indices
    counts: Counter[str] = Counter()
    for image_id, region, *corners in rows.itertuples(index=False):
        for row in of_image.get(image_id, ()):
            if names[row] != region and np.abs(edges[row] - np.array(corners, float)).max() <= SAME_BOX_PX:
                counts[names[row]] += 1
    return dict(counts)


def _refuse_pattern(cohort: Cohort, rows: pd.DataFrame, picture: Picture) -> None:
    """Look at the pixels under a sample of the boxes.

    Raises:
        InputError: many boxes lie off the breast, and one change of all of them would bring them there, or most do.
    """
    misplacement = misplaced_boxes(cohort, rows)
    if misplacement is None:
        return
    if misplacement.is_certain:
        flags = "" if picture == Picture() else " (the flags given were applied before: the cause is what is left)"
        raise InputError(f"{misplacement.words}{flags}; nothing is written")
    say(f"  look at these: {misplacement.words} ({listed(misplacement.images)})")
