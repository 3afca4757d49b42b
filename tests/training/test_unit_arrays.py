"""The units of a split as arrays: what a plain loop over the table of crops gathers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.settings import CropConfig
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.presence import presence, profile_of

REGIONS = ("primary", "other_view", "axilla")


@pytest.fixture
def data(phantom: Path, store: Path) -> MammoDataModule:
    """A table of crops in any order, with several boxes of one region, other views and names of any length."""
    module = MammoDataModule(phantom, CropConfig(size_px=32), store=store, regions=REGIONS)
    random = np.random.default_rng(0)
    units = [*module.cohort.patients["unit_id"], "nobody"]
    count = 400
    drawn = {
        "unit_id": random.choice(units[3:], count),
        "region": random.choice([*REGIONS, "unread"], count),
        "view": random.choice(["CC", "MLO", "", "XCCL"], count),
        "image_id": random.choice(["i1", "i10", "i2", "I2", "ä", "i"], count),
        "ordinal": random.choice([1, 2, 10], count),
        "side_mm": random.choice([17.5, 203.0, np.nan], count),
    }
    table = pd.DataFrame(drawn).assign(key=[f"key {number}" for number in range(count)])
    module._crop_set = replace(module.crop_set, table=table)
    return module


def _side_mm(row: dict) -> float:
    """A crop's side as it was cut; without pixel spacing that of `fixed_5cm`, by default 50 mm for every region."""
    return 50.0 if np.isnan(row["side_mm"]) else row["side_mm"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_crops_follow_unit_region_view_image_and_ordinal(data: MammoDataModule, split: str) -> None:
    patients, arrays = data.patients(split), data.units(split)
    rows = data.crop_set.table.to_dict("records")
    for number, patient in enumerate(patients.to_dict("records")):
        own = [row for row in rows if row["unit_id"] == patient["unit_id"] and row["region"] in REGIONS]
        own.sort(key=lambda row: (REGIONS.index(row["region"]), row["view"], row["image_id"], row["ordinal"]))
        crops = slice(arrays.first[number], arrays.first[number + 1])
        assert arrays.keys[crops].tolist() == [row["key"] for row in own]
        assert arrays.region[crops].tolist() == [REGIONS.index(row["region"]) for row in own]
        assert arrays.view[crops].tolist() == [{"CC": 0, "MLO": 1}.get(row["view"], 2) for row in own]
        assert arrays.size_mm[crops].tolist() == [_side_mm(row) for row in own]
    assert arrays.first[-1] == len(arrays.keys) == len(arrays.region) == len(arrays.view)
    assert (arrays.region.dtype, arrays.view.dtype) == (np.int64, np.int64)
    np.testing.assert_array_equal(arrays.label, patients["aln_status"].to_numpy(np.float32))


def test_inputs_seen_are_those_of_a_plain_loop(data: MammoDataModule) -> None:
    patients, crops = data.patients("train"), data.crop_set.table
    rows = crops.to_dict("records")
    seen = presence(patients, REGIONS, crops, None)
    for unit, flags in zip(patients["unit_id"], seen.to_dict("records"), strict=True):
        having = {row["region"] for row in rows if row["unit_id"] == unit}
        assert flags == {region: region in having for region in REGIONS}
    profile = profile_of(patients, seen, crops, None)
    pairs = {(row["view"], row["unit_id"]) for row in rows if row["unit_id"] in set(patients["unit_id"])}
    views = sorted({view for view, _ in pairs} - {""})
    assert list(profile.views.items()) == [(view, sum(view == other for other, _ in pairs)) for view in views]
