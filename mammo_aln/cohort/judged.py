"""Tables of a cohort judged as a whole, each by its schema and by the others, and given their types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import Declaration, read_declaration
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
from mammo_aln.cohort.values.columns import as_declared, known_columns
from mammo_aln.cohort.values.table_files import read_table, table_file
from mammo_aln.cohort.volumes import VOLUME_COLUMNS, VOLUME_OPTIONS, typed_volumes, volume_faults, volumes_schema
from mammo_aln.errors import BadCell, InputError
from mammo_aln.spreadsheet.characters import letters_alone

IMAGE_COLUMNS = ("image_id", "patient_id", "path", "laterality", "view", "spacing_mm")
REGION_COLUMNS = ("image_id", "region", *BOX)
EXAM_COLUMNS = ("study", "days", "timepoint", "eligible", "exclusion_reason", "kind", "sop_instance_uid")
KNOWN_COLUMNS = {
    "images": (*IMAGE_COLUMNS, *EXAM_COLUMNS),
    "regions": (*REGION_COLUMNS, "sop_instance_uid", "path"),
    "volumes": (*VOLUME_COLUMNS, *VOLUME_OPTIONS),
}
NO_REASON = "not stated"


def read_judged(
    root: Path, need: Collection[str], outcome: bool = True
) -> tuple[dict[str, pd.DataFrame | None], Declaration, list[BadCell]]:
    """Read a cohort's tables as text and judge them.

    Args:
        root: the cohort folder.
        need: tables that must stand.
        outcome: the outcome's column must stand; without it, it is read as unknown.

    Returns:
        the tables by name, each None where it does not stand or cannot be read, what cohort.yaml says, and all faults
        in reading order.

    Raises:
        InputError: there is no such folder.
    """
    if root.is_file():
        raise InputError(f"{root}: is a file; expected the cohort folder, e.g. {root.absolute().parent}")
    if not root.is_dir():
        raise InputError(f"{root}: no such cohort folder (expected a folder that holds patients.csv)")
    faults: list[BadCell] = []
    declared = read_declaration(root, faults)
    names = {"patients": known_columns(declared), **KNOWN_COLUMNS}
    tables = {name: read_table(root, name, name in need, known, faults) for name, known in names.items()}
    patients, images, regions = tables["patients"], tables["images"], tables["regions"]
    if patients is not None:
        tables["patients"] = patients = _declared_patients(patients, declared, outcome, faults)
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


def reread(root: Path, name: str, declared: Declaration, outcome: bool) -> pd.DataFrame | None:
    """Read patients or images of a cohort that was judged before, with their types; None where they cannot be read.

    Args:
        root: the cohort folder.
        name: of the table.
        declared: what cohort.yaml says.
        outcome: as `read_judged`.
    """
    faults: list[BadCell] = []
    known = known_columns(declared) if name == "patients" else KNOWN_COLUMNS[name]
    table = read_table(root, name, False, known, faults)
    if table is None or faults:
        return None
    if name == "patients":
        return _typed_patients(_declared_patients(table, declared, outcome, faults), declared)
    return typed_images(table)


def typed_images(table: pd.DataFrame | None) -> pd.DataFrame:
    """Give images their types."""
    return _typed(table, IMAGE_COLUMNS, ("spacing_mm",))


def _declared_patients(
    patients: pd.DataFrame, declared: Declaration, outcome: bool, faults: list[BadCell]
) -> pd.DataFrame:
    patients = _with_units(as_declared(patients, declared, faults))
    if outcome or declared.label_column in patients:
        return patients
    return patients.assign(**{declared.label_column: pd.Series(np.nan, patients.index, dtype=object)})


def typed_tables(tables: Mapping[str, pd.DataFrame | None], declared: Declaration) -> dict[str, pd.DataFrame]:
    """Give tables without faults their types, as `Cohort` says; one that is not there is empty.

    Args:
        tables: as `read_judged` returns them.
        declared: what cohort.yaml says.
    """
    return {
        "patients": _typed_patients(tables["patients"], declared),
        "images": typed_images(tables["images"]),
        "regions": _typed(_own(tables["regions"], REGION_COLUMNS), REGION_COLUMNS, BOX),
        "volumes": typed_volumes(tables["volumes"]).reset_index(drop=True),
    }


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


def _own(table: pd.DataFrame | None, columns: Collection[str]) -> pd.DataFrame | None:
    """Leave a table's further columns out: nothing reads them, and they may be remarks."""
    return None if table is None else table[[name for name in table if name in columns]]


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
