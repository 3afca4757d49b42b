"""A cohort folder as validated tables. All faults of all tables come in one message."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import (
    ClinicalFeature,
    Declaration,
    Outcome,
    declaration_differences,
    read_declaration,
)
from mammo_aln.cohort.kept_tables import KeptTables
from mammo_aln.cohort.lineage import Source
from mammo_aln.cohort.packed import Packed
from mammo_aln.cohort.reading import read_text_table
from mammo_aln.cohort.region_keys import with_image_ids
from mammo_aln.cohort.schemas import (
    BOX,
    NAT_START_DAY,
    YES_NO,
    box_faults,
    images_schema,
    numbers,
    patients_schema,
    regions_schema,
    row_faults,
    schema_faults,
)
from mammo_aln.cohort.values.codes import suspicious_codes
from mammo_aln.cohort.values.columns import as_declared, known_columns
from mammo_aln.cohort.volumes import VOLUME_COLUMNS, VOLUME_OPTIONS, typed_volumes, volume_faults, volumes_schema
from mammo_aln.dicom.image_tags import SIDES
from mammo_aln.dicom.views import SCREENING_VIEWS
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import write_csv, written_whole
from mammo_aln.progress import say
from mammo_aln.spreadsheet.characters import as_listed, letters_alone
from mammo_aln.spreadsheet.delimited import UnreadableText
from mammo_aln.spreadsheet.missing import without_missing_words
from mammo_aln.spreadsheet.workbook import WORKBOOKS, write_workbook_column

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

IMAGE_COLUMNS = ("image_id", "patient_id", "path", "laterality", "view", "spacing_mm")
REGION_COLUMNS = ("image_id", "region", *BOX)
EXAM_COLUMNS = ("study", "days", "timepoint", "eligible", "exclusion_reason", "kind", "sop_instance_uid")
KNOWN_COLUMNS = {
    "images": (*IMAGE_COLUMNS, *EXAM_COLUMNS),
    "regions": (*REGION_COLUMNS, "sop_instance_uid", "path"),
    "volumes": (*VOLUME_COLUMNS, *VOLUME_OPTIONS),
}
NO_REASON = "not stated"


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
            NaN = take the file's), and the file's further columns, `study`, `days`, `timepoint`, `eligible`,
            `exclusion_reason` and `kind` among them (text; see `selection.py`).
        regions: `image_id`, `region`, `x_min`, `y_min`, `x_max`, `y_max` (float, pixels of the stored matrix).
        label_column: column of the outcome.
        label_meaning: what the outcome means.
        volumes: `patient_id`, `timepoint`, `sequence`, `image_path`, `mask_path`, `region`, `mask_label` (0 = every
            value), `spacing_mm` (text, NaN = take the file's).
        sources: data sets that `cohort.yaml` states, with their licences.
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
    if kept is None or packed is None or declared is None or not kept.holds:
        declared, packed = _judged(root, need, outcome)
        if kept is not None:
            kept.keep(packed)
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
        **packed.tables,
    )


def _judged(root: Path, need: Collection[str], outcome: bool) -> tuple[Declaration, Packed]:
    """Read a cohort's tables and give them their types, with what is to be said of their values."""
    tables, declared, faults = _read(root, need, outcome)
    raise_bad_cells(faults)
    patients = tables["patients"]
    codes = suspicious_codes(patients, declared) if patients is not None else ()
    typed = {
        "patients": _typed_patients(patients, declared),
        "images": _typed(tables["images"], IMAGE_COLUMNS, ("spacing_mm",)),
        "regions": _typed(tables["regions"], REGION_COLUMNS, BOX),
        "volumes": typed_volumes(tables["volumes"]).reset_index(drop=True),
    }
    lines = [f"patients: {code.feature}: {code}, read as it stands; {code.remedy}" for code in codes]
    return declared, Packed(typed, {"codes": lines})


