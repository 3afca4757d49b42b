"""Kept figures of completed cells: equal to computed ones, and computed anew after any change of file or code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.evaluation.area import area_of
from mammo_aln.sweeps.standing import figures
from mammo_aln.sweeps.standing.figures import KEPT, Figures, completed_figures
from tests.support.kept_files import counted, same_times

IDS = ["a1", "b2"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two completed runs whose files are an hour old; one has validation patients of one outcome alone."""
    for number, run_id in enumerate(IDS):
        run = tmp_path / "runs" / run_id
        run.mkdir(parents=True)
        scores = np.random.default_rng(number).random(30)
        labels = np.arange(30) % 3 == 0 if number == 0 else np.arange(30) < 20
        table = pd.DataFrame({"run_id": run_id, "patient_id": np.arange(30), "split": ["train"] * 20 + ["val"] * 10})
        table.assign(aln_status=labels.astype(int), score=scores).to_csv(run / "predictions.csv", index=False)
        pd.DataFrame({"val_auc": [0.5, 0.7], "train_s": [1.0, 2.5]}).to_csv(run / "metrics.csv", index=False)
    return tmp_path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the AUCs that are computed; every file counts as settled."""
    monkeypatch.setattr(figures, "SETTLED_S", -1.0)
    return counted(monkeypatch, figures, "area_of")


def look(out: Path) -> dict[str, Figures]:
    return completed_figures(out / "runs", IDS, out)


def test_what_is_kept_is_what_was_computed_to_the_last_bit(out: Path, computed: list[str]) -> None:
    first = look(out)
    assert len(computed) == 4
    second = look(out)
    assert len(computed) == 4
    assert repr(second) == repr(first)  # NaN is not equal to itself
    table = pd.read_csv(out / "runs" / "a1" / "predictions.csv", dtype={"patient_id": str})
    assert second["a1"].val == area_of(table[table["split"] == "val"])
    assert np.isnan(second["b2"].val.value)
    assert (second["a1"].val_aucs, second["a1"].epoch_s) == ((0.5, 0.7), 1.75)


@pytest.mark.parametrize("name", ["predictions.csv", "metrics.csv"])
def test_a_file_that_changed_within_its_size_and_time_is_computed_anew(
    out: Path, computed: list[str], name: str
) -> None:
    look(out)
    path = out / "runs" / "a1" / name
    size, table = path.stat().st_size, pd.read_csv(path)
    column = "score" if name == "predictions.csv" else "val_auc"
    table[column] = table[column].to_numpy()[::-1]
    with same_times(path):
        table.to_csv(path, index=False)
    assert path.stat().st_size == size
    anew = look(out)["a1"]
    assert len(computed) == 6
    (out / KEPT).unlink()
    assert repr(look(out)["a1"]) == repr(anew)


def test_another_code_or_a_torn_file_computes_anew(
    out: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = look(out)
    monkeypatch.setattr(figures, "FORM", 0)
    look(out)
    assert len(computed) == 8
    (out / KEPT).write_text((out / KEPT).read_text()[:50])
    assert repr(look(out)) == repr(first)
    assert len(computed) == 12
    assert "computed anew" in capsys.readouterr().err


def test_a_file_that_is_still_warm_is_not_kept(out: Path) -> None:
    look(out)
    assert not (out / KEPT).exists()


def test_a_look_at_kept_figures_loads_neither_scipy_nor_matplotlib() -> None:
    code = (
        "import sys; import mammo_aln.sweeps.standing.board; print({'scipy', 'matplotlib', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
