"""The W&B sweep file: valid, and started as W&B's agent starts its trials."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mammo_aln.errors import InputError
from mammo_aln.settings import LogConfig, Settings
from mammo_aln.settings.parse import parse
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import settings_of
from mammo_aln.sweeps.planning.wandb_file import write_wandb_sweep
from mammo_aln.sweeps.sync import sync_runs
from tests.support.sweep_files import backbone_axis, tiny_sweep

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


def combinations(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """List the trials of a grid, in the order of its cells."""
    values = {name: given.get("values") or [given["value"]] for name, given in sweep["parameters"].items()}
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def train(cohort: Path, out: Path, settings: Settings, store: Path | None = None) -> None:
    """Stand for the verb, of whose words only the settings are read."""


def test_a_trial_of_the_agent_has_the_settings_of_the_cell(tmp_path: Path) -> None:
    grid = {"crop.auxiliary": [[], ["axilla"]], "optim.lr": [1e-5, 1e-3], "model.freeze_epochs": [0, 1]}
    sweep = written(tmp_path, grid=grid, seeds=2)
    assert (sweep["program"], sweep["project"], sweep["name"]) == ("mammo-aln", "mammo-aln", "wandb")
    cells = [settings_of(point) for point in points(read_definition(tmp_path / "sweep.yaml"))]
    assert sweep["parameters"]["crop.auxiliary"]["values"] == ["[]", "[axilla]"]
    # W&B's order of a trial's flags is its own.
    trials = [parse(train, "train", "", trial(sweep, **chosen))["settings"] for chosen in combinations(sweep)]
    assert [replace(settings, log=cell.log) for settings, cell in zip(trials, cells, strict=True)] == cells
    assert {settings.log for settings in trials} == {LogConfig(wandb="online")}


def test_bundles_of_settings_are_those_of_the_cells_whatever_the_order_of_flags(tmp_path: Path) -> None:
    more = {"grid": {"model": backbone_axis("resnet50", "densenet121"), "optim.lr": [1e-4]}, "folds": 2}
    sweep = written(tmp_path, **more, log={"wandb": "disabled", "tracker": ["csv"]})
    cells = [settings_of(point) for point in points(read_definition(tmp_path / "sweep.yaml"))]
    for backwards in (False, True):
        chosen = [dict(sorted(each.items(), reverse=backwards)) for each in combinations(sweep)]
        trials = [parse(train, "train", "", trial(sweep, **each))["settings"] for each in chosen]
        assert [replace(settings, log=cell.log) for settings, cell in zip(trials, cells, strict=True)] == cells
        assert {settings.log for settings in trials} == {LogConfig(wandb="online", tracker=("csv", "wandb"))}


@pytest.mark.parametrize(
    ("more", "method", "stops"),
    [
        ({"seeds": 2}, "grid", None),
        ({"search": {"trials": 3}}, "random", None),
        ({"search": {"trials": 3, "space": LR}}, "bayes", None),
        ({"search": {"trials": 3, "space": LR}, "pruner": "hyperband", "epochs": 16}, "bayes", (2, 3)),
        ({"pruner": {"name": "successive_halving", "min_resource": 3}}, "grid", (3, 2)),
        (
            {"pruner": {"name": "successive_halving", "reduction_factor": 2, "min_early_stopping_rate": 2}},
            "grid",
            (4, 2),
        ),
    ],
)
def test_the_file_obeys_wandbs_own_schema(
    more: dict[str, Any], method: str, stops: tuple[int, int] | None, tmp_path: Path
) -> None:
    sweep = written(tmp_path, **more)
    schema = json.loads((Path(__file__).parents[1] / "data" / "wandb_sweep_schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(sweep)
    assert sweep["method"] == method
    expected = None if stops is None else {"type": "hyperband", "min_iter": stops[0], "eta": stops[1]}
    assert sweep.get("early_terminate") == expected


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"optim": {"lrr": 1.0}}, "lrr"),
        ({"model": {"pretrained": "sweep"}}, "--pretrained FILE"),
        ({"pruner": "median"}, "agents know no median"),
        ({"pruner": "hyperband", "seeds": 2}, "expected one seed and no folds"),
        (
            {"grid": {"model": backbone_axis("resnet50", "densenet121"), "model.embed_dim": [8, 16]}},
            r"model\.embed_dim: set by model and by model\.embed_dim",
        ),
    ],
)
def test_what_no_agent_could_train_is_refused_and_nothing_is_written(
    more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        written(tmp_path, **more)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_an_agent_is_given_the_store_and_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = {"model.pretrained": ["sweep", "other.ckpt", False]}
    definition = read_definition(tiny_sweep(tmp_path, grid=grid))
    file = write_wandb_sweep(
        definition, Path("/c"), Path("/o"), tmp_path / "w.yaml", store=Path("/s"), pretrained=Path("own.ckpt")
    )
    sweep = yaml.safe_load(file.read_text())
    assert "--store=/s" in sweep["command"]
    weights = [str(tmp_path / "own.ckpt"), str(tmp_path / "other.ckpt"), False]
    assert sweep["parameters"]["model.pretrained"]["values"] == weights


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
    with pytest.raises(InputError, match="expected one seed and no folds: where there is a search"):
        written(tmp_path, search={"trials": 2, "space": LR}, seeds=2)


def test_sync_without_runs_or_key_says_what_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected the folder of a sweep"):
        sync_runs(tmp_path)
    (tmp_path / "config.yaml").touch()
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(InputError, match=r"no API key for .*expected one by `wandb login`"):
        sync_runs(tmp_path)
