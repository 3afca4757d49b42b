"""Report of the verb `regions`: boxes read, skipped, clipped, scaled, and the names of regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.annotations.matching import Matches
from mammo_aln.cohort.annotations.placement import Picture, PlacedBox
from mammo_aln.cohort.annotations.sources import SourceReading
from mammo_aln.cohort.region_names import name_advice
from mammo_aln.cohort.tables import Cohort
from mammo_aln.progress import say

SHOWN = 3
CONVENTIONS = {
    "voc": "corners count from 1 and are included, unless a file holds a 0: then they are edges from 0",
    "csv": "x and y without more in their names are the upper left corner",
    "sr": "coordinates are edges, 0 at the upper left corner of the first pixel",
    "pr": "PIXEL units are edges, 0 at the upper left corner of the first pixel; layers are labels",
    "seg": "each connected piece of a segment is a box; fractions count from half",
    "mask": "each connected piece of a label is a box; a lone label 1 names nothing",
    "slicer": "the centre of the first pixel is 0 mm",
}


def nothing_words(files: Sequence[Path], skipped: Mapping[str, int], matches: Matches, cohort: Cohort) -> str:
    """Words for files that give no box: the reasons, and names that no image has."""
    reasons = "; ".join(f"{count} x {reason}" for reason, count in skipped.items()) or "they hold no region"
    words = f"{', '.join(map(str, files))}: no box to take ({reasons})"
    if matches.unmatched:
        row = cohort.images.iloc[0]
        words += (
            f"\n  names in the files: {', '.join(matches.unmatched[:SHOWN])}\n  names in images.csv: image_id "
            f"{row['image_id']}, path {row['path']}\n  expected image_id, SOP Instance UID, path or file name"
        )
    return words


def report(
    source: SourceReading,
    skipped: Mapping[str, int],
    boxes: Sequence[PlacedBox],
    rows: pd.DataFrame,
    matches: Matches,
    known: int,
    picture: Picture,
) -> None:
    """Say what was read, skipped, clipped, scaled and named."""
    read = ", ".join(f"{count} x {name}" for name, count in source.formats.items())
    elements = len(source.annotations) + len(source.skipped)
    say(f"{elements} regions in {sum(source.formats.values())} files ({read})")
    for name in sorted(set(source.formats) & set(CONVENTIONS)):
        say(f"  {name}: {CONVENTIONS[name]}")
    say(f"  read: {len(boxes)} boxes of {rows['image_id'].nunique()} images")
    for reason, count in skipped.items():
        say(f"  skipped: {count} x {reason}")
    if matches.unmatched:
        say(f"  not in images.csv: {len(matches.unmatched)} pictures ({listed(matches.unmatched)})")
    if source.left_out:
        names = listed(path.name for path in source.left_out)
        say(f"  not read: {len(source.left_out)} files of no known format, or pictures beside annotations ({names})")
    clipped = sum(box.clipped != box.drawn for box in boxes)
    if clipped:
        say(f"  clipped: {clipped} boxes reached over their image's edge")
    if known:
        say(f"  not added: {known} boxes stand in regions.csv already, or twice in the files")
    _report_geometry(boxes, picture)
    for region, count in rows["region"].value_counts().items():
        say(f"  region {region}: {count} boxes")
    unnamed = sum(not box.annotation.region for box in boxes)
    if unnamed:
        say(f"  without a label: {unnamed} boxes; --regions says what they are, primary where it does not")
    for name, meant in name_advice(rows["region"]).items():
        say(f"  region {name}: if it is the {meant} region, say --regions {name}={meant}")


def _report_geometry(boxes: Sequence[PlacedBox], picture: Picture) -> None:
    scaled = Counter(
        (box.annotation.rows, box.annotation.columns)
        for box in boxes
        if box.annotation.rows and (box.annotation.rows, box.annotation.columns) != (box.image.rows, box.image.columns)
    )
    for (rows, columns), count in scaled.most_common(SHOWN):
        say(f"  scaled: {count} boxes of pictures of {rows} rows x {columns} columns")
    shares = sum(box.annotation.normalised for box in boxes)
    if shares:
        say(f"  scaled: {shares} boxes in shares of the picture's size")
    pixels = [box.annotation for box in boxes if not (box.annotation.normalised or box.annotation.millimetres)]
    unsized = sum(not (annotation.rows and annotation.columns) for annotation in pixels)
    if unsized:
        size = f"of pictures of {picture.size[0]} rows x {picture.size[1]} columns" if picture.size else "of the image"
        size = f"of pictures of {picture.share:g} of the image's sides" if picture.share else size
        size = f"of pictures whose longer side has {picture.longer_side} pixels" if picture.longer_side else size
        say(f"  {unsized} boxes state no picture size: taken as pixels {size}")
    if picture.flipped != "none":
        say(f"  mirrored back: boxes of {picture.flipped} images")


def listed(names: Iterable[str]) -> str:
    """The first names, with dots for the others."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
