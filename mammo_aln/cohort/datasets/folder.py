"""A data set's tables in the shape of a cohort folder, and their writing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from mammo_aln.errors import InputError
from mammo_aln.files import write_csv, write_text


@dataclass(frozen=True)
class CohortTables:
    """Contents of a cohort folder's files; `declaration` is that of `cohort.yaml`, a table may be None."""

    declaration: dict[str, object]
    patients: pd.DataFrame
    images: pd.DataFrame | None = None
    regions: pd.DataFrame | None = None


def write_cohort_folder(tables: CohortTables, out: str | Path, *, dicom_root: str | Path | None = None) -> Path:
    """Write the folder; an existing one is not overwritten.

    Args:
        tables: from one of the adapters.
        out: the cohort folder.
        dicom_root: where the data set's images lie.

    Returns:
        The folder.

    Raises:
        InputError: a cohort stands there already.
    """
    out = Path(out)
    if (out / "patients.csv").exists():
        raise InputError(f"{out}: a cohort stands there already; choose another folder")
    contents = {"images": tables.images, "regions": tables.regions, "patients": tables.patients}
    for name, table in contents.items():
        if table is not None:
            write_csv(out / f"{name}.csv", table)
    root = {} if dicom_root is None else {"dicom_root": str(Path(dicom_root).absolute())}
    text = yaml.safe_dump({**tables.declaration, **root}, sort_keys=False, allow_unicode=True)
    write_text(out / "cohort.yaml", text)
    return out


def need_columns(table: pd.DataFrame, columns: Collection[str], name: str) -> None:
    """Raise an `InputError` that names the columns a data set's table lacks."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(f"{name}: columns {', '.join(missing)} are missing; expected the data set's own table")
