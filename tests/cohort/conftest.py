"""A small sound cohort that each test may spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

YAML = """\
name: three centres
label: {column: aln_status, meaning: 1 = residual disease}
clinical:
  age: {kind: continuous, unit: years}
  ct: {kind: ordinal, levels: [1, 2, 3, 4]}
  her2: {kind: categorical, levels: [no, yes]}
"""
PATIENTS = """\
patient_id,center,aln_status,age,ct,her2,split
007,A,1,51.5,2,no,train
008,A,0,,3,yes,train
9,B,,47,,no,val
"""
IMAGES = """\
image_id,patient_id,path,laterality,view,spacing_mm
i1,007,a/i1.dcm,L,CC,
i2,007,a/i2.dcm,L,MLO,0.07
i3,008,a/i3.dcm,R,CC,
"""
REGIONS = """\
image_id,region,x_min,y_min,x_max,y_max
i1,primary,10,20,30.5,40
i1,primary,50,20,60,40
i2,axilla,0,0,5,5
"""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    root = tmp_path / "cohort"
    root.mkdir()
    for name, text in (
        ("cohort.yaml", YAML),
        ("patients.csv", PATIENTS),
        ("images.csv", IMAGES),
        ("regions.csv", REGIONS),
    ):
        (root / name).write_text(text, encoding="utf-8")
    return root
