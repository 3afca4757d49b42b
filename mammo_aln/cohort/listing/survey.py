"""One file to what `index` writes of it, or to why it is left out. Imports little and hands back plain words, so that a
pool's processes start at once and their answers travel fast."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import NamedTuple

from mammo_aln.cohort.listing.exams import DISAGREEMENT, dates_disagree, exam_day
from mammo_aln.cohort.listing.identity import Identity, identity_of
from mammo_aln.dicom.fast_header import Excluded, FastHeader, read_header
from mammo_aln.dicom.mammogram import judge
from mammo_aln.dicom.spacing import pair_text
from mammo_aln.dicom.views import MAGNIFICATION_VIEW_FROM
from mammo_aln.spreadsheet.characters import as_cell


class SurveyedImage(NamedTuple):
    """One mammogram: whose and of which day it is (never written into a cohort), its flags, and its cells in
    `images.csv`."""

    sop_instance: str
    identity: Identity
    accession: str
    study_date: str
    day: int | None
    flags: tuple[str, ...]
    cells: dict[str, str]


def survey(path: Path) -> SurveyedImage | Excluded:
    """Read and judge one file; the reason where it is no mammogram that can be used."""
    header = read_header(path)
    if isinstance(header, Excluded):
        return header
    verdict = judge(header)
    if isinstance(verdict, Excluded):
        return verdict
    spacing = verdict.spacing
    cells = {
        "laterality": verdict.laterality,
        "view": verdict.view,
        "kind": kind_words(header),
        "manufacturer": header.text("Manufacturer"),
        "model": header.text("ManufacturerModelName"),
        "rows": str(header.rows),
        "columns": str(header.columns),
        "imager_pixel_spacing_mm": pair_text(header.imager_spacing),
        "pixel_spacing_mm": pair_text(header.pixel_spacing),
        "magnification": "" if header.magnification is None else str(header.magnification),
        "breast_spacing_mm": "" if spacing is None else pair_text((spacing.row_mm, spacing.column_mm)),
        "spacing_source": "" if spacing is None else spacing.source,
        "photometric": header.photometric,
        "transfer_syntax": header.transfer_syntax,
        "bits_stored": str(header.bits_stored),
        "presentation_intent": header.text("PresentationIntentType"),
    }
    flags = [*verdict.flags, *([DISAGREEMENT] if dates_disagree(header) else [])]
    cells = {name: as_cell(text) for name, text in cells.items()}
    return SurveyedImage(
        header.text("SOPInstanceUID"),
        Identity(*map(intern, identity_of(header))),
        header.text("AccessionNumber"),
        header.text("StudyDate"),
        exam_day(header),
        tuple(map(intern, flags)),
        dict(zip(cells, map(intern, cells.values()), strict=True)),
    )


def kind_words(header: FastHeader) -> str:
    """Name what an image is, in words separated by blanks: its kind, `for_processing`, and its view modifiers."""
    modifiers = set(header.view_modifiers)
    if (header.magnification or 1.0) >= MAGNIFICATION_VIEW_FROM:
        modifiers.add("magnification")
    return " ".join([header.kind, *(["for_processing"] if header.for_processing else []), *sorted(modifiers)])
