"""Mammo-MX: Mexican screening mammograms; BI-RADS and density stand in the files' names, there is no table."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets.folder import CohortTables, PublicSet, first_of_each_image, of_breasts
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import InputError

FACTS = PublicSet(
    source=Source(
        "Mammo-MX",
        "CC BY 4.0",
        ("attribution",),
        "Mammo-MX dataset, Zenodo 2025, record 17740027; Machine Learning: Science and Technology, "
        "doi:10.1088/2632-2153/ae275c",
    ),
    tables="files PATIENT_R|L_CC|MLO_B0..B6_D1..D4 in folders B0 to B6 (the ZIP files unpacked); there is no table",
    boxes="none",
    spacing="in the files",
    seen="no",
)
NAME = re.compile(r"(?P<patient>\d{6})_(?P<side>[LR])_(?P<view>CC|MLO)_B(?P<birads>[0-6])_D(?P<density>[1-4])")
FOLDER = re.compile(r"B([0-6])(?:[-_ .]?(?:part)?[-_ .]?\d+)?", re.IGNORECASE)


def read_mammo_mx(source: Path) -> CohortTables:
    """Read the files' names: `000077_R_MLO_B1_D2`, with or without `.dcm`.

    A row is a breast; the label, `suspicious`, is 1 where an image of it has BI-RADS 4 to 6, 0 where all have 1 to 3;
    0 (inconclusive) leaves it unknown.

    Raises:
        InputError: no file has such a name.
    """
    skipped: Counter[str] = Counter()
    rows, stems = [], set[str]()
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        stem = path.name[:-4] if path.suffix.lower() == ".dcm" else path.name
        parts = NAME.fullmatch(stem)
        if parts is None:
            skipped["files whose name is not of the form 000077_R_MLO_B1_D2"] += 1
            continue
        folder = FOLDER.fullmatch(path.parent.name)
        if folder and folder[1] != parts["birads"]:
            skipped["images in a folder of another BI-RADS than their name's"] += 1
            continue
        if stem in stems:
            skipped["files of an image that stands above"] += 1
            continue
        stems.add(stem)
        birads = int(parts["birads"])
        rows.append(
            {
                "patient_id": parts["patient"],
                "image_id": stem,
                "path": str(path.relative_to(source)),
                "side": parts["side"],
                "view": parts["view"],
                "suspicious": None if birads == 0 else float(birads >= 4),
                "inconclusive": birads == 0,
                "density": parts["density"],
            }
        )
    if not rows:
        raise InputError(f"{source}: no file of Mammo-MX; expected {FACTS.tables}")
    table = pd.DataFrame(rows)
    patients = of_breasts(table, {"suspicious": "max", "inconclusive": "max", "density": "max"})
    unknown = patients["inconclusive"].astype(bool) & (patients["suspicious"] != 1)
    return CohortTables(
        label="suspicious",
        meaning="1 = an image of the breast has BI-RADS 4 to 6, 0 = all have 1 to 3; no pathology",
        patients=patients.assign(suspicious=patients["suspicious"].mask(unknown), center="Mammo-MX").drop(
            columns="inconclusive"
        ),
        images=first_of_each_image(table),
        clinical={"density": {"kind": "ordinal", "levels": list("1234")}},
        skipped=skipped,
    )
