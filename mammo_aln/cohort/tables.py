"""A cohort folder as validated tables. All faults of all tables come in one message."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.declaration import (
    ClinicalFeature,
    Declaration,
    Outcome,
    declaration_differences,
    read_declaration,
)
from mammo_aln.cohort.judged import read_judged, typed_tables
from mammo_aln.cohort.kept_tables import KeptTables, with_remarks, without_remarks
from mammo_aln.cohort.lineage import Source
from mammo_aln.cohort.packed import Packed
from mammo_aln.cohort.values.codes import suspicious_codes
from mammo_aln.cohort.volumes import typed_volumes
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.progress import say

__all__ = [
    "ClinicalFeature",
    "Cohort",
    "image_files",
    "image_path",
    "read_cohort",
    "read_images",
    "table_faults",
    "with_split",
]


@dataclass(frozen=True)
class Cohort:
    """A validated cohort.

    Args:
        root: the cohort folder.
        name: its name.
        dicom_root: folder where the paths of `images` begin.
        clinical: declared clinical features by column.
        patients: one row per treated axilla. Beside the file's columns: `unit_id` (`patient_id`, or `patient_id/side`
            where a side is given), `aln_status` (float: 1, 0, NaN = unknown; the declared label column), `eligible`
            (bool), `side`, `exclusion_reason` (`""` for the eligible). Continuous features are float, all else
            strings or NaN. `split` stands only where the file gives one.
        images: `image_id`, `patient_id`, `path` as given, `laterality` and `view` (NaN = unknown), `spacing_mm` (float,
            NaN = take the file's), and those further columns that `index` writes, `study`, `days`, `timepoint`,
            `eligible`, `exclusion_reason` and `kind` among them (text; see `selection.py`).
        regions: `image_id`, `region`, `x_min`, `y_min`, `x_max`, `y_max` (float, pixels of the stored matrix).
        label_column: column of the outcome.
        label_meaning: what the outcome means.
        volumes: `patient_id`, `timepoint`, `sequence`, `image_path`, `mask_path`, `region`, `mask_label` (0 = every
            value), `mask_roi` (text, may be empty), `spacing_mm` (text, NaN = take the file's).
        sources: data sets that `cohort.yaml` states, with their licences.
        leaks_accepted: why persons or exposures on both sides of it are accepted; empty where they are not.
    """

    root: Path
    name: str
    dicom_root: Path
    clinical: dict[str, ClinicalFeature]
    patients: pd.DataFrame
    images: pd.DataFrame
    regions: pd.DataFrame
    label_column: str = Declaration.label_column
    label_meaning: str = Declaration.label_meaning
    volumes: pd.DataFrame = field(default_factory=lambda: typed_volumes(None))
    sources: tuple[Source, ...] = ()
    leaks_accepted: str = ""

    @property
    def outcome(self) -> Outcome:
        """Name the outcome: its column, and what 1 and 0 mean."""
        return Outcome(self.label_column, self.label_meaning)


def read_cohort(
    root: str | Path,
    *,
    need: Collection[str] = ("patients", "images", "regions"),
    outcome: bool = True,
    tell: bool = True,
    kept_in: Path | None = None,
) -> Cohort:
    """Read and validate a cohort folder.

    Args:
        root: the folder.
        need: tables that must stand; another one is read where it stands and empty where it does not.
        outcome: the outcome's column must stand; without it, a table that lacks the column reads as all unknown.
        tell: say which values look like codes for missing, and read them as they stand.
        kept_in: a crop store, which keeps the tables as they were read for as long as their files do not change.

    Returns:
        The cohort; identifiers are strings.

    Raises:
        InputError: the folder is missing, or any table has faults; all of them are listed.
    """
    root = Path(root)
    kept = KeptTables.of(root, kept_in, need, outcome) if kept_in is not None else None
    packed = kept.read() if kept is not None else None
    declared = read_declaration(root, []) if packed is not None else None
    if packed is not None and declared is not None:
        packed = with_remarks(root, packed, declared, outcome)
    if kept is None or packed is None or declared is None or not kept.holds:
        declared, packed = _judged(root, need, outcome)
        if kept is not None:
            kept.keep(without_remarks(packed, declared))
    if tell:
        for line in packed.facts["codes"]:
            _say_once(root, line)
    return Cohort(
        root=root,
        name=declared.name,
        dicom_root=declared.dicom_root,
        clinical=declared.clinical,
        label_column=declared.label_column,
        label_meaning=declared.label_meaning,
        sources=declared.sources,
        leaks_accepted=declared.leaks_accepted,
        **packed.tables,
    )


def _judged(root: Path, need: Collection[str], outcome: bool) -> tuple[Declaration, Packed]:
    """Read a cohort's tables and give them their types, with what is to be said of their values."""
    tables, declared, faults = read_judged(root, need, outcome)
    raise_bad_cells(faults)
    patients = tables["patients"]
    codes = suspicious_codes(patients, declared) if patients is not None else ()
    lines = [f"patients: {code.feature}: {code}, read as it stands; {code.remedy}" for code in codes]
    return declared, Packed(typed_tables(tables, declared), {"codes": lines})


def read_images(root: str | Path) -> Cohort:
    """Read images and regions of a cohort whose `patients.csv` may not be filled in yet; it has no patients.

    Raises:
        InputError: the folder or `images.csv` is missing, or cohort.yaml, images or regions have faults.
    """
    root = Path(root)
    tables, declared, faults = read_judged(root, ("images",), outcome=False)
    raise_bad_cells([fault for fault in faults if Path(fault.file).stem in ("cohort", "images", "regions")])
    typed = typed_tables({**tables, "patients": None, "volumes": None}, declared)
    return Cohort(
        root=root,
        name=declared.name,
        dicom_root=declared.dicom_root,
        clinical={},
        patients=typed["patients"],
        images=typed["images"],
        regions=typed["regions"],
    )


@lru_cache(maxsize=1000)
def _say_once(root: Path, line: str) -> None:
    """Say a line once in a process, as a verb may read the cohort several times."""
    say(f"{root.name}: {line}")


def table_faults(root: str | Path, *, need: Collection[str] = ("patients",)) -> list[BadCell]:
    """All faults of a cohort's tables, in reading order; `read_cohort` raises them.

    Raises:
        InputError: the folder is missing.
    """
    return read_judged(Path(root), need)[2]


def refuse_differing_declarations(cohorts: Sequence[Cohort]) -> None:
    """Refuse to put patients of several cohorts into one table whose columns mean different things.

    Raises:
        InputError: two declare another kind, unit, levels or known_at of one clinical feature.
    """
    for other in cohorts[1:]:
        if lines := declaration_differences(cohorts[0].clinical, other.clinical):
            raise InputError(
                f"{cohorts[0].name} (here) and {other.name} (there) cannot stand in one table: {'; '.join(lines)}; "
                "make both cohort.yaml say the same, with the values converted, or give one cohort at a time"
            )


def image_files(cohort: Cohort, images: pd.DataFrame) -> dict[str, str]:
    """Files of some rows of `cohort.images`, by `image_id`, as texts: 100,000 paths would take a second to make."""
    root = f"{cohort.dicom_root}/"
    names = [str(name) for name in images["path"].tolist()]
    plain = "\n".join(["", *names])
    if plain.isascii() and "\n/" not in plain:
        files = [root + name for name in names]
    else:
        files = [
            root + name if name.isascii() and name[:1] != "/" else str(_as_it_stands(cohort, name)) for name in names
        ]
    return dict(zip(images["image_id"].tolist(), files, strict=True))


def image_path(cohort: Cohort, image: pd.Series) -> Path:
    """File of one row of `cohort.images`."""
    return _as_it_stands(cohort, str(image["path"]))


def _as_it_stands(cohort: Cohort, name: str) -> Path:
    path = cohort.dicom_root / name
    if str(path).isascii() or path.exists():
        return path
    # macOS writes accents as characters of their own; a copy of the folder, or of the table, may have either form
    forms = [cohort.dicom_root / unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    return next((form for form in forms if form.exists()), path)


def with_split(cohort: Cohort, default: str = "external_test") -> Cohort:
    """The cohort with a `split` column: its own, or `default` for every patient where it has none."""
    if "split" in cohort.patients:
        return cohort
    return replace(cohort, patients=cohort.patients.assign(split=default))
