"""A sweep's file means what it says: grid, steps, seeds, folds, and what the command line overrides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mammo_aln.errors import InputError
from mammo_aln.settings import BACKBONES, STRATEGIES
from mammo_aln.settings.parse import parse
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import settings_of
from mammo_aln.verbs import sweep_run
from tests.support.sweep_files import tiny_sweep


def test_the_shipped_grid_is_four_crops_by_five_backbones() -> None:
    found = [settings_of(point) for point in points(read_definition(Path("configs/sweeps/crop_x_backbone.yaml")))]
    seen = {(settings.crop.strategy, settings.model.backbone, settings.seed) for settings in found}
    assert seen == {(crop, backbone, seed) for crop in STRATEGIES for backbone in BACKBONES for seed in range(3)}
    assert len(found) == 60


@pytest.mark.parametrize("form", [{"crop.strategy": ["lesion_box"]}, {"crop": {"strategy": ["lesion_box"]}}])
def test_lists_stand_anywhere_in_the_settings(form: dict, tmp_path: Path) -> None:
    grid = {**form, "model.inputs": [["primary"], ["primary", "clinical"]], "optim.lr": [1e-3, 1e-2]}
    found = list(points(read_definition(tiny_sweep(tmp_path, grid=grid, seeds=[4, 7], folds=3))))
    assert len(found) == 1 * 2 * 2 * 2 * 3
    inputs = [settings_of(point).model.inputs for point in found]
    assert set(inputs) == {("primary",), ("primary", "clinical")}
    folds = {(s.data.folds, s.data.fold, s.seed) for s in map(settings_of, found)}
    assert folds == {(3, fold, seed) for fold in range(3) for seed in (4, 7)}
    assert {point.shown["model.inputs"] for point in found} == {"primary", "primary+clinical"}


def test_later_wins_base_grid_step_command_line(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.1, weight_decay: 0.2}\ndata: {batch_size: 4}\n")
    steps = {"a": {"optim": {"weight_decay": 0.5}}, "b": {}}
    file = tiny_sweep(tmp_path, base=str(tmp_path / "base.yaml"), grid={"optim.lr": [0.01]}, steps=steps)
    found = [settings_of(point) for point in points(read_definition(file, {"data": {"batch_size": 3}}, [9]))]
    assert [(s.optim.lr, s.optim.weight_decay, s.data.batch_size, s.seed) for s in found] == [
        (0.01, 0.5, 3, 9),
        (0.01, 0.2, 3, 9),
    ]


def test_an_overridden_axis_has_one_value(tmp_path: Path) -> None:
    found = list(points(read_definition(tiny_sweep(tmp_path), {"crop": {"strategy": "whole_breast"}})))
    assert [point.settings["crop"]["strategy"] for point in found] == ["whole_breast"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"grit": {}}, "grit: unknown key"),
        ({"grid": {"crop.strategy": "fixed_5cm"}}, "expected a list"),
        ({"grid": {"nonsense": [1]}}, "expected a setting"),
        ({"grid": {"config": ["configs/backbones/nowhere.yaml"]}}, "no such file"),
        ({"seeds": -1}, "seeds: expected a count"),
        ({"seeds": "many"}, "seeds: expected a count"),
        ({"seeds": 0}, "seeds: expected a count of 1 or more"),
        ({"seeds": True}, "seeds: expected a count"),
        ({"folds": 1}, "folds: expected a count"),
        ({"grid": {"crop.strategy": ["circle"]}}, "crop.strategy=circle"),
        ({"grid": {"crop.sise_px": [64]}}, "unknown key"),
        ({"grid": {"optim.lr": [-1]}}, "1e-10 to 100"),
    ],
)
def test_whatever_is_wrong_is_told_in_one_line(more: dict, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        [settings_of(point) for point in points(read_definition(tiny_sweep(tmp_path, **more)))]
    assert expected in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("given", "seeds"), [(3, (0, 1, 2)), ([3], (3,)), ([3, 7], (3, 7)), (1, (0,))])
def test_seeds_mean_the_same_in_the_file_and_as_a_flag(given: object, seeds: tuple[int, ...], tmp_path: Path) -> None:
    in_file = read_definition(tiny_sweep(tmp_path, seeds=given))
    as_flag = read_definition(tiny_sweep(tmp_path, seeds=[9]), seeds=given)
    words = ["sweep.yaml", "--cohort", "C", "--out", "O", f"--seeds={given}"]
    parsed = parse(sweep_run, "mammo-aln sweep run", "sweep", words)
    assert parsed is not None
    assert parsed["seeds"] == given
    assert in_file.seeds == as_flag.seeds == seeds


def test_a_list_of_seeds_without_brackets_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seeds: expected a whole number or a list such as \[3, 7\] or null, got 3,4"):
        parse(sweep_run, "mammo-aln sweep run", "sweep", ["s.yaml", "--cohort", "C", "--out", "O", "--seeds=3,4"])


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"seeds": [1, 1]}, "sweep.yaml: seeds: 1 stands there twice"),
        ({"grid": {"crop.strategy": ["lesion_box", "lesion_box"]}}, "crop.strategy: two values are called lesion_box"),
        ({"grid": {"optim.lr": [1, 1.0]}}, "optim.lr: 1 and 1.0 are the same"),
        (
            {"grid": {"crop": {"strategy": ["lesion_box"]}, "crop.strategy": ["fixed_5cm"]}},
            "crop.strategy: stands there twice",
        ),
        ({"steps": {"a": {"optim": {"lr": 0.1}}, "b": {"optim": {"lr": 0.1}}}}, "steps: a and b are the same"),
        (
            {"grid": {"optim.lr": [0.1]}, "steps": {"a": {"optim": {"lr": 0.2}}}},
            "optim.lr: steps and grid: optim.lr set it; leave it to one of them",
        ),
    ],
)
def test_what_stands_there_twice_is_refused_when_the_file_is_read(more: dict, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_definition(tiny_sweep(tmp_path, **more))
    assert expected in str(refused.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "grid: {}\nseeds:\n", "test: false\n"])
def test_an_empty_file_is_no_sweep(text: str, tmp_path: Path) -> None:
    """It would be one cell of all defaults, full size."""
    file = tmp_path / "empty.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"empty\.yaml: it says nothing"):
        read_definition(file, {"optim": {"lr": 0.1}})


@pytest.mark.parametrize(
    ("text", "line", "first", "key"),
    [
        ("seeds: 2\nfolds: 2\nseeds: 3\n", 3, 1, "seeds"),
        ("grid:\n  optim.lr: [0.1]\n  crop.strategy: [lesion_box]\n  optim.lr: [0.2]\n", 4, 2, "optim.lr"),
        ("optim: {lr: 0.1, lr: 0.2}\n", 1, 1, "lr"),
        ("steps:\n  - one: 1\n    one: 2\n", 3, 2, "one"),
    ],
)
def test_a_key_that_stands_there_twice_is_refused_with_its_line(
    text: str, line: int, first: int, key: str, tmp_path: Path
) -> None:
    """YAML's own reader takes the last value: half of a grid would be trained."""
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(
        InputError, match=rf"line {line}: {re.escape(key)} stands there twice \(first in line {first}\)"
    ):
        read_definition(file)


