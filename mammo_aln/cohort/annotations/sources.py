"""Paths that a user names become annotation files, each with its format."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mammo_aln.cohort.annotations.dicom.structure_set import ImageFile, no_image, read_structure_set
from mammo_aln.cohort.annotations.formats import FORMATS, format_of, known_format
from mammo_aln.cohort.annotations.masks import without_lone_label
from mammo_aln.cohort.annotations.record import Annotation, Element, Listed, Skipped
from mammo_aln.cohort.annotations.text.box_table import read_box_table
from mammo_aln.cohort.annotations.text.yolo import COMPANIONS
from mammo_aln.errors import InputError
from mammo_aln.progress import track

AUTO = "auto"


@dataclass(frozen=True)
class SourceReading:
    """Everything that the named files hold.

    Attributes:
        annotations: boxes in the order of files and elements.
        skipped: elements that give no box.
        formats: number of files read by format.
        left_out: files of a folder that no format recognises, and pictures beside annotations.
        listed: names of pictures that the files list, with regions or without.
    """

    annotations: tuple[Annotation, ...]
    skipped: tuple[Skipped, ...]
    formats: Mapping[str, int]
    left_out: tuple[Path, ...]
    listed: tuple[str, ...]


def read_sources(
    files: Sequence[Path], name: str, columns: Mapping[str, str], image_file: ImageFile = no_image
) -> SourceReading:
    """Read files, folders (with all below them) and patterns.

    Args:
        files: as the user names them.
        name: a format's name, or `auto`.
        columns: columns by role for tables of boxes.
        image_file: finds the file of an image's SOP Instance UID, for contours in millimetres.

    Raises:
        InputError: nothing there, a named file that no format recognises, or a file that its format cannot read.
    """
    name = name if name == AUTO else known_format(name)
    formats, left_out = _formats(files, name)
    if not formats:
        raise InputError(f"{', '.join(map(str, files))}: no annotation file: expected {_expected()}")
    own = {
        "csv": partial(read_box_table, columns=columns),
        "rtstruct": partial(read_structure_set, image_file=image_file),
    }
    elements: list[Element] = []
    masks: list[Element] = []
    for path, file_format in track(formats.items(), total=len(formats), what="annotations", unit="file"):
        try:
            reading = own.get(file_format, FORMATS[file_format].read)(path)
        except RecursionError as error:
            raise InputError(f"{path}: nests too deeply for {FORMATS[file_format].title}") from error
        (masks if file_format == "mask" else elements).extend(reading)
    elements += without_lone_label(masks)
    return SourceReading(
        tuple(element for element in elements if isinstance(element, Annotation)),
        tuple(element for element in elements if isinstance(element, Skipped)),
        Counter(formats.values()),
        tuple(left_out),
        tuple(element.image for element in elements if isinstance(element, Listed)),
    )


def _formats(files: Sequence[Path], name: str) -> tuple[dict[Path, str], list[Path]]:
    """The format of each file, and the files of folders that have none."""
    formats: dict[Path, str] = {}
    left_out: list[Path] = []
    for named in files:
        for path in _expanded(named):
            file_format = format_of(path) if name == AUTO else name
            if file_format is not None:
                formats[path] = file_format
            elif named.is_dir():
                left_out.append(path)
            else:
                raise InputError(f"{path}: no format recognises this file: expected {_expected()}; or state --format")
    texts = [path for path, file_format in formats.items() if not FORMATS[file_format].is_picture]
    if name == AUTO and texts and any(named.is_dir() for named in files):
        named_files = {path for named in files if not named.is_dir() for path in _expanded(named)}
        pictures = [path for path in formats if path not in texts and path not in named_files]
        left_out += pictures
        formats = {path: file_format for path, file_format in formats.items() if path not in pictures}
    return formats, left_out


def _expanded(named: Path) -> list[Path]:
    if named.is_dir():
        inside = sorted(path for path in named.rglob("*") if path.is_file() and not path.name.startswith("."))
        return [path for path in inside if path.name.lower() not in COMPANIONS]
    if named.exists() or not glob.has_magic(str(named)):
        return [named]
    root = Path(named.anchor or ".")
    matching = sorted(root.glob(str(named.relative_to(root) if named.anchor else named)))
    if not matching:
        raise InputError(f"{named}: no file matches this pattern")
    return [path for path in matching if path.is_file() and path.name.lower() not in COMPANIONS]


def _expected() -> str:
    return ", ".join(f"{row.title} ({name})" for name, row in FORMATS.items())
