"""One file to what `index` writes of it, or to why it is left out. Imports little and hands back plain words, so that a
pool's processes start at once and their answers travel fast."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import NamedTuple

from mammo_aln.dicom.fast_header import Excluded, read_header
from mammo_aln.dicom.mammogram import judge
from mammo_aln.dicom.spacing import breast_spacing, pair_text


class SurveyedImage(NamedTuple):
    """One mammogram: whose it is (never written), then its columns of `images.csv`."""

    sop_instance: str
    patient: str
    study: str
    flags: tuple[str, ...]
    laterality: str
    view: str
    manufacturer: str
    model: str
    rows: int
    columns: int
    imager_pixel_spacing_mm: str
    pixel_spacing_mm: str
    magnification: str
    breast_spacing_mm: str
    spacing_source: str
    photometric: str
    transfer_syntax: str
    bits_stored: int
    presentation_intent: str


def survey(path: Path) -> SurveyedImage | Excluded:
    """Read and judge one file; the reason where it is no mammogram that can be used."""
    header = read_header(path)
    if isinstance(header, Excluded):
        return header
    verdict = judge(header)
    if isinstance(verdict, Excluded):
        return verdict
    spacing = breast_spacing(header)[0]
    return SurveyedImage(
        header.sop_instance,
        intern(header.patient),
        header.study,
        tuple(map(intern, verdict.flags)),
        intern(verdict.laterality),
        intern(verdict.view),
        intern(header.manufacturer),
        intern(header.model),
        header.rows,
        header.columns,
        intern(pair_text(header.imager_spacing)),
        intern(pair_text(header.pixel_spacing)),
        "" if header.magnification is None else intern(str(header.magnification)),
        "" if spacing is None else intern(pair_text((spacing.row_mm, spacing.column_mm))),
        "" if spacing is None else spacing.source,
        intern(header.photometric),
        intern(header.transfer_syntax),
        header.bits_stored,
        intern(header.presentation_intent),
    )
