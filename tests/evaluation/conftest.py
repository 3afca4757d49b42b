"""Prediction files of an imaginary run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.prediction_files import FACTS, make_rows


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, Path]:
    """`run` (folder with train and val), `test` (both test splits), `all` (everything in one file without JSON)."""
    root = tmp_path_factory.mktemp("predictions")
    rows = make_rows()
    learnt = rows["split"].isin(["train", "val"])
    (root / "run").mkdir()
    for table, name in ((rows[learnt], "run/predictions"), (rows[~learnt], "test")):
        table.to_csv(root / f"{name}.csv", index=False)
        (root / f"{name}.json").write_text(json.dumps(FACTS))
    rows.to_csv(root / "all.csv", index=False)
    return {"run": root / "run", "test": root / "test.csv", "all": root / "all.csv"}
