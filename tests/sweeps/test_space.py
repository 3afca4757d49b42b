"""Ranges of a search are of their setting's type and limits; what is not is refused when the file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo_aln.errors import InputError
from mammo_aln.sweeps.planning.definition import read_definition
from mammo_aln.sweeps.planning.space import Range
from mammo_aln.sweeps.searching.study import ask as draw
from mammo_aln.sweeps.searching.study import open_study
from tests.support.sweep_files import tiny_sweep

optuna = pytest.importorskip("optuna")


def ask(tmp_path: Path, setting: str, bounds: dict, count: int = 12) -> list[float]:
    """Values of a setting that a search's first trials ask for."""
    definition = read_definition(tiny_sweep(tmp_path, search={"trials": count, "space": {setting: bounds}}, grid={}))
    assert definition.search is not None
    study = open_study("study", definition.search, tmp_path)
    return [draw(study, definition, definition.search).params[setting] for _ in range(count)]


def test_whole_bounds_of_a_setting_that_is_not_whole_are_no_whole_values(tmp_path: Path) -> None:
    values = ask(tmp_path, "optim.weight_decay", {"low": 0, "high": 1})
    assert all(type(value) is float and 0 <= value <= 1 for value in values)
    assert len(set(values)) == len(values)
    assert sum(0 < value < 1 for value in values) == len(values)


def test_a_whole_setting_takes_whole_values_however_its_bounds_are_written(tmp_path: Path) -> None:
    values = ask(tmp_path, "model.embed_dim", {"low": 8.0, "high": 16, "step": 4})
    assert all(type(value) is int for value in values)
    assert set(values) <= {8, 12, 16}
    definition = read_definition(tiny_sweep(tmp_path, search={"space": {"model.embed_dim": {"low": 8.0, "high": 16}}}))
    assert definition.search is not None
    assert definition.search.ranges == {"model.embed_dim": Range(8, 16, whole=True)}


LR = "optim.lr"
FINE = {"low": 1.0e-4, "high": 1.0e-2}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"trails": 3}, "search: trails: unknown key"),
        ({"trials": 0}, "search: trials: expected a count of 1 or more, at most 100000, got 0"),
        ({"trials": True}, "search: trials: expected a count"),
        ({"at_once": 0}, "search: at_once: expected a count of 1 or more, at most 100000, got 0"),
        ({"seed": "x"}, "search: seed: expected a whole number"),
        ({"seed": 1.5}, "search: seed: expected a whole number"),
        ({"storage": 3}, "search: storage: expected the URL"),
        ({"space": [LR]}, "search: space: expected settings"),
        ([], "search: expected trials"),
        (None, "search: expected trials"),
        ({"trials": 3}, "search: nothing to search"),
        ({"space": {LR: {"low": 1}}}, "optim.lr: expected {low: ..., high: ...}"),
        ({"space": {LR: [1, 2]}}, "optim.lr: expected {low: ..., high: ...}"),
        ({"space": {LR: {"low": 2, "high": 1}}}, "optim.lr: expected low below high, got low 2.0, high 1.0"),
        ({"space": {LR: {"low": 1, "high": 1}}}, "expected low below high"),
        ({"space": {LR: {"low": 0, "high": 1, "log": True}}}, "log: a logarithmic scale has no 0"),
        ({"space": {LR: {"low": 0, "high": 1}}}, "optim.lr: expected 1e-10 to 100, got 0.0"),
        ({"space": {"optim.weight_decay": {"low": -1, "high": 1}}}, "optim.weight_decay: expected 0 "),
        ({"space": {"optim.ema_decay": {"low": 0, "high": 1}}}, "ema_decay: expected a number from 0 to below 1"),
        ({"space": {"data.test_time_copies": {"low": 0, "high": 9}}}, "test_time_copies: expected 0 to 8, got 9"),
        ({"space": {LR: {**FINE, "log": "yes please"}}}, "log: expected true or false"),
        ({"space": {LR: {**FINE, "log": True, "step": 1.0e-3}}}, "a logarithmic scale has no steps"),
        ({"space": {LR: {"low": 0.1, "high": 0.5, "step": 0.3}}}, "expected steps that lead from low 0.1 to high 0.5"),
        ({"space": {LR: {"low": 0.1, "high": 0.5, "step": 0}}}, "expected steps that lead"),
        ({"space": {LR: {**FINE, "steps": 3}}}, "steps: unknown key"),
        ({"space": {LR: {"low": "1e-4", "high": 1}}}, "YAML reads 1e-4 as text; write 1.0e-4"),
        ({"space": {LR: {"low": "little", "high": 1}}}, "low: expected a number, got 'little'"),
        ({"space": {LR: {"low": 0.1, "high": float("inf")}}}, "high: expected a number, got inf"),
        ({"space": {LR: {"low": 0.1, "high": True}}}, "high: expected a number, got True"),
        ({"space": {"model.embed_dim": {"low": 8.5, "high": 16}}}, "low: expected a whole number"),
        ({"space": {"optim.lrr": FINE}}, "optim.lrr: unknown key; did you mean optim.lr?"),
        ({"space": {"optim": FINE}}, "optim: unknown key"),
        ({"space": {"optim.loss": {"low": 1, "high": 2}}}, "optim.loss: no number"),
        ({"space": {"data.augment": {"low": 0, "high": 1}}}, "data.augment: no number"),
        ({"space": {"data.num_workers": {"low": 0, "high": 4}}}, "no trial would differ"),
        ({"space": {"seed": {"low": 0, "high": 4}}}, "write seeds: beside search"),
        ({"space": {"data.fold": {"low": 0, "high": 4}}}, "write folds: beside search"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_when_its_file_is_read(
    block: object, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        read_definition(tiny_sweep(tmp_path, search=block, grid={}))
    assert expected in str(refused.value)
    assert str(refused.value).startswith("sweep.yaml: search: ")
    assert "\n" not in str(refused.value)


def test_each_setting_is_varied_in_one_way(tmp_path: Path) -> None:
    """The grid's value, or the command line's, would win over the trial's, and tables would name the trial's."""
    search = {"space": {LR: FINE, "optim.weight_decay": {"low": 0, "high": 1}}}
    with pytest.raises(InputError, match=r"optim\.lr: the grid or the steps set it too"):
        read_definition(tiny_sweep(tmp_path, search=search, grid={"optim.lr": [0.1, 0.2]}))
    with pytest.raises(InputError, match=r"optim\.lr: the grid or the steps set it too"):
        read_definition(tiny_sweep(tmp_path, search=search, grid={}, steps={"fast": {"optim": {"lr": 0.1}}}))
    definition = read_definition(tiny_sweep(tmp_path, search=search, grid={}), {"optim": {"lr": 0.1}})
    assert definition.search is not None
    assert list(definition.search.ranges) == ["optim.weight_decay"]
    with pytest.raises(InputError, match="nothing to search: the command line sets all"):
        read_definition(tiny_sweep(tmp_path, search={"space": {LR: FINE}}, grid={}), {"optim": {"lr": 0.1}})
