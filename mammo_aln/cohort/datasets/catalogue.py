"""The public data sets that `mammo-aln import` knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mammo_aln.cohort.datasets import (
    cbis_ddsm,
    cmmd,
    csaw_cc,
    duke,
    embed,
    inbreast,
    ispy,
    mama_mia,
    mammo_mx,
    nlbs,
    rsna,
    vindr,
)
from mammo_aln.cohort.datasets.folder import CohortTables, PublicSet, absent_files, refuse_standing, write_cohort_folder
from mammo_aln.cohort.lineage import joined, lineage_lines
from mammo_aln.dicom.spacing import LARGEST_MM, SMALLEST_MM
from mammo_aln.errors import InputError, did_you_mean
from mammo_aln.progress import say


@dataclass(frozen=True)
class Reader:
    """A data set's facts, and the function that reads the folder of its owner."""

    facts: PublicSet
    read: Callable[[Path], CohortTables]


DATASETS: dict[str, Reader] = {
    "vindr": Reader(vindr.FACTS, vindr.read_vindr),
    "cbis-ddsm": Reader(cbis_ddsm.FACTS, cbis_ddsm.read_cbis_ddsm),
    "inbreast": Reader(inbreast.FACTS, inbreast.read_inbreast),
    "cmmd": Reader(cmmd.FACTS, cmmd.read_cmmd),
    "embed": Reader(embed.FACTS, embed.read_embed),
    "rsna": Reader(rsna.FACTS, rsna.read_rsna),
    "csaw-cc": Reader(csaw_cc.FACTS, csaw_cc.read_csaw_cc),
    "nlbs": Reader(nlbs.FACTS, nlbs.read_nlbs),
    "mammo-mx": Reader(mammo_mx.FACTS, mammo_mx.read_mammo_mx),
    "duke": Reader(duke.FACTS, duke.read_duke),
    "mama-mia": Reader(mama_mia.FACTS, mama_mia.read_mama_mia),
    "ispy1": Reader(ispy.FACTS_1, ispy.read_ispy1),
    "ispy2": Reader(ispy.FACTS_2, ispy.read_ispy2),
    "ispy": Reader(ispy.FACTS_BOTH, ispy.read_ispy),
}
"""By the name to type."""

TRUE_LABEL = "aln_status"


def import_tables(name: str, source: Path, out: Path, *, spacing_mm: float | None = None) -> Path:
    """Make a cohort folder of a public data set's tables; its images stay where they are.

    Args:
        name: a key of `DATASETS`.
        source: folder as the set's owner publishes it (`dicom_root` of `cohort.yaml`).
        out: the cohort folder; nothing stands there yet.
        spacing_mm: millimetres of breast per pixel, for a set whose files state none.

    Raises:
        InputError: no such data set or folder, a table is missing or not the set's, a spacing that is not to be stated,
            or something stands at `out`.
    """
    if name not in DATASETS:
        meant = did_you_mean(name, list(DATASETS))
        raise InputError(f"name = {name!r}: no such data set{meant}; expected one of {', '.join(DATASETS)}")
    facts = DATASETS[name].facts
    if not source.is_dir():
        raise InputError(f"{source}: no such folder (expected one that holds the tables of {name}: {facts.tables})")
    refuse_standing(out)
    if spacing_mm is not None:
        _refuse_spacing(name, facts, spacing_mm)
    tables = DATASETS[name].read(source)
    if spacing_mm is not None and tables.images is not None:
        tables = replace(tables, images=tables.images.assign(spacing_mm=spacing_mm))
    folder = write_cohort_folder(tables, out, facts=facts, dicom_root=source)
    _report(name, facts, tables, source, spacing_mm)
    return folder


def _refuse_spacing(name: str, facts: PublicSet, spacing_mm: float) -> None:
    if not facts.takes_spacing:
        raise InputError(f"--spacing_mm {spacing_mm:g}: {name} has its own ({facts.spacing}); leave it out")
    if not SMALLEST_MM <= spacing_mm <= LARGEST_MM:
        raise InputError(f"--spacing_mm {spacing_mm:g}: expected millimetres, {SMALLEST_MM} to {LARGEST_MM:g}")


def _report(name: str, facts: PublicSet, tables: CohortTables, source: Path, spacing_mm: float | None) -> None:
    """Say what was read, what was left out and why, what the label is, and what the licence asks."""
    counts = {
        "patients": tables.patients["patient_id"].nunique(),
        "rows in patients.csv": len(tables.patients),
        **{
            word: len(table)
            for word, table in (("images", tables.images), ("regions", tables.regions), ("volumes", tables.volumes))
            if table is not None
        },
    }
    say(f"{name}: {', '.join(f'{count} {word}' for word, count in counts.items())}")
    for reason, count in tables.skipped.items():
        say(f"  left out: {count} {reason}")
    if tables.images is not None and (absent := absent_files(tables.images, source)):
        say(f"  {absent} of the {len(tables.images)} image files do not lie below {source}")
    for note in tables.notes:
        say(f"  note: {note}")
    if facts.takes_spacing and spacing_mm is None and tables.images is not None:
        say(f"  note: spacing: {facts.spacing}; crops in millimetres need --spacing_mm, or spacing_mm in images.csv")
    known = int(tables.patients[tables.label].notna().sum())
    say(f"  label: {tables.label} ({tables.meaning}), known in {known} of {len(tables.patients)} rows")
    if tables.label != TRUE_LABEL:
        say("  the set has no nodal status after NAT: aln_status is unknown, and this label is for pre-training")
    if facts.seen == "no":
        say("  note: this layout follows descriptions and others' code; no real table of the set was at hand")
    for line in lineage_lines(joined((facts.source,), tables.sources)):
        say(f"  {line}")
