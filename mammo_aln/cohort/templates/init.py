"""`mammo-aln init`: cohort.yaml, patients.csv and regions.csv to fill in, from a clinical table where there is one."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import DECLARATION_FILE, Declaration, read_declaration
from mammo_aln.cohort.index import SKELETON
from mammo_aln.cohort.judged import REGION_COLUMNS
from mammo_aln.cohort.reading import read_text_table, read_text_yaml
from mammo_aln.cohort.schemas import NAT_START_DAY
from mammo_aln.cohort.templates.guesses import Guess, guess_column, guess_words
from mammo_aln.cohort.templates.patient_rows import (
    PatientKey,
    date_of,
    matched_rows,
    month_first,
    read_clinical_table,
    read_key,
)
from mammo_aln.cohort.templates.yaml_text import declaration_text
from mammo_aln.cohort.values.table_files import table_file
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import write_csv, write_text
from mammo_aln.progress import say
from mammo_aln.spreadsheet.characters import folded
from mammo_aln.spreadsheet.missing import is_missing_word, without_missing_words

NOT_STATED = "not stated"


def init_cohort(root: str | Path, *, clinical: str | Path | None = None, key: str | Path | None = None) -> Path:
    """Write the tables of an indexed cohort that are still to be filled in; what stands is never overwritten.

    Templates that `index` wrote and nobody filled in count as not standing.

    Args:
        root: cohort folder with `images.csv`.
        clinical: table of the patients, CSV or workbook, as the hospital keeps it.
        key: the private key that `index --key` wrote: its PatientID and accession numbers name the table's rows, its
            dates count the days to the start of NAT.

    Returns:
        The cohort folder.

    Raises:
        InputError: no images.csv, an unreadable table, or one whose rows name no patient of the cohort.
    """
    root = Path(root)
    faults: list[BadCell] = []
    path = table_file(root, "images", faults)
    images = None if path is None else read_text_table(path, faults, ("image_id", "patient_id", "days"))
    declared = read_declaration(root, faults)
    raise_bad_cells(faults)
    if images is None or not {"image_id", "patient_id"} <= set(images.columns):
        raise InputError(f"{root}: no images.csv; `mammo-aln index DICOM_DIR --out {shlex.quote(str(root))}` writes it")
    patients = sorted(images["patient_id"].dropna().unique())
    guesses: list[Guess] = []
    table = pd.DataFrame({"patient_id": patients, "center": "", "aln_status": ""})
    if clinical is not None:
        table, guesses = _from_clinical(Path(clinical), None if key is None else Path(key), images, patients)
        # What this very command wrote before it was interrupted is nobody's work: it goes on from there.
        own = {"patients": _patients_text(table), "cohort": _declaration(root, declared, guesses)}
        files = {"patients": root / "patients.csv", "cohort": root / DECLARATION_FILE}
        standing = [name for name in own if _stands(root, name, declared)]
        if len(standing) < len(own) or table_file(root, "regions", []) is None:
            standing = [name for name in standing if not _holds(files[name], own[name])]
        if standing:
            words = " and ".join({"patients": "patients.csv", "cohort": DECLARATION_FILE}[name] for name in standing)
            raise InputError(
                f"{root}: {words} filled in already, and never overwritten; move away what is to be made anew"
            )
    _write_patients(root, table, guesses)
    _write_declaration(root, declared, guesses)
    _write_regions(root, images)
    return root


def _from_clinical(
    path: Path, key_file: Path | None, images: pd.DataFrame, patients: list[str]
) -> tuple[pd.DataFrame, list[Guess]]:
    """Rows of patients.csv and the guesses behind them."""
    key = None if key_file is None else read_key(key_file, images)
    source = read_clinical_table(path)
    identifier, rows = matched_rows(source, path.name, patients, key)
    taken: set[str] = {"patient_id", "center", "side", "split", "eligible", "exclusion_reason", "aln_status", "unit_id"}
    others = [str(name) for name in source.columns if name != identifier]
    guesses = _one_of_each([guess_column(name, rows[name], taken) for name in others], rows)
    for guess in guesses:
        present = rows[guess.header].dropna()
        words = present.map(is_missing_word).astype(bool)
        say(guess_words(guess, Counter(present[~words])))
        if words.any() and not guess.why:
            shown = ", ".join(f"{word} ({count})" for word, count in Counter(present[words]).most_common())
            say(f"  read as missing: {shown}")
        for code in guess.codes:
            remedy = "read as missing" if code.apart else "read as a value: a code for missing?"
            say(f"  {code}: {remedy}")
    return _patients_table(rows, guesses, patients, key, path.name), guesses


def _one_of_each(guesses: list[Guess], rows: pd.DataFrame) -> list[Guess]:
    """Guesses in which no two columns are the centre, the side, the outcome or the start of NAT."""
    checked: list[Guess] = []
    for guess in guesses:
        alike = [other for other in guesses if other.role == guess.role and not other.why]
        if guess.why or guess.role not in ("center", "side", "outcome", "nat_start") or len(alike) < 2:
            checked.append(guess)
            continue
        what = guess.role.replace("_", " ")
        read = [other for other in alike if other.values]
        first = read[0] if read else alike[0]
        if read and not guess.values:
            checked.append(replace(guess, why=f"its values are not those of the {what}"))
        elif any(not _say_the_same(rows, first, other) for other in read or alike):
            headers = " and ".join(repr(other.header) for other in read or alike)
            why = f"{headers} both look like the {what}; take all but one out of the table"
            checked.append(replace(guess, why=why))
        else:
            checked.append(guess if guess is first else replace(guess, why=f"it says the same as {first.header!r}"))
    return checked


def _say_the_same(rows: pd.DataFrame, one: Guess, other: Guess) -> bool:
    """Tell whether two columns of one role agree in every row; centres may have other names."""
    cells = pd.DataFrame({"one": _as_read(rows[one.header], one), "other": _as_read(rows[other.header], other)})
    if one.role != "center":
        return bool((cells["one"] == cells["other"]).all())
    pairs = cells.drop_duplicates()
    return not pairs["one"].duplicated().any() and not pairs["other"].duplicated().any()


def _as_read(cells: pd.Series, guess: Guess) -> pd.Series:
    text = cells.fillna("").astype(str)
    if guess.role == "nat_start":
        order = month_first(text)
        return text.map(lambda value: str(date_of(value, order)))
    return text.map(lambda value: guess.values.get(value, folded(value)))


def _patients_table(
    rows: pd.DataFrame, guesses: list[Guess], patients: list[str], key: PatientKey | None, file: str
) -> pd.DataFrame:
    used = [guess for guess in guesses if not guess.why]
    by_role = {guess.role: guess.header for guess in used}
    keys = ["patient_id"] + ([by_role["side"]] if "side" in by_role else [])
    twice = rows[rows.duplicated(keys, keep=False)]
    if len(twice):
        numbers_shown = ", ".join(map(str, twice.index[:6]))
        raise InputError(f"{file} rows {numbers_shown}: a patient (and side) stands in several rows; expected one")
    table = rows[["patient_id", *(guess.header for guess in used if guess.role != "nat_start")]].reset_index(drop=True)
    if "center" not in by_role:
        table.insert(1, "center", "")
        say("no column looks like the centre: fill in center in patients.csv")
    if "outcome" not in by_role:
        table["aln_status"] = ""
        say("no column looks like the outcome: fill in aln_status in patients.csv (1 = metastasis left after NAT)")
    if "nat_start" in by_role:
        table[NAT_START_DAY] = _nat_start_days(rows.reset_index(drop=True), by_role["nat_start"], key)
    absent = [patient for patient in patients if patient not in set(table["patient_id"])]
    if absent:
        center = by_role.get("center", "center")
        others = pd.DataFrame({"patient_id": absent, center: NOT_STATED})
        table = pd.concat([table.assign(eligible="1", exclusion_reason=""), others], ignore_index=True)
        table["eligible"] = table["eligible"].fillna("0")
        table["exclusion_reason"] = table["exclusion_reason"].fillna(f"no row in {file}")
    return table.sort_values("patient_id", kind="stable").reset_index(drop=True)


def _nat_start_days(rows: pd.DataFrame, header: str, key: PatientKey | None) -> pd.Series:
    """Days from a patient's first exam to the start of NAT."""
    days: list[str] = []
    unread: list[str] = []
    order = month_first(rows[header])
    for patient, text in zip(rows["patient_id"], rows[header], strict=True):
        start = date_of(text, order) if isinstance(text, str) else None
        zero = key.first_day.get(patient) if key else None
        if isinstance(text, str) and not is_missing_word(text) and start is None:
            unread.append(text)
        days.append("" if start is None or zero is None else str((start - zero).days))
    if unread:
        say(f"{header!r}: {len(unread)} dates in no or two readings, left empty ({unread[0]!r}, ...); write 2021-04-03")
    if order is not None and any(date_of(text) is None and date_of(text, order) for text in rows[header].dropna()):
        written = "month/day" if order else "day/month"
        say(f"{header!r}: dates of two readings read as {written}, as others of the column are")
    if key is None:
        say(f"{header!r}: days need the dates of the exams: --key PRIVATE.csv, which `index --key` writes; left empty")
    elif empty := sum(not day for day in days):
        say(f"{header!r}: {empty} patients without a day that NAT began on")
    return pd.Series(days, rows.index, dtype=object)


