"""The public data sets that `mammo-aln import` knows: the tables that each publishes, and what reads them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.cbis_ddsm import cbis_ddsm_tables
from mammo_aln.cohort.datasets.duke import duke_tables
from mammo_aln.cohort.datasets.folder import CohortTables, write_cohort_folder
from mammo_aln.cohort.datasets.ispy import ispy_tables
from mammo_aln.cohort.datasets.vindr import vindr_tables
from mammo_aln.errors import InputError
from mammo_aln.progress import say


@dataclass(frozen=True)
class PublishedTable:
    """One table as published: its file's name, the pattern that copies of it are found by, and the sheet of a workbook.

    A `raw` table is text throughout; a sheet that is raw has no header of its own.
    """

    file: str
    pattern: str
    sheet: str | None = None
    raw: bool = True


CBIS = [
    PublishedTable(f"{kind}_case_description_{split}_set.csv", f"*{kind}*{split}*.csv")
    for split in ("train", "test")
    for kind in ("calc", "mass")
]
WORKBOOK = "I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx"
DATASETS: dict[str, tuple[list[PublishedTable], Callable[..., CohortTables]]] = {
    "cbis-ddsm": (CBIS, lambda *tables: cbis_ddsm_tables(list(tables[:2]), list(tables[2:]))),
    "duke": ([PublishedTable("Clinical_and_Other_Features.xlsx", "*Clinical*Features*.xlsx", "Data")], duke_tables),
    "ispy": (
        [
            PublishedTable("breastdcedl_ispy2_metadata.csv", "*ispy2*.csv", raw=False),
            *(PublishedTable(WORKBOOK, "I-SPY_1*.xlsx", sheet, raw=False) for sheet in ("predictors", "outcomes")),
        ],
        ispy_tables,
    ),
    "vindr": ([PublishedTable("finding_annotations.csv", "*finding_annotations*.csv")], vindr_tables),
}
"""By the name to type: the tables, and the function that takes them in this order."""


def import_tables(name: str, source: Path, out: Path) -> Path:
    """Make a cohort folder of a public data set's tables; its images stay where they are.

    Args:
        name: a key of `DATASETS`.
        source: folder that holds the tables, and the images if the set has any (`dicom_root` of `cohort.yaml`).
        out: the cohort folder; none stands there yet.

    Raises:
        InputError: no such data set or folder, a table is missing or not the set's, or a cohort stands at `out`.
    """
    if name not in DATASETS:
        raise InputError(f"name = {name!r}: no such data set; expected one of {', '.join(DATASETS)}")
    if not source.is_dir():
        raise InputError(f"{source}: no such folder (expected one that holds the tables of {name})")
    published, make = DATASETS[name]
    tables = [_read(source, table) for table in published]
    try:
        contents = make(*tables)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: the tables hold a value that those of {name} do not have ({error})") from error
    folder = write_cohort_folder(contents, out, dicom_root=source)
    counts = {"patients": contents.patients, "images": contents.images, "regions": contents.regions}
    say(f"{name}: {', '.join(f'{len(table)} {word}' for word, table in counts.items() if table is not None)}")
    return folder


def _read(source: Path, table: PublishedTable) -> pd.DataFrame:
    paths = sorted(source.glob(table.pattern))
    if len(paths) != 1:
        state = f"{len(paths)} files match {table.pattern}" if paths else "no such file"
        raise InputError(f"{source / table.file}: {state}; expected this table, as the data set's authors publish it")
    dtype = str if table.raw else None
    try:
        if table.sheet is None:
            return pd.read_csv(paths[0], dtype=dtype)
        return pd.read_excel(paths[0], table.sheet, dtype=dtype, header=None if table.raw else 0)
    except ImportError as error:
        raise InputError(f"{paths[0]}: to read a workbook, pip install openpyxl") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{paths[0]}: not the data set's table ({error})") from error
