"""One file to what `index` writes of it, or to why it is left out. Imports little and hands back plain words, so that a
pool's processes start at once and their answers travel fast."""

from __future__ import annotations

from pathlib import Path
from sys import intern
from typing import NamedTuple

from mammo_aln.dicom.fast_header import Excluded, read_header
from mammo_aln.dicom.mammogram import judge, spacing_text


class Found(NamedTuple):
    """One mammogram: who it is of (never written), then its columns of `images.csv`."""

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
    photometric: str
    transfer_syntax: str
    bits_stored: int
    presentation_intent: str


def survey(path: Path) -> Found | str:
    """Read and judge one file; the reason where it is no mammogram that can be used."""
    header = read_header(path)
    verdict = header if isinstance(header, Excluded) else judge(header)
    if isinstance(header, Excluded) or isinstance(verdict, Excluded):
        assert isinstance(verdict, Excluded)
        return verdict.reason
    return Found(
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
        intern(spacing_text(header.imager_spacing_mm)),
        intern(spacing_text(header.spacing_mm)),
        intern(header.magnification),
        intern(header.photometric),
        intern(header.transfer_syntax),
        header.bits_stored,
        intern(header.presentation_intent),
    )
