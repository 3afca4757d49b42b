"""Searches, W&B files and pre-training steps ask for the cells that their files describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mammo_aln.errors import InputError
from mammo_aln.runs import identity
from mammo_aln.sweeps.cell import Failure, record_failure
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.orders import retry_cells
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.planning.definition import Point, points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner
from mammo_aln.sweeps.planning.wandb_file import write_wandb_sweep
from mammo_aln.sweeps.planning.weights import PretrainJob, with_weights
from mammo_aln.sweeps.run import run_sweep
from mammo_aln.sweeps.searching import search as search_module
from mammo_aln.sweeps.searching.begin import begun_plan, plan_search, refuse_varied_pretraining
from mammo_aln.sweeps.searching.search import Search
from mammo_aln.sweeps.searching.study import ask, open_study, tell_failed
from mammo_aln.sweeps.standing.table import read_rows
from mammo_aln.sweeps.withheld import withhold
from mammo_aln.training.train import train_run
from tests.support.sweep_files import tiny_sweep, untimed_cells

optuna = pytest.importorskip("optuna")
SPACE = {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "data.augment_strength": {"low": 0.0, "high": 2.0}}


@pytest.fixture
def search(phantom: Path, store: Path, tmp_path: Path):
    """Searches over clinical models, as commands on one folder begin them."""

    def begun(at_once: int | None = None, trials: int = 3, **more: object) -> Search:
        block = {"trials": trials, "space": SPACE, **({} if at_once is None else {"at_once": at_once})}
        file = tiny_sweep(tmp_path, epochs=1, **{"search": block, "grid": {}, **more})
        definition = read_definition(file, {"model": {"inputs": ["clinical"]}})
        assert definition.search is not None
        planner, grid = Planner(phantom, store), list(points(definition))
        return plan_search(
            definition, definition.search, grid, planner, tmp_path / "out", "sweep run", executor="local", retries=0
        )

    return begun


def train(search: Search, cells: Sequence[Cell]) -> list[Cell]:
    """Train some cells in this process."""
    for cell in cells:
        train_run(search.plan.cohort, search.plan.runs, cell.settings, store=search.plan.store, planned=cell.run_id)
    return list(cells)


def work(search: Search) -> None:
    """Train one cell after another until the search has none."""
    ended: list[Cell] = []
    while cells := search.further(1, ended):
        ended = train(search, cells)


def leave(search: Search) -> None:
    """Let go of what a command holds, as its end does."""
    for trial in search.open.values():
        trial.claim.close()


def states(search: Search) -> list[str]:
    return [trial.state.name for trial in search.study.trials]


def test_a_search_that_died_finishes_what_it_had_begun_and_no_more(search) -> None:
    first = search()
    assert len(first.further(2, [])) == 2
    begun = [trial.params for trial in first.study.trials]
    assert len(begun) == 2
    leave(first)
    again = search()
    work(again)
    trials = again.study.trials
    assert [trial.params for trial in trials[:2]] == begun
    assert states(again) == ["COMPLETE"] * 3
    for trial in trials:
        assert 1e-4 <= trial.params["optim.lr"] <= 1e-2
        lr, strength = trial.params["optim.lr"], trial.params["data.augment_strength"]
        name = f"#{trial.number} data.augment_strength={strength:.4g} optim.lr={lr:.4g}"
        (cell,) = [cell for cell in again.plan.cells if cell.axes["trial"] == name]
        assert cell.settings.optim.lr == trial.params["optim.lr"]
        assert cell.settings.data.augment_strength == trial.params["data.augment_strength"]
        row = next(row for row in read_rows(again.plan) if row.cell.run_id == cell.run_id)
        assert trial.value == row.val.value
    assert again.further(1, []) == []


def test_a_trial_is_asked_for_when_another_ends_and_not_before(search) -> None:
    """In rounds, the third would wait for both of the first two."""
    command = search(at_once=2)
    first, second = command.further(8, [])
    assert command.further(8, []) == []
    (third,) = command.further(1, train(command, [second]))
    assert states(command) == ["RUNNING", "COMPLETE", "RUNNING"]
    assert command.further(1, train(command, [third])) == []
    assert states(command) == ["RUNNING", "COMPLETE", "COMPLETE"]
    assert command.further(1, train(command, [first])) == []
    assert states(command) == ["COMPLETE"] * 3


def test_later_trials_depend_on_earlier_ones(tmp_path: Path) -> None:
    """Of two searches with one seed, whose trials go differently, the first ten trials are the same, and no others."""
    file = tiny_sweep(tmp_path, search={"trials": 15, "space": SPACE}, grid={})
    definition = read_definition(file)
    space = definition.search
    assert space is not None
    asked = []
    for sign in (1.0, -1.0):
        study = open_study(f"sign {sign}", space, tmp_path)
        asked.append([])
        for number in range(15):
            trial = ask(study, definition, space)
            asked[-1].append(trial.params["optim.lr"])
            study.tell(number, sign * trial.params["optim.lr"])
    alike = [one == other for one, other in zip(*asked, strict=True)]
    assert alike == [True] * 10 + [False] * 5
    assert len(set(asked[0])) == 15


def test_two_commands_that_begin_at_once_ask_for_different_trials(search) -> None:
    one, two = search(trials=8), search(trials=8)
    for _ in range(4):
        for command in (one, two):
            assert len(command.further(1, [])) == 1
    asked = one.study.trials
    assert [trial.number for trial in asked] == list(range(8))
    for name in SPACE:
        assert len({trial.params[name] for trial in asked}) == 8


def test_a_command_without_trials_of_its_own_helps_with_those_of_others(search) -> None:
    one = search(trials=1)
    (cell,) = one.further(1, [])
    two = search(trials=1)
    assert [other.run_id for other in two.further(1, [])] == [cell.run_id]
    assert two.further(1, train(two, [cell])) == []
    assert states(two) == ["RUNNING"]
    assert one.further(1, [cell]) == []
    assert states(one) == ["COMPLETE"]


def test_a_failed_trial_stays_open_for_the_next_command_and_for_retry(search) -> None:
    command = search(trials=1)
    (cell,) = command.further(1, [])
    record_failure(command.plan, cell, Failure("the cohort was away", ("a line",)))
    assert command.further(1, [cell]) == []
    assert states(command) == ["RUNNING"]
    assert command.further(1, []) == [], "this command has given it up"
    retry_cells(command.plan.out, [cell.run_id])
    assert [one.run_id for one in command.further(1, [])] == [cell.run_id]
    record_failure(command.plan, cell, Failure("the cohort was away", ("a line",)))
    assert command.further(1, [cell]) == []
    work(search(trials=1))
    assert states(command) == ["COMPLETE"]


def test_a_trial_that_another_version_told_as_failed_is_none_of_those_asked_for(search) -> None:
    command = search(trials=2)
    assert len(command.further(1, [])) == 1
    tell_failed(command.study, 0)
    leave(command)
    work(search(trials=2))
    assert states(command) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_range_that_the_pretraining_takes_over_is_refused(tmp_path: Path) -> None:
    """Its weights would be of other images than the trial's."""

    def refused(**block: object) -> None:
        model = {"backbone": "resnet50", "pretrained": "sweep"}
        file = tiny_sweep(tmp_path, model=model, grid={}, search={"space": SPACE}, pretrain=block)
        definition = read_definition(file)
        refuse_varied_pretraining(definition, list(points(definition)))

    with pytest.raises(InputError, match=r"data\.augment_strength: the pre-training takes it over"):
        refused(pretrain={"mode": "contrastive"})
    refused(pretrain={"mode": "contrastive"}, data={"augment_strength": 1.0})


