"""A data set's facts, its tables in the shape of a cohort folder, and their writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import yaml

from mammo_aln.cohort.lineage import Source, joined
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError
from mammo_aln.files import folder_whole, nameable, write_csv, write_text

IMAGE_COLUMNS = ["image_id", "patient_id", "path", "laterality", "view"]
REGION_COLUMNS = ["image_id", "region", "x_min", "y_min", "x_max", "y_max"]
FEATURES: dict[str, dict[str, object]] = {
    "age": {"kind": "continuous", "unit": "years"},
    "density": {"kind": "ordinal", "levels": ["A", "B", "C", "D"]},
}
"""Clinical features that several data sets share."""


@dataclass(frozen=True)
class PublicSet:
    """Facts of one public data set that do not change.

    Args:
        source: name, licence, terms and citation.
        tables: the tables and the layout of files that are read.
        boxes: where regions come from, or that there are none.
        spacing: where millimetres come from.
        seen: the real table that this reading was tried on; `no` where it follows descriptions alone.
        takes_spacing: `--spacing_mm` may state one, as the set's files do not.
    """

    source: Source
    tables: str
    boxes: str
    spacing: str
    seen: str
    takes_spacing: bool = False


@dataclass(frozen=True)
class CohortTables:
    """Contents of a cohort folder's files.

    Args:
        label: column of `patients` that holds the outcome.
        meaning: what its 1 and 0 say.
        patients: `patients.csv`.
        images: `images.csv`, or None.
        regions: `regions.csv`, or None.
        volumes: `volumes.csv`, or None.
        clinical: declared features by column.
        outcomes: further columns of `patients` that hold an outcome, with the time when each is known.
        skipped: counts by reason of what the set holds and the cohort leaves out.
        notes: what a user has to know, a sentence each.
        sources: data sets behind the tables beside the set itself.
        name: the cohort's name; by default the data set's.
    """

    label: str
    meaning: str
    patients: pd.DataFrame
    images: pd.DataFrame | None = None
    regions: pd.DataFrame | None = None
    volumes: pd.DataFrame | None = None
    clinical: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    name: str = ""


def write_cohort_folder(tables: CohortTables, out: Path, *, facts: PublicSet, dicom_root: Path) -> Path:
    """Write the folder, whole or not at all; an existing one is not touched.

    Args:
        tables: from one of the data sets' readers.
        out: the cohort folder.
        facts: of the data set.
        dicom_root: where the data set's images lie.

    Returns:
        The folder.

    Raises:
        InputError: something stands there already, or there is no patient.
    """
    refuse_standing(out)
    if tables.patients.empty:
        raise InputError(f"{dicom_root}: the tables of {facts.source.name} hold no patient")
    with folder_whole(out) as unfinished:
        for name in ("images", "regions", "volumes", "patients"):
            table: pd.DataFrame | None = getattr(tables, name)
            if table is not None and len(table):
                write_csv(unfinished / f"{name}.csv", table)
        write_text(unfinished / "cohort.yaml", _declaration(tables, facts, dicom_root))
        _refuse_unreadable(unfinished, dicom_root, facts)
    return out


def _refuse_unreadable(folder: Path, source: Path, facts: PublicSet) -> None:
    """Read what was written: a cohort that no verb could read is not left behind."""
    try:
        read_cohort(folder, need=("patients",), outcome=False)
    except InputError as error:
        raise InputError(f"{source}: the tables of {facts.source.name} make no cohort: {error}") from error


def refuse_standing(out: Path) -> None:
    """Raise an `InputError` where something stands at the cohort folder's path; an empty folder is none."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: something stands there already; choose a new folder, or remove this one first")


def _declaration(tables: CohortTables, facts: PublicSet, dicom_root: Path) -> str:
    sources = [source.to_state() for source in joined((facts.source,), tables.sources)]
    content: dict[str, object] = {
        "name": tables.name or facts.source.name,
        "label": {"column": tables.label, "meaning": tables.meaning},
        "clinical": {name: dict(feature) for name, feature in tables.clinical.items()},
        "outcomes": dict(tables.outcomes),
        "dataset": sources[0] if len(sources) == 1 else sources,
        "dicom_root": str(dicom_root.absolute()),
    }
    return yaml.safe_dump(
        {key: value for key, value in content.items() if value}, sort_keys=False, allow_unicode=True, width=120
    )


def of_breasts(rows: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """One row per patient and side, in the order of first appearance.

    Args:
        rows: with `patient_id` and `side`.
        columns: how each further column is reduced (`max`, `first`, ...); empty cells do not count.
    """
    return rows.groupby(["patient_id", "side"], as_index=False, sort=False).agg(dict(columns))


def first_of_each_image(rows: pd.DataFrame, further: Iterable[str] = ()) -> pd.DataFrame:
    """The rows of `images.csv` out of a table that repeats images, `side` being the laterality."""
    images = rows.drop(columns="laterality", errors="ignore").rename(columns={"side": "laterality"})
    return images.drop_duplicates("image_id")[[*IMAGE_COLUMNS, *further]]


def one_exam(rows: pd.DataFrame, label: str) -> pd.Series:
    """Choose one exam of each patient: that of the highest label, the earlier one where several have it.

    Args:
        rows: with `patient_id`, `exam` (a value that grows with time, or in order of first appearance) and the label.
        label: its column; an unknown one is lower than all.

    Returns:
        True for rows of the chosen exam.
    """
    order = rows.assign(rank=rows[label].astype(float).fillna(-1.0), at=pd.factorize(rows["exam"])[0])
    if "exam_order" in rows:
        order["at"] = rows["exam_order"]
    exams = order.groupby(["patient_id", "exam"], as_index=False).agg({"rank": "max", "at": "min"})
    chosen = exams.sort_values(["rank", "at"], ascending=[False, True]).drop_duplicates("patient_id")
    return rows["exam"].eq(rows["patient_id"].map(chosen.set_index("patient_id")["exam"]))


def fitting_boxes(
    boxes: pd.DataFrame, sizes: Mapping[str, tuple[float, float]] = MappingProxyType({})
) -> tuple[pd.DataFrame, Counter[str]]:
    """Boxes that lie in their image, cut at its edges, and the count of those that do not, by reason.

    Args:
        boxes: `REGION_COLUMNS`, half-open pixel edges.
        sizes: rows and columns of images where they are known.
    """
    skipped: Counter[str] = Counter()
    kept = []
    for box in boxes.drop_duplicates().to_dict("records"):
        rows, columns = sizes.get(str(box["image_id"]), (float("inf"), float("inf")))
        x, y = (box["x_min"] + box["x_max"]) / 2, (box["y_min"] + box["y_max"]) / 2
        if not (box["x_min"] < box["x_max"] and box["y_min"] < box["y_max"]):
            skipped["boxes without an area"] += 1
        elif not (0 <= x <= columns and 0 <= y <= rows):
            skipped["boxes whose centre lies outside their image"] += 1
        else:
            edges = {"x_min": max(box["x_min"], 0.0), "y_min": max(box["y_min"], 0.0)}
            edges |= {"x_max": min(box["x_max"], columns), "y_max": min(box["y_max"], rows)}
            skipped["edges of boxes beyond their image (cut)"] += any(box[key] != value for key, value in edges.items())
            box.update(edges)
            kept.append(box)
    return pd.DataFrame(kept, columns=list(boxes.columns)), skipped


def absent_files(images: pd.DataFrame, root: Path) -> int:
    """Count images whose file does not lie below the root."""
    return sum(not (nameable(str(path)) and (root / str(path)).is_file()) for path in images["path"])
