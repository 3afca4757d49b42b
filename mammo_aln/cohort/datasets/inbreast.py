"""INbreast: full-field digital mammograms with outlines; BI-RADS alone, no outcome after NAT."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.annotations.record import Annotation, Skipped
from mammo_aln.cohort.annotations.text.inbreast import read_inbreast as read_outlines
from mammo_aln.cohort.datasets.folder import (
    IMAGE_COLUMNS,
    REGION_COLUMNS,
    CohortTables,
    PublicSet,
    fitting_boxes,
    of_breasts,
    one_exam,
)
from mammo_aln.cohort.datasets.published import coded, needed_file, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import BadCell, InputError, raise_bad_cells

FACTS = PublicSet(
    source=Source(
        "INbreast",
        "research licence of the owner (original host closed)",
        ("agreement", "no-redistribution"),
        "Moreira et al. 2012, Academic Radiology 19:236-248, doi:10.1016/j.acra.2011.09.014",
    ),
    tables="INbreast.csv (or .xlsx); AllDICOMs/NUMBER_HASH_MG_L|R_CC|ML_ANON.dcm; AllXML/NUMBER.xml",
    boxes="from the outlines in AllXML, pixels of the DICOM matrix; the pectoral muscle is left out",
    spacing="in the files (0.07 mm)",
    seen="no",
)
DATE = "Acquisition date"
COLUMNS = ("File Name", "Bi-Rads", "ACR")
FILE = re.compile(r"(?P<number>\d+)_(?P<patient>[0-9a-f]+)_MG_(?P<side>[LR])_(?P<view>CC|ML|MLO)_ANON", re.IGNORECASE)
VIEW_OF = {"CC": "CC", "ML": "MLO", "MLO": "MLO"}
SUSPICIOUS = {"0": None, "1": 0.0, "2": 0.0, "3": 0.0, **dict.fromkeys(("4", "4a", "4b", "4c", "5", "6"), 1.0)}
ACR = {level: level for level in "1234"}
LESIONS = (
    "mass", "cluster", "calcifications", "distortion", "asymmetry", "assymetry", "spiculated region",
    "espiculated region",
)  # fmt: skip


def read_inbreast(source: Path) -> CohortTables:
    """Read the table, the names of the DICOM files and the outlines.

    A row is a breast; the patient is the hash in the file's name, as headers keep none; `ML` of a name is MLO. The
    label, `suspicious`, is 1 where an image of the breast has BI-RADS 4 to 6. Outlines of masses, clusters, distortions
    and asymmetries are `primary`, others have their own name. Of several exams (`Acquisition date`) the one with
    the highest label is used, else the first. Rows without a file number are the table's footer.

    Raises:
        InputError: not the set's table, a code that the set does not have, or an outline's file that is none.
    """
    path = needed_file(source, "INbreast.csv", "INbreast.xlsx", "INbreast.xls")
    table = read_published(path, COLUMNS, further=(DATE,), separator=_separator(path))
    number = table["File Name"].fillna("").str.replace(r"\.0$", "", regex=True)
    footer = ~number.str.fullmatch(r"\d+")
    skipped: Counter[str] = Counter({"footer rows of the table": int(footer.sum())})
    table, number = table[~footer], number[~footer]
    _refuse_copies(number, path)
    listed = pd.DataFrame(
        {
            "number": number,
            "suspicious": coded(table, "Bi-Rads", SUSPICIOUS, path).astype(float),
            "acr": coded(table, "ACR", ACR, path),
            "exam": table[DATE].fillna("") if DATE in table else "",
        }
    )
    files = _files(source, skipped)
    rows = files.merge(listed, on="number", how="left", indicator=True)
    skipped["images without a row in the table"] = int((rows["_merge"] == "left_only").sum())
    skipped["rows without a file in AllDICOMs"] = int((~number.isin(files["number"])).sum())
    rows = rows[rows["_merge"] == "both"]
    if rows.empty:
        raise InputError(f"{source}: no file of the table's images; expected {FACTS.tables}")
    rows = rows.assign(exam_order=rows["exam"].rank(method="dense"))
    used = one_exam(rows, "suspicious")
    skipped["images of another exam of the woman (eligible = 0)"] = int((~used).sum())
    images = rows.rename(columns={"side": "laterality"})[IMAGE_COLUMNS].assign(
        study="s" + rows.groupby("patient_id")["exam"].rank(method="dense").astype(int).astype(str),
        eligible=used.astype(int),
        exclusion_reason=["" if chosen else "another exam of the woman is used" for chosen in used],
    )
    regions = _regions(source, dict(zip(rows["number"], rows["image_id"], strict=True)), skipped)
    return CohortTables(
        label="suspicious",
        meaning="1 = an image of the breast has BI-RADS 4 to 6, 0 = all have 1 to 3; no pathology",
        patients=of_breasts(rows[used], {"suspicious": "max", "acr": "max"}).assign(center="INbreast"),
        images=images,
        regions=regions,
        clinical={"acr": {"kind": "ordinal", "levels": list(ACR)}},
        skipped=+skipped,
    )


def _separator(path: Path) -> str:
    if path.suffix.lower() != ".csv":
        return ","
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    return ";" if header.count(";") > header.count(",") else ","


def _refuse_copies(number: pd.Series, path: Path) -> None:
    twice = number.index[number.duplicated()]
    raise_bad_cells([BadCell(path.name, int(row), "File Name", number[row], "each image once") for row in twice[:50]])


def _files(source: Path, skipped: Counter[str]) -> pd.DataFrame:
    rows = []
    for path in sorted(source.rglob("*.dcm")):
        parts = FILE.fullmatch(path.stem)
        if parts is None:
            skipped["DICOM files whose name is not NUMBER_HASH_MG_SIDE_VIEW_ANON"] += 1
            continue
        rows.append(
            {
                "number": parts["number"],
                "image_id": parts["number"],
                "patient_id": parts["patient"].lower(),
                "path": str(path.relative_to(source)),
                "side": parts["side"].upper(),
                "view": VIEW_OF[parts["view"].upper()],
            }
        )
    return pd.DataFrame(rows, columns=["number", "image_id", "patient_id", "path", "side", "view"])


def _regions(source: Path, images: dict[str, str], skipped: Counter[str]) -> pd.DataFrame:
    rows = []
    for path in sorted(source.rglob("*.xml")):
        if path.stem not in images:
            skipped["outlines' files without an image"] += 1
            continue
        for outline in read_outlines(path):
            if isinstance(outline, Skipped):
                skipped[f"outlines: {outline.reason}"] += 1
            if not isinstance(outline, Annotation):
                continue
            name = " ".join(outline.region.lower().split())
            region = "primary" if name in LESIONS else re.sub(r"[^a-z0-9]+", "_", name).strip("_") or "unnamed"
            corners = (outline.x_min, outline.y_min, outline.x_max, outline.y_max)
            rows.append((images[path.stem], region, *corners))
    regions, unfit = fitting_boxes(pd.DataFrame(rows, columns=REGION_COLUMNS))
    skipped.update(unfit)
    return regions
