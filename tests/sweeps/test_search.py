"""Searches, W&B files and pre-training steps ask for the cells that their files describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mammo_aln.errors import InputError
from mammo_aln.runs import identity
from mammo_aln.sweeps.plan import Cell, Plan, freeze
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner, settings_of
from mammo_aln.sweeps.planning.space import Space
from mammo_aln.sweeps.planning.wandb_file import write_wandb_sweep
from mammo_aln.sweeps.planning.weights import PretrainJob, with_weights
from mammo_aln.sweeps.search import Search, begun_plan, open_study, study_name
from mammo_aln.training.train import train_run
from tests.support.sweep_files import tiny_sweep

optuna = pytest.importorskip("optuna")
SPACE = {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "data.augment_strength": {"low": 0.0, "high": 2.0}}


@pytest.fixture
def search(phantom: Path, store: Path, tmp_path: Path):
    """A search over clinical models, trained in this process; `train` may be told to die."""
    file = tiny_sweep(tmp_path, epochs=1, search={"trials": 3, "space": SPACE}, grid={})
    definition = read_definition(file, {"model": {"inputs": ["clinical"]}})

    def make(train=None) -> Search:
        space = definition.search
        assert space is not None
        planner = Planner(phantom, store)
        content = planner.content(settings_of(next(points(definition))))
        name = study_name(definition, space, content)
        empty = Plan(tmp_path, phantom, store, content, (), search={**space.to_json(), "study": name})
        plan = begun_plan(empty)
        plan = freeze(plan) if plan is empty else plan
        study = open_study(name, space, tmp_path)

        def by_hand(plan: Plan, cells: Sequence[Cell]) -> None:
            for cell in cells:
                train_run(phantom, plan.runs, cell.settings, store=store, planned=cell.run_id)

        return Search(definition, space, study, planner, plan, train or by_hand, batch=2)

    return make


def test_a_search_that_died_finishes_what_it_had_begun_and_no_more(search) -> None:
    def die(plan: Plan, cells: Sequence[Cell]) -> None:
        raise KeyboardInterrupt

    first = search(die)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    begun = [trial.params for trial in first.study.trials]
    assert len(begun) == 2
    for claim in first.claims:
        claim.close()
    again = search()
    plan = again.run()
    trials = again.study.trials
    assert [trial.params for trial in trials[:2]] == begun
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    for trial in trials:
        assert 1e-4 <= trial.params["optim.lr"] <= 1e-2
        lr, strength = trial.params["optim.lr"], trial.params["data.augment_strength"]
        name = f"#{trial.number} data.augment_strength={strength:.4g} optim.lr={lr:.4g}"
        (cell,) = [cell for cell in plan.cells if cell.axes["trial"] == name]
        assert cell.settings.optim.lr == trial.params["optim.lr"]
        assert cell.settings.data.augment_strength == trial.params["data.augment_strength"]
    assert again.run() == plan


def test_two_commands_that_begin_at_once_ask_for_different_trials(search) -> None:
    one, two = search(), search()
    asked = [command._ask() for _ in range(4) for command in (one, two)]
    assert [trial.number for trial in asked] == list(range(8))
    for name in SPACE:
        assert len({trial.params[name] for trial in asked}) == 8


def test_trials_of_other_code_are_no_trials_of_this_code(search, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler would learn from values that this code does not reach, and the best of both would be chosen."""
    monkeypatch.setattr(identity, "LEARNING_VERSION", identity.LEARNING_VERSION - 1)
    former = search()
    former.study.add_trial(optuna.create_trial(value=0.9))
    empty = replace(former.plan, command="another")
    assert begun_plan(empty) == former.plan
    monkeypatch.undo()
    assert begun_plan(empty) is empty
    assert search().study.trials == []


def test_trials_of_other_ranges_leave_the_table(search, capsys: pytest.CaptureFixture[str]) -> None:
    """Trial 0 of one search and trial 0 of another would be one configuration of the choice."""
    former = search().run()
    assert len(former.cells) == 3
    assert former.search is not None
    assert begun_plan(replace(former, cells=())) == former
    of_another = replace(former, cells=(), search={**former.search, "study": "another"})
    assert begun_plan(of_another) is of_another
    assert "3 cells are of another search" in capsys.readouterr().err
    plan = freeze(of_another)
    assert plan.cells == plan.dropped == ()
    assert set(plan.superseded) == {cell.run_id for cell in former.cells}


def test_a_wandb_sweep_names_the_same_cells(tmp_path: Path) -> None:
    configs = ["configs/backbones/resnet50_small.yaml", "configs/backbones/swinv2_small.yaml"]
    file = tiny_sweep(tmp_path, grid={"crop.strategy": ["lesion_box", "fixed_5cm"], "config": configs}, seeds=3)
    definition = read_definition(file)
    made = write_wandb_sweep(definition, Path("COHORT"), Path("OUT"), tmp_path / "wandb.yaml")
    told = yaml.safe_load(made.read_text())
    values = {name: given["values"] for name, given in told["parameters"].items()}
    assert values["crop.strategy"] == ["lesion_box", "fixed_5cm"]
    assert values["seed"] == [0, 1, 2]
    assert [yaml.safe_load(Path(path).read_text()) for path in values["config"]] == [
        yaml.safe_load(Path(path).read_text()) for path in configs
    ]
    assert told["metric"] == {"name": "val_auc", "goal": "maximize"}
    count = 1
    for given in values.values():
        count *= len(given)
    assert count == len(list(points(definition)))
    with pytest.raises(InputError, match="no equivalent"):
        write_wandb_sweep(replace(definition, search=Space({}, 1, "")), Path("C"), Path("O"), tmp_path / "x.yaml")


def test_the_ladder_takes_given_weights_or_makes_its_own_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = read_definition(Path("configs/sweeps/ladder.yaml"))
    found = list(points(definition))
    given = {"store": None, "cluster": None}
    with_file = with_weights(found, definition, tmp_path, tmp_path, pretrained=Path("w.safetensors"), **given)
    weights = {point.axes["step"]: point.settings["model"].get("pretrained", False) for point in with_file}
    file = "w.safetensors"
    assert weights == {"primary": False, "+ pre-training": file, "+ clinical": file, "+ auxiliary": file}
    made = []

    def pretend(job: PretrainJob) -> str:
        made.append(job.settings)
        return str(job.out / "pretrained.safetensors")

    monkeypatch.setattr("mammo_aln.sweeps.planning.weights.weights_here", pretend)
    own = with_weights(found, definition, tmp_path, tmp_path, pretrained=None, **given)
    assert len(made) == 1
    assert (made[0].model.backbone, made[0].pretrain.mode, made[0].model.inputs) == (
        "swinv2",
        "contrastive",
        ("primary",),
    )
    assert own[-1].settings["model"]["pretrained"] == str(tmp_path / "pretrain" / "pretrained.safetensors")
    with pytest.raises(InputError, match="--pretrained FILE"):
        with_weights(found, replace(definition, pretrain=None), tmp_path, tmp_path, pretrained=None, **given)
    plain = read_definition(tiny_sweep(tmp_path))
    with pytest.raises(InputError, match="no cell of this sweep"):
        with_weights(list(points(plain)), plain, tmp_path, tmp_path, pretrained=Path("w"), **given)