def read_images(root: str | Path) -> Cohort:
    """Read images and regions of a cohort whose `patients.csv` may not be filled in yet; it has no patients.

    Raises:
        InputError: the folder or `images.csv` is missing, or cohort.yaml, images or regions have faults.
    """
    root = Path(root)
    tables, declared, faults = _read(root, ("images",), outcome=False)
    raise_bad_cells([fault for fault in faults if Path(fault.file).stem in ("cohort", "images", "regions")])
    return Cohort(
        root=root,
        name=declared.name,
        dicom_root=declared.dicom_root,
        clinical={},
        patients=_typed_patients(None, declared),
        images=_typed(tables["images"], IMAGE_COLUMNS, ("spacing_mm",)),
        regions=_typed(tables["regions"], REGION_COLUMNS, BOX),
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
    return _read(Path(root), need)[2]


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


def patients_as_written(root: Path) -> tuple[pd.DataFrame, Declaration]:
    """Text of `patients.csv` and what `cohort.yaml` says of it, before one is read by the other.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    faults: list[BadCell] = []
    declared = read_declaration(root, faults)
    table = _table(root, "patients", True, known_columns(declared), faults)
    raise_bad_cells(faults)
    if table is None:
        raise InputError(f"{root}: patients.csv changed meanwhile; run the command again")
    return table, declared


def write_patients_column(root: Path, name: str, by_patient: Mapping[str, str]) -> Path:
    """Write one column of `patients.csv`, or of the workbook in its place; other columns stay as they are written.

    Args:
        root: the cohort folder.
        name: the column, as the product knows it.
        by_patient: its value by `patient_id`; others get an empty cell.

    Returns:
        The file.

    Raises:
        InputError: the table cannot be read, or the workbook cannot take a column without losing something.
    """
    table, declared = patients_as_written(root)
    path = table_file(root, "patients", []) or root / "patients.csv"
    values = as_declared(table, declared, [])["patient_id"].map(by_patient)
    column = declared.readings[name].column if name in declared.readings else name
    if path.suffix == ".csv":
        write_csv(path, table.assign(**{column: values}))
        return path
    with written_whole(path) as unfinished:
        try:
            cells = dict(zip(values.index.tolist(), values.fillna("").tolist(), strict=True))
            write_workbook_column(path, column, cells, unfinished)
        except UnreadableText as error:
            raise InputError(f"{path.name}, {error.column}: {error.value}; expected {error.expected}") from error
    return path


def with_split(cohort: Cohort, default: str = "external_test") -> Cohort:
    """The cohort with a `split` column: its own, or `default` for every patient where it has none."""
    if "split" in cohort.patients:
        return cohort
    return replace(cohort, patients=cohort.patients.assign(split=default))


def _read(
    root: Path, need: Collection[str], outcome: bool = True
) -> tuple[dict[str, pd.DataFrame | None], Declaration, list[BadCell]]:
    if root.is_file():
        raise InputError(f"{root}: is a file; expected the cohort folder, e.g. {root.absolute().parent}")
    if not root.is_dir():
        raise InputError(f"{root}: no such cohort folder (expected a folder that holds patients.csv)")
    faults: list[BadCell] = []
    declared = read_declaration(root, faults)
    names = {"patients": known_columns(declared), **KNOWN_COLUMNS}
    tables = {name: _table(root, name, name in need, known, faults) for name, known in names.items()}
    patients, images, regions = tables["patients"], tables["images"], tables["regions"]
    if patients is not None:
        patients = _with_units(as_declared(patients, declared, faults))
        if not outcome and declared.label_column not in patients:
            patients = patients.assign(**{declared.label_column: pd.Series(np.nan, patients.index, dtype=object)})
        tables["patients"] = patients
        faults += _patient_faults(patients, declared)
    if images is not None:
        faults += schema_faults("images.csv", images, images_schema(*_known(patients, images)), {})
    if regions is not None:
        regions, shown_as = with_image_ids(_drawn(regions), images)
        tables["regions"] = regions
        faults += schema_faults("regions.csv", regions, regions_schema(_ids(images, "image_id")), shown_as)
        if len(regions) and set(REGION_COLUMNS) <= set(regions.columns):
            faults += box_faults("regions.csv", regions)
    volumes = tables["volumes"]
    if volumes is not None:
        faults += schema_faults("volumes.csv", volumes, volumes_schema(_ids(patients, "patient_id")), {})
        faults += volume_faults(volumes)
    files = {f"{name}.csv": path.name for name in tables if (path := table_file(root, name, []))}
    faults = [replace(fault, file=files.get(fault.file, fault.file)) for fault in faults]
    return tables, declared, _in_reading_order(faults)


def table_file(root: Path, name: str, faults: list[BadCell]) -> Path | None:
    """File of one of a cohort's tables: CSV or workbook; None where there is none, a fault where there are both."""
    files = [path for path in (root / f"{name}{ending}" for ending in (".csv", *WORKBOOKS)) if path.is_file()]
    if len(files) > 1:
        words = " and ".join(path.name for path in files)
        faults.append(BadCell(files[0].name, None, "files", words, "one of them; take the other away"))
        return None
    return files[0] if files else None


def _table(root: Path, name: str, needed: bool, known: Collection[str], faults: list[BadCell]) -> pd.DataFrame | None:
    before = len(faults)
    path = table_file(root, name, faults)
    if path is not None:
        table = read_text_table(path, faults, known, may_be_empty=name == "regions")
        return table if table is None or name == "patients" else _spelt(without_missing_words(table))
    if needed and len(faults) == before:
        faults.append(BadCell(f"{name}.csv", None, "file", "missing", f"this file in {root}"))
    return None


def _spelt(table: pd.DataFrame) -> pd.DataFrame:
    """The table with sides and views as the product writes them, whatever their case."""
    listed = {"laterality": SIDES, "view": SCREENING_VIEWS}
    cells = {name: table[name] for name in listed if name in table}
    spelt = {name: {value: as_listed(value, listed[name]) for value in cells[name].dropna().unique()} for name in cells}
    return table.assign(
        **{name: cells[name].map(lambda value, by=by: by.get(value, value)) for name, by in spelt.items()}
    )


def _ids(table: pd.DataFrame | None, column: str) -> set[str] | None:
    return set(table[column].dropna()) if table is not None and column in table else None


def _known(patients: pd.DataFrame | None, images: pd.DataFrame) -> tuple[set[str] | None, str]:
    """Patients that images may have, and in words what became of the identifiers that patients.csv lacks."""
    ids = _ids(patients, "patient_id")
    if ids is None or "patient_id" not in images:
        return ids, ""
    strangers = [name for name in images["patient_id"].dropna() if name not in ids]
    nearest = {_bare(name): name for name in sorted(ids)} if strangers else {}
    for name in strangers:
        near = nearest.get(_bare(name))
        if near is not None:
            return ids, f"; it has {near!r} for {name!r} (leading zeros, a decimal or signs lost, or another case)"
    return ids, ""


def _bare(name: str) -> str:
    """Give what is left of an identifier after a spreadsheet: `007`, `7` and `7.0` are one."""
    return letters_alone(name.removesuffix(".0")).lstrip("0")


def _drawn(regions: pd.DataFrame) -> pd.DataFrame:
    """Rows of regions.csv that hold a box; a template has one empty row per image."""
    corners = [name for name in BOX if name in regions]
    return regions[regions[corners].notna().any(axis=1)] if len(corners) == len(BOX) else regions


def _with_units(patients: pd.DataFrame) -> pd.DataFrame:
    """Add `unit_id`; an entirely empty `split` column (a template) counts as none."""
    if "split" in patients and patients["split"].isna().all():
        patients = patients.drop(columns="split")
    if "patient_id" not in patients:
        return patients.assign(unit_id=np.nan)
    sided = patients["patient_id"] + "/" + patients["side"] if "side" in patients else np.nan
    return patients.assign(unit_id=pd.Series(sided, patients.index, dtype=object).fillna(patients["patient_id"]))


def _patient_faults(patients: pd.DataFrame, declared: Declaration) -> list[BadCell]:
    schema = patients_schema(declared.clinical, patients, declared.label_column)
    faults = schema_faults("patients.csv", patients, schema, {"unit_id": "patient_id"})
    if "patient_id" not in patients:
        return faults
    several = patients["patient_id"].duplicated(keep=False) & patients["patient_id"].notna()
    if "side" in patients:
        no_side = several & patients["side"].isna()
        faults += row_faults("patients.csv", patients, no_side, "side", "L or R, as this patient has several rows")
    for name in {"center", "split", NAT_START_DAY} & set(patients.columns):
        cells = patients[name]
        first = cells.groupby(patients["patient_id"]).transform("first")
        differs = several & cells.notna() & (cells != first)
        faults += row_faults("patients.csv", patients, differs, name, first + ", as in this patient's other row")
    if "split" in patients:
        used = ~patients["eligible"].str.lower().map(YES_NO).eq(False) if "eligible" in patients else True
        unsplit = patients["split"].isna() & used
        faults += row_faults("patients.csv", patients, unsplit, "split", "a split, as other patients have one")
    return faults


def _in_reading_order(faults: list[BadCell]) -> list[BadCell]:
    order = ("cohort", "patients", "images", "regions", "volumes")
    return sorted(faults, key=lambda fault: (order.index(Path(fault.file).stem), fault.row or 0))


def _typed(table: pd.DataFrame | None, columns: tuple[str, ...], numeric: tuple[str, ...]) -> pd.DataFrame:
    if table is None:
        return pd.DataFrame({name: pd.Series(dtype=float if name in numeric else object) for name in columns})
    others = [name for name in table.columns if name not in columns]
    typed = table.reindex(columns=[*columns, *others]).reset_index(drop=True)
    types = {name: object for name in typed.columns if name not in numeric}
    return typed.astype(types).assign(**{name: numbers(typed[name]) for name in numeric})


def _typed_patients(patients: pd.DataFrame | None, declared: Declaration) -> pd.DataFrame:
    first = ("unit_id", "patient_id", "side", "center", "aln_status", "eligible", "exclusion_reason")
    if patients is None:
        return _typed(None, first, ("aln_status",)).astype({"eligible": bool})
    patients = patients.assign(aln_status=patients[declared.label_column])
    continuous = tuple(name for name, feature in declared.clinical.items() if feature.kind == "continuous")
    nat_start = (NAT_START_DAY,) if NAT_START_DAY in patients else ()
    typed = _typed(patients, first, tuple(dict.fromkeys(("aln_status", *nat_start, *continuous))))
    eligible = typed["eligible"].str.lower().map(YES_NO).astype(bool) if "eligible" in patients else True
    reason = typed["exclusion_reason"].astype(object).fillna(NO_REASON).where(~pd.Series(eligible, typed.index), "")
    return typed.assign(eligible=eligible, exclusion_reason=reason)
