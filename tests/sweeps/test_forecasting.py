"""What a dry run tells of a sweep: true of the run that follows, and nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from mammo_aln.cli import main
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError
from mammo_aln.runs.ledger import LEDGER
from mammo_aln.settings import PretrainConfig, PretrainSettings
from mammo_aln.sweeps.forecasting import cells, pretrainings
from mammo_aln.sweeps.forecasting.cells import Forecaster
from mammo_aln.sweeps.forecasting.steps import pretraining_step_seconds, step_seconds
from mammo_aln.sweeps.forecasting.sweep import forecast_sweep
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.orders import cancel_cells, drop_cells
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner, plan_sweep, settings_of
from mammo_aln.sweeps.run import run_sweep
from mammo_aln.training.pretraining.data import PretrainData
from tests.support.run_folders import linked_copy, without_images
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
    cohort = without_images(linked_copy(phantom, tmp_path / "cohort"))
    (cohort / LEDGER).unlink(missing_ok=True)
    words = [rates(tmp_path, [0.01]), "--cohort", cohort, "--out", tmp_path / "out"]
    text = told(capsys, *words)
    assert "1 cell: 0 completed already, 1 to train" in text
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
    monkeypatch.setattr(cells, "step_seconds", lambda settings, data, patients, crops, threads: 0.5 * patients)
    definition = read_definition(rates(tmp_path, [0.01], data={"batch_size": 5, "num_workers": 0}, epochs=7))
    (point,) = points(definition)
    cell = Forecaster(Planner(phantom, None, keep=False), tmp_path, 1).cell(point)
    rows = pd.read_csv(phantom / "patients.csv")
    usable = rows[rows["aln_status"].notna()]["split"].value_counts()
    train = usable["train"] // 5 * 5
    assert cell.steps == train // 5
    assert cell.seconds == pytest.approx(7 * 0.5 * (train + usable["val"] / 3))


def test_a_step_that_is_timed_is_a_real_one(phantom: Path, tmp_path: Path) -> None:
    """Four times the patients take longer; threads are as before."""
    planner, threads = Planner(phantom, None, keep=False), torch.get_num_threads()
    (point, *_) = points(read_definition(tiny_sweep(tmp_path, crop={"size_px": 128})))
    settings = settings_of(point)
    data = planner.module_for(settings)
    few, many = (min(step_seconds(settings, data, n, 2, 1) for _ in range(3)) for n in (2, 32))
    assert 2 * few < many
    own = PretrainSettings(model=settings.model, crop=settings.crop, pretrain=PretrainConfig(mode="contrastive"))
    few, many = (min(pretraining_step_seconds(own, n, 1) for _ in range(3)) for n in (4, 64))
    assert 2 * few < many
    assert torch.get_num_threads() == threads


def test_cells_that_cannot_be_trained_and_weights_that_are_lacking_are_told(phantom: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    steps = {"plain": {}, "from": {"model": {"pretrained": str(bad)}}}
    text = forecast_sweep(tiny_sweep(tmp_path, grid={}, steps=steps), phantom, tmp_path / "out")
    assert "2 cells: 0 completed already, 1 to train, 1 cannot be trained" in text
    assert "every configuration opens it by" in text
    assert f"{bad}: " in text


def test_cells_that_were_dropped_or_cancelled_are_not_told_to_be_trained(phantom: Path, tmp_path: Path) -> None:
    """A dropped cell stays so whatever the file says; a cancelled one waits for `sweep retry`."""
    file, out = rates(tmp_path, [0.01, 0.02, 0.03]), tmp_path / "out"
    definition = read_definition(file)
    freeze(plan_sweep(definition, list(points(definition)), phantom, out, store=None, slots=1, check=False))
    drop_cells(out, ["optim.lr=0.01"])
    cancel_cells(out, ["optim.lr=0.02"])
    text = forecast_sweep(file, phantom, out)
    assert "3 cells: 0 completed already, 1 to train, 2 left as they are" in text
    assert re.search(r"optim.lr=0.01, seed=0 +dropped by `sweep drop`", text)
    assert re.search(r"optim.lr=0.02, seed=0 +cancelled by `sweep cancel`", text)


def test_a_cohort_with_a_problem_is_refused_as_the_run_refuses_it(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    images.loc[0, "path"] = "nowhere.dcm"
    images.to_csv(cohort / "images.csv", index=False)
    words = [rates(tmp_path, [0.01]), "--cohort", cohort, "--out", tmp_path / "out"]
    before = standing(tmp_path)
    ends = []
    for more in (["--dry_run=true"], []):
        assert main(["sweep", "run", *map(str, words), *more]) == 2
        ends.append(capsys.readouterr().err.splitlines()[-1])
        assert (
            standing(cohort) == {path: state for path, state in before.items() if path.is_relative_to(cohort)}
            or not more
        )
    assert ends[0] == ends[1]
    assert "1 problem(s), see above" in ends[0]


SPACE = {"model.embed_dim": {"low": 8, "high": 64}, "trainer.max_epochs": {"low": 2, "high": 5}}
WIDTHS = {"trials": 6, "space": SPACE}


def test_a_search_is_told_at_both_ends_of_its_ranges(phantom: Path, tmp_path: Path) -> None:
    grid = {"optim.loss": ["bce", "focal"]}
    text = forecast_sweep(rates(tmp_path, [], grid=grid, search=WIDTHS, seeds=3), phantom, tmp_path / "out")
    assert "search: 6 trials of 3 cells each, 0 cells completed already" in text
    lines = [line for line in text.splitlines() if line.startswith("ranges=")]
    names = [line.split("  ")[0] for line in lines]
    ends = [f"ranges={end}, optim.loss={loss}, seed=0" for loss in grid["optim.loss"] for end in ("lowest", "highest")]
    assert names == ends
    assert [re.search(r"(\d) x \d", line)[1] for line in lines] == ["2", "5", "2", "5"]
    assert re.search(r"time: .* to .*, if all trials were like the quickest or the slowest row", text)
    assert "disk: at most about" in text


def test_the_ends_of_a_search_are_its_networks_and_an_end_that_fits_none_is_told(phantom: Path, tmp_path: Path) -> None:
    from mammo_aln.sweeps.forecasting.sweep import _ends

    definition = read_definition(rates(tmp_path, [], grid={}, search=WIDTHS))
    forecaster = Forecaster(Planner(phantom, None, keep=False), tmp_path, 1)
    low, high = (forecaster.cell(point) for point in _ends(definition, definition.search, list(points(definition))))
    assert low.network.parameters < high.network.parameters
    space = {"trials": 2, "space": {"data.batch_size": {"low": 3, "high": 8}}}
    halves = {"search": space, "optim": {"accumulate": 2}}
    text = forecast_sweep(rates(tmp_path, [], grid={}, **halves), phantom, tmp_path / "out")
    assert re.search(r"ranges=lowest, seed=0 +cannot be trained", text)
    assert "ranges=lowest, seed=0: data.batch_size = 3" in text
    assert re.search(r"ranges=highest, seed=0 +to train", text)


LADDER = {
    "model": {"backbone": "resnet50", "inputs": ["primary"]},
    "steps": {"plain": {}, "+ pre-training": {"model": {"pretrained": "sweep"}}},
    "grid": {},
}


@pytest.mark.parametrize("mode", ["contrastive", "both", "supervised"])
def test_a_pre_training_takes_its_steps_and_a_third_for_validation(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Each crop takes half a second; the crops of an epoch are those of the data that the pre-training reads."""
    monkeypatch.setattr(pretrainings, "pretraining_step_seconds", lambda settings, crops, threads: 0.5 * crops)
    labels = {} if mode == "contrastive" else {"labels": ["age"]}
    block = {"pretrain": {"mode": mode, **labels}, "trainer": {"max_epochs": 3, "accelerator": "cpu"}}
    definition = read_definition(tiny_sweep(tmp_path, pretrain=block, **LADDER))
    asking = [point for point in points(definition) if point.axes["step"] != "plain"]
    (told,) = pretrainings.forecast_pretrainings(asking, definition, phantom, tmp_path / "out", store, 1, here=True)
    ((job, _),) = pretrainings.pretrain_jobs(asking, definition.pretrain, phantom, tmp_path, store, here=True)
    data = PretrainData(read_cohort(phantom, need=("patients", "images"), outcome=False), job.settings, store)
    data.setup()
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader()}
    crops = {
        split: sum(len(loader.dataset[0, number].crops) for number in range(len(loader.dataset)))
        for split, loader in loaders.items()
    }
    assert told.seconds == pytest.approx(3 * 0.5 * (crops["train"] + crops["val"] / 3))
    assert (told.weights, told.epochs, len(told.begins)) == (None, 3, 1)


