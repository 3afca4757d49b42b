"""The W&B sweep file: valid, and started as W&B's agent starts its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mammo_aln.errors import InputError
from mammo_aln.settings import Settings
from mammo_aln.settings.parse import parse
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import settings_of
from mammo_aln.sweeps.planning.wandb_file import write_wandb_sweep
from mammo_aln.sweeps.sync import sync_runs
from tests.support.sweep_files import tiny_sweep

LR = {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}}


def written(folder: Path, **more: Any) -> dict[str, Any]:
    definition = read_definition(tiny_sweep(folder, **more))
    file = write_wandb_sweep(definition, Path("/c"), Path("/o"), folder / "wandb.yaml")
    return yaml.safe_load(file.read_text())


def trial(sweep: dict[str, Any], **chosen: Any) -> list[str]:
    """The command line that W&B's own agent makes of a trial, without its program."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    arguments = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})["args"]
    command = sweep["command"]
    at = command.index("${args}")
    assert command[:3] == ["${env}", "mammo-aln", "train"]
    return [*command[3:at], *arguments, *command[at + 1 :]]


def train(cohort: Path, out: Path, settings: Settings) -> None:
    """Stand for the verb, of whose words only the settings are read."""


def test_a_trial_of_the_agent_has_the_settings_of_the_cell(tmp_path: Path) -> None:
    grid = {"crop.auxiliary": [[], ["axilla"]], "optim.lr": [1e-5, 1e-3], "model.freeze_epochs": [0, 1]}
    sweep = written(tmp_path, grid=grid, seeds=2)
    assert (sweep["program"], sweep["project"], sweep["name"]) == ("mammo-aln", "mammo-aln", "wandb")
    cells = [settings_of(point) for point in points(read_definition(tmp_path / "sweep.yaml"))]
    parameters = sweep["parameters"]
    assert parameters["crop.auxiliary"]["values"] == ["[]", "[axilla]"]
    first = {name: values["values"][0] for name, values in parameters.items()}
    last = {name: values["values"][-1] for name, values in parameters.items()}
    for chosen, cell in ((first, cells[0]), (last, cells[-1])):
        settings = parse(train, "train", "", trial(sweep, **chosen))["settings"]
        for section in ("crop", "optim", "model", "data", "trainer"):
            assert getattr(settings, section) == getattr(cell, section)


def test_paths_hold_wherever_an_agent_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    definition = read_definition(tiny_sweep(tmp_path))
    sweep = yaml.safe_load(write_wandb_sweep(definition, Path("/c"), Path("/o"), Path("w.yaml")).read_text())
    [config] = [word for word in sweep["command"] if word.startswith("--config=")]
    assert Path(config.removeprefix("--config=")) == tmp_path / "w.configs" / "base.yaml"


def test_a_search_is_drawn_by_wandb_from_the_same_ranges(tmp_path: Path) -> None:
    space = {
        **LR,
        "model.embed_dim": {"low": 8, "high": 64, "step": 8},
        "optim.weight_decay": {"low": 0.0, "high": 0.1},
        "data.batch_size": {"low": 4, "high": 32, "log": True},
    }
    sweep = written(tmp_path, search={"trials": 7, "space": space})
    assert (sweep["method"], sweep["run_cap"]) == ("bayes", 7)
    parameters = sweep["parameters"]
    assert parameters["optim.lr"] == {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}
    assert parameters["optim.weight_decay"] == {"distribution": "uniform", "min": 0.0, "max": 0.1}
    assert parameters["model.embed_dim"] == {"values": [8, 16, 24, 32, 40, 48, 56, 64]}
    sizes = parameters["data.batch_size"]["values"]
    assert (sizes[0], sizes[-1], sizes) == (4, 32, sorted(set(sizes)))


def test_a_search_of_several_seeds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a search of one seed and no folds"):
        written(tmp_path, search={"trials": 2, "space": LR}, seeds=2)


def test_sync_without_runs_or_key_says_what_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected the folder of a sweep"):
        sync_runs(tmp_path)
    (tmp_path / "config.yaml").touch()
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(InputError, match=r"no API key for .*expected one by `wandb login`"):
        sync_runs(tmp_path)