def test_a_pruned_trial_is_told_with_its_epoch_and_its_other_seeds_are_not_trained(search) -> None:
    command = search(seeds=2, trials=2, pruner={"name": "median", "n_startup_trials": 1})
    first, second = command.further(2, [])
    assert (first.seed, second.seed) == (0, 0), "the seeds of a trial are trained one after another"
    (later,) = command.further(1, train(command, [first]))
    assert (later.seed, later.axes) == (1, first.axes)
    reason = {"epoch": 3, "auc": 0.4, "pruner": {"name": "median", "n_startup_trials": 1}}
    others = [cell.run_id for cell in command.plan.cells if cell.axes == second.axes]
    assert len(others) == 2
    withhold(command.plan.out, others, "pruned at epoch 3", pruned=reason)
    assert command.further(1, [second]) == []
    assert command.further(1, train(command, [later])) == []
    assert states(command) == ["COMPLETE", "PRUNED"]
    assert (command.study.trials[1].last_step, command.study.trials[1].value) == (3, 0.4)
    retry_cells(command.plan.out, [second.run_id])
    assert [cell.run_id for cell in command.further(1, [])] == [second.run_id], "tried again by hand"
    assert command.further(1, []) == []


def test_a_trial_begins_from_the_weights_of_its_place_in_the_grid(search) -> None:
    command = search(grid={"optim.loss": ["bce", "focal"]})
    for point in points(command.definition):
        weights = f"/weights/{point.axes['optim.loss']}"
        command.weights[tuple((name, str(value)) for name, value in point.axes.items())] = weights
    asking = Point({"trial": "#0", "optim.loss": "focal"}, {}, {"model": {"pretrained": "sweep", "embed_dim": 8}})
    assert command._weighted(asking).settings == {"model": {"pretrained": "/weights/focal", "embed_dim": 8}}
    plain = Point({"trial": "#0", "optim.loss": "bce"}, {}, {"model": {"pretrained": False}})
    assert command._weighted(plain) == plain


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
    command = search()
    assert len(command.further(3, [])) == 3
    former = command.plan
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


@pytest.mark.slow
def test_a_search_in_slots_trains_every_trial_and_a_second_command_goes_on_with_what_failed(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first command meets a run folder that it cannot use; once that is mended, the same command goes on."""
    search = {"trials": 4, "space": SPACE}
    file = tiny_sweep(tmp_path, epochs=1, model={"inputs": ["clinical"]}, search=search, grid={})
    out = tmp_path / "out"

    def run() -> int | Path:
        return run_sweep(file, phantom, out, store=store, slots=2, retries=0)

    add = search_module.add_cells

    def add_and_block(plan: Plan, cells: Sequence[Cell]) -> Plan:
        if not (out / "runs" / "blocked").exists():
            blocked = out / "runs" / cells[0].run_id
            blocked.write_text("a file where the run's folder is to be")
            (out / "runs" / "blocked").write_text(str(blocked))
        return add(plan, cells)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "add_cells", add_and_block)
        assert run() == 1
    told = capsys.readouterr().err
    assert "trial 0 has no value yet" in told
    assert list(untimed_cells(out)["state"]) == ["failed", "completed", "completed", "completed"]
    blocked = out / "runs" / "blocked"
    Path(blocked.read_text()).unlink()
    assert run() == out
    assert list(untimed_cells(out)["state"]) == ["completed"] * 4
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'search.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