@pytest.mark.slow
def test_cells_that_begin_from_the_sweeps_weights_are_known_once_these_are_made(
    phantom: Path, store: Path, tmp_path: Path
) -> None:
    block = {"pretrain": {"mode": "contrastive"}, "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    file, out = tiny_sweep(tmp_path, epochs=1, pretrain=block, **LADDER), tmp_path / "out"
    before = forecast_sweep(file, phantom, out, store=store)
    assert "2 cells: 0 completed already, 2 to train" in before
    assert re.search(r"pre-training of resnet50: 1 epoch, about .*; 1 cell begins from its weights", before)
    assert "of pre-training among it" in before
    assert run_sweep(file, phantom, out, store=store, slots=1) == out
    after = forecast_sweep(file, phantom, out, store=store)
    assert "2 cells: 2 completed already, 0 to train" in after
    assert "pre-training of resnet50: made already" in after


@pytest.mark.slow
def test_a_search_that_was_begun_is_told_what_is_left(phantom: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search = {"trials": 2, "space": {"optim.lr": {"low": 0.001, "high": 0.01}}}
    file, out = rates(tmp_path, [], grid={}, search=search), tmp_path / "out"
    assert run_sweep(file, phantom, out, slots=1) == out
    assert "search: 2 trials of 1 cell each, 2 cells completed already" in forecast_sweep(file, phantom, out)
    other = rates(tmp_path, [], grid={}, search={**search, "space": {"optim.lr": {"low": 0.002, "high": 0.01}}})
    assert "0 cells completed already" in forecast_sweep(other, phantom, out)


def test_a_dry_run_for_slurm_refuses_what_its_jobs_may_not_ask_for(phantom: Path, tmp_path: Path) -> None:
    from mammo_aln.settings import ClusterConfig

    cluster = ClusterConfig(where={"model.backbone=densenet*": {"mem_gb": 8}})
    with pytest.raises(InputError, match="no cell has this"):
        forecast_sweep(rates(tmp_path, [0.01]), phantom, tmp_path / "out", executor="slurm", cluster=cluster)
