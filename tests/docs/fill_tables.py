"""Fill in the tables that `index` began, as a person would: `python fill_tables.py COHORT`; PHANTOM holds the truth."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd

CENTERS = {"center_a": "north", "center_b": "south", "center_c": "west"}
DECLARED = """
clinical:
  age: {kind: continuous, unit: years, known_at: baseline}
  er: {kind: categorical, levels: [negative, positive], known_at: baseline}
"""


def main() -> None:
    cohort, phantom = Path(sys.argv[1]), Path(os.environ["PHANTOM"])
    begun = pd.read_csv(cohort / "patients.csv", dtype=str)[["patient_id"]]
    patients = pd.read_csv(phantom / "patients.csv", dtype=str).drop(columns="split")
    patients["center"] = patients["center"].map(CENTERS)
    begun.merge(patients, on="patient_id").to_csv(cohort / "patients.csv", index=False)
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    image_of = dict(zip(images["path"].map(lambda path: Path(path).stem), images["image_id"], strict=True))
    regions = pd.read_csv(phantom / "regions.csv", dtype=str)
    regions.assign(image_id=regions["image_id"].map(image_of)).to_csv(cohort / "regions.csv", index=False)
    with (cohort / "cohort.yaml").open("a", encoding="utf-8") as declaration:
        declaration.write(DECLARED)


if __name__ == "__main__":
    main()
