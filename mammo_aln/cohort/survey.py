"""One file to what `index` writes of it, or to why it is left out. Imports little and hands back plain words, so that a
pool's processes start at once and their answers travel fast."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import NamedTuple

from mammo_aln.dicom.fast_header import Excluded, read_header
from mammo_aln.dicom.mammogram import judge
from mammo_aln.dicom.spacing import pair_text


class SurveyedImage(NamedTuple):
    """One mammogram: whose it is (never written), its flags, and its cells in `images.csv`."""

    sop_instance: str
    patient: str
    study: str
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
    return SurveyedImage(
        header.text("SOPInstanceUID"),
        intern(header.text("PatientID")),
        header.text("StudyInstanceUID"),
        tuple(map(intern, verdict.flags)),
        dict(zip(cells, map(intern, cells.values()), strict=True)),
    )