def test_an_alias_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("data: &all {batch_size: 4, folds: 0}\nsteps:\n  one: {data: {<<: *all, batch_size: 8}}\n")
    with pytest.raises(InputError, match=r"line 3: \*all: aliases are not read; write out what &all is"):
        read_definition(file)


def test_a_shipped_sweep_is_named_by_its_last_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_definition(Path("smoke.yaml")) == read_definition(Path("configs/sweeps/smoke.yaml"))
    (tmp_path / "smoke.yaml").write_text("seeds: 3\n")
    assert read_definition(Path("smoke.yaml")).seeds == (0, 1, 2)
    for name in ("no.yaml", "smok*.yaml"):
        with pytest.raises(InputError, match="no such file"):
            read_definition(Path(name))


@pytest.mark.parametrize(
    ("more", "over", "expected"),
    [
        ({"grid": {"seed": [0, 1]}}, {}, "grid: seed: the sweep deals it to its cells; write seeds: beside grid:"),
        ({"steps": {"a": {"seed": 4}, "b": {}}}, {}, "steps: seed = 4: the sweep deals it"),
        ({"folds": 2, "grid": {"data.fold": [0, 1]}}, {}, "grid: data.fold: sets data.fold = 0, and folds: 2"),
        ({"folds": 2, "steps": {"a": {"data": {"folds": 3}}}}, {}, "steps: sets data.folds = 3, and folds: 2"),
        ({"folds": 2, "data": {"folds": 3}}, {}, "data.folds = 3 and folds: 2 contradict"),
        ({"folds": 2}, {"data": {"fold": 1}}, "--data.fold=1: .* folds: 2, which trains every fold"),
        ({"folds": 2}, {"data": {"folds": 0}}, "--data.folds=0: .* folds: 2; expected a count of 2 or more"),
        ({"seeds": 2}, {"seed": 5}, "--seed=5: .*write --seeds=\\[5\\]"),
    ],
)
def test_what_the_sweep_deals_is_set_in_one_place_alone(more: dict, over: dict, expected: str, tmp_path: Path) -> None:
    file = tiny_sweep(tmp_path, **{"grid": {"crop.strategy": ["fixed_5cm"]}, **more})
    with pytest.raises(InputError, match=expected):
        read_definition(file, over)


def test_folds_of_the_command_line_win_over_the_file(tmp_path: Path) -> None:
    file = tiny_sweep(tmp_path, grid={"crop.strategy": ["fixed_5cm"]}, seeds=1, folds=2)
    found = [settings_of(point) for point in points(read_definition(file, {"data": {"folds": 3}}))]
    assert [(settings.data.folds, settings.data.fold) for settings in found] == [(3, 0), (3, 1), (3, 2)]


def test_a_whole_file_of_settings_as_a_choice_may_hold_the_defaults_of_what_is_dealt(tmp_path: Path) -> None:
    (tmp_path / "whole.yaml").write_text("seed: 0\ndata: {folds: 0, fold: 0, batch_size: 3}\n")
    file = tiny_sweep(tmp_path, grid={"config": [str(tmp_path / "whole.yaml")]}, seeds=[7], folds=2)
    found = [settings_of(point) for point in points(read_definition(file))]
    assert [(s.data.batch_size, s.seed, s.data.folds, s.data.fold) for s in found] == [(3, 7, 2, 0), (3, 7, 2, 1)]


def test_a_base_lies_in_the_working_folder_or_beside_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    file = tiny_sweep(tmp_path / "sweeps", base="mine.yaml")
    with pytest.raises(InputError, match=f"mine.yaml: no such file in {tmp_path}/work or {tmp_path}/sweeps"):
        read_definition(file)
    (tmp_path / "sweeps" / "mine.yaml").write_text("optim: {lr: 0.25}\n")
    assert read_definition(file).base["optim"]["lr"] == 0.25
    (tmp_path / "work" / "mine.yaml").write_text("optim: {lr: 0.25}\n")
    assert read_definition(file).base["optim"]["lr"] == 0.25
    (tmp_path / "work" / "mine.yaml").write_text("optim: {lr: 0.5}\n")
    with pytest.raises(InputError, match=r"two of that name, .*work/mine.yaml and .*sweeps/mine.yaml"):
        read_definition(file)
