"""What a dry run tells of a sweep: true of the run that follows, and nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from mammo_aln.cli import main
from mammo_aln.runs.ledger import LEDGER
from mammo_aln.sweeps import forecast
from mammo_aln.sweeps.forecast import Forecaster, forecast_sweep
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner
from tests.support.run_folders import linked_copy
from tests.support.sweep_files import tiny_sweep

CLINICAL = {"model": {"inputs": ["clinical"]}}


def standing(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Sizes and times of all files and folders."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*")) if path.exists()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def rates(folder: Path, values: list[float], **more: object) -> Path:
    return tiny_sweep(folder, **{"epochs": 2, **CLINICAL, "grid": {"optim.lr": values}, **more})


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["sweep", "run", *map(str, words), "--dry_run=true"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("inputs", [["clinical"], ["primary"]])
def test_a_dry_run_writes_nothing(phantom: Path, tmp_path: Path, inputs: list[str]) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    file = tiny_sweep(tmp_path, **({"model": {"inputs": inputs}, "grid": {}} if inputs == ["clinical"] else {}))
    before = standing(tmp_path, phantom)
    text = forecast_sweep(file, cohort, tmp_path / "out")
    assert standing(tmp_path, phantom) == before
    assert "nothing was written" in text
    if inputs == ["primary"]:
        images = pd.read_csv(phantom / "images.csv")
        (waiting, of) = map(int, re.search(r"crops: (\d+) of (\d+) images are to be decoded", text).groups())
        assert 0 < waiting == of <= len(images)


def test_what_it_tells_is_what_the_run_then_does(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    (cohort / LEDGER).unlink(missing_ok=True)
    words = [rates(tmp_path, [0.01]), "--cohort", cohort, "--out", tmp_path / "out"]
    text = told(capsys, *words)
    assert "1 cells: 0 completed already, 1 to train" in text
    assert "test: external_test, 12 labelled, sealed so far; the one configuration that validation chooses" in text
    epochs, steps = map(int, re.search(r"to train +(\d+) x (\d+)", text).groups())
    assert main(["sweep", "run", *map(str, words)]) == 0
    (last,) = (tmp_path / "out" / "runs").glob("*/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=False)["global_step"] == epochs * steps
    words[0] = rates(tmp_path, [0.01, 0.02])
    before = standing(tmp_path)
    assert "2 cells: 1 completed already, 1 to train" in told(capsys, *words)
    assert standing(tmp_path) == before


def test_time_is_that_of_the_steps_and_a_third_for_validation(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "step_seconds", lambda settings, data, patients, crops, threads: 0.5 * patients)
    definition = read_definition(rates(tmp_path, [0.01], data={"batch_size": 5, "num_workers": 0}, epochs=7))
    (point,) = points(definition)
    cell = Forecaster(Planner(phantom, None, keep=False), tmp_path / "runs", 1).cell(point)
    rows = pd.read_csv(phantom / "patients.csv")
    usable = rows[rows["aln_status"].notna()]["split"].value_counts()
    train = usable["train"] // 5 * 5
    assert cell.steps == train // 5
    assert cell.seconds == pytest.approx(7 * 0.5 * (train + usable["val"] / 3))


def test_a_step_that_is_timed_is_a_real_one(phantom: Path, tmp_path: Path) -> None:
    """Four times the patients take longer; threads are as before."""
    planner, threads = Planner(phantom, None, keep=False), torch.get_num_threads()
    (point, *_) = points(read_definition(tiny_sweep(tmp_path, crop={"size_px": 128})))
    settings = forecast.settings_of(point)
    data = planner.module_for(settings)
    few, many = (min(forecast.step_seconds(settings, data, n, 2, 1) for _ in range(3)) for n in (2, 32))
    assert 2 * few < many
    assert torch.get_num_threads() == threads


def test_cells_that_cannot_be_trained_and_weights_that_are_lacking_are_told(phantom: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    steps = {"plain": {}, "from": {"model": {"pretrained": str(bad)}}}
    text = forecast_sweep(tiny_sweep(tmp_path, grid={}, steps=steps), phantom, tmp_path / "out")
    assert "2 cells: 0 completed already, 1 to train, 1 cannot be trained" in text
    assert "every configuration opens it by" in text
    assert f"{bad}: " in text