def _stands(root: Path, name: str, declared: Declaration) -> bool:
    """Tell whether a file holds more than the template that `index` wrote."""
    if name == "cohort":
        path = root / DECLARATION_FILE
        if not path.is_file():
            return False
        text = path.read_text(encoding="utf-8")
        template = SKELETON.format(name=json.dumps(declared.name), dicom_root=json.dumps(str(declared.dicom_root)))
        # the paths may have been written in another form
        own = [line for line in text.splitlines() if line.strip() and not line.startswith(("name:", "dicom_root:"))]
        return not set(own) <= set(template.splitlines())
    faults: list[BadCell] = []
    path_or_none = table_file(root, name, faults)
    raise_bad_cells(faults)
    if path_or_none is None:
        return False
    table = read_text_table(path_or_none, faults)
    if table is None:
        return True
    filled = without_missing_words(table).drop(columns="patient_id", errors="ignore").notna().any(axis=None)
    return bool(filled)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _patients_text(table: pd.DataFrame) -> str:
    return table.replace("", np.nan).to_csv(index=False, lineterminator="\n")


def _declaration(root: Path, declared: Declaration, guesses: list[Guess]) -> str:
    path = root / DECLARATION_FILE
    stated_root = (read_text_yaml(path, []) if path.is_file() else {}).get("dicom_root") or "."
    return declaration_text(declared.name, str(stated_root), guesses)


def _write_patients(root: Path, table: pd.DataFrame, guesses: list[Guess]) -> None:
    if guesses or table_file(root, "patients", []) is None:
        write_csv(root / "patients.csv", table.replace("", np.nan))  # the text of `_patients_text`
        say(f"patients.csv: {len(table)} rows")
    else:
        say("patients.csv stands and is kept as it is; center and aln_status are yours to fill in")


def _write_declaration(root: Path, declared: Declaration, guesses: list[Guess]) -> None:
    path = root / DECLARATION_FILE
    if _stands(root, "cohort", declared):
        say(f"{DECLARATION_FILE} stands and is kept as it is")
        return
    write_text(path, _declaration(root, declared, guesses))
    say(f"{DECLARATION_FILE}: read it through, each guess is a line of it")


def _write_regions(root: Path, images: pd.DataFrame) -> None:
    if table_file(root, "regions", []) is not None:
        say("regions.csv stands and is kept as it is")
        return
    rows = pd.DataFrame({"image_id": images["image_id"].dropna(), "region": "primary"}).reindex(columns=REGION_COLUMNS)
    write_csv(root / "regions.csv", rows)
    say(f"regions.csv: one empty row per image ({len(rows)}); `mammo-aln regions` fills it from the files of any tool")
