"""Names of runs: no two of a folder share one, every command that asks for a run takes it, and no id changes by it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.inference.ensemble import read_member
from mammo_aln.inference.frozen import open_run
from mammo_aln.runs.listing import listed_runs
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.names import name_run, refuse_taken, require_name, run_path, with_weights_of_named
from mammo_aln.runs.record import read_state, write_settings, write_state
from mammo_aln.settings import ModelConfig, PretrainSettings, Settings
from mammo_aln.sweeps.planning.definition import Point
from mammo_aln.sweeps.planning.preflight import settings_of
from tests.support.run_folders import linked_copy

TINY = ["--model.inputs=[clinical]", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--log.wandb=disabled"]


def train(cohort: Path, out: Path, *more: str) -> int:
    return main(["train", str(cohort), "--out", str(out), *TINY, *more])


@pytest.fixture(scope="module")
def named(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cohort of its own and a folder with one run, called baseline."""
    folder = tmp_path_factory.mktemp("named")
    cohort = linked_copy(phantom, folder / "cohort")
    assert train(cohort, folder / "runs", "--name", "baseline") == 0
    return cohort, folder / "runs"


@pytest.fixture
def both(named: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    return named[0], shutil.copytree(named[1], tmp_path / "runs")


def folders(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", ["baseline", "5cm", "swin+clinical_v2.1", "élan", "a" * 80, "0123456789a", "x=1"])
def test_a_word_that_may_be_a_folder_everywhere_is_a_name(name: str) -> None:
    require_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a/b", "..", "a b", "a" * 81, "0123456789ab", "a\n", "a:b"])
def test_what_could_be_no_folder_or_is_like_an_id_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected up to 80 letters"):
        require_name(name)


def test_a_named_run_has_the_id_that_it_has_without(named: tuple[Path, Path], tmp_path: Path) -> None:
    cohort, out = named
    assert train(cohort, tmp_path / "runs") == 0
    assert folders(tmp_path / "runs") == folders(out)


def test_runs_shows_names_where_there_are_any(both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    cohort, out = both
    assert train(cohort, out, "--seed=1") == 0
    capsys.readouterr()
    assert main(["runs", str(out)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines] == ["name", "baseline", "–"]
    assert main(["runs", str(out), "--format=csv"]) == 0
    assert [row["name"] for row in csv.DictReader(capsys.readouterr().out.splitlines())] == ["baseline", ""]
    assert main(["runs", str(out / "baseline"), "--name="]) == 0
    assert capsys.readouterr().out.split()[1] == "state"
    assert [run.name for run in listed_runs(out)] == ["", ""]


def test_every_command_that_asks_for_a_run_takes_its_name(both: tuple[Path, Path], tmp_path: Path) -> None:
    cohort, out = both
    run, scores = out / "baseline", tmp_path / "scores.csv"
    words = [
        ["predict", "--run", run, "--cohort", cohort, "--split=val", "--out", scores],
        ["evaluate", scores, "--run", run, "--out", tmp_path / "evaluation", "--resamples=20"],
        ["lineage", run],
        ["runs", run],
    ]
    for line in words:
        assert main([str(word) for word in line]) == 0, line
    (run_id,) = folders(out)
    assert set(pd.read_csv(scores, dtype=str)["run_id"]) == {run_id}
    assert read_member(run).run == out / run_id
    assert open_run(run, cohort, split="val").run_id == run_id
    with pytest.raises(InputError, match=rf"no such run; .* holds: {run_id} \(baseline\)"):
        read_member(out / "basline")


def test_the_same_command_with_another_name_names_a_completed_run_anew(both: tuple[Path, Path]) -> None:
    cohort, out = both
    (run_id,) = folders(out)
    assert train(cohort, out) == 0
    assert read_state(out / run_id).name == "baseline"
    before = read_state(out / run_id)
    assert train(cohort, out, "--name=other") == 0
    assert read_state(out / run_id) == replace(before, name="other", updated=read_state(out / run_id).updated)
    assert (run_path(out / "other"), run_path(out / "baseline")) == (out / run_id, out / "baseline")


def test_a_name_that_another_run_has_is_refused_before_anything_is_written(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cohort, out = both
    (run_id,) = before = folders(out)
    assert train(cohort, out, "--seed=1", "--name=baseline") == 2
    assert f"--name baseline: run {run_id} of {out} has this name; expected another one" in capsys.readouterr().err
    # the very settings, on other labels: the ids tell
    other = shutil.copytree(cohort, tmp_path / "cohort")
    patients = pd.read_csv(other / "patients.csv", dtype=str)
    patients.loc[0, "aln_status"] = {"0": "1", "1": "0"}[patients.loc[0, "aln_status"]]
    patients.to_csv(other / "patients.csv", index=False)
    assert train(other, out, "--name=baseline") == 2
    assert f"run {run_id} of {out} has this name" in capsys.readouterr().err
    (out / "notes.txt").write_text("mine")
    assert train(cohort, out, "--seed=1", "--name=notes.txt") == 2
    assert folders(out) == before
    assert train(cohort, out, "--name=a/b") == 2


def test_a_name_of_other_settings_is_refused_before_the_first_crop(both: tuple[Path, Path]) -> None:
    (run_id,) = folders(both[1])
    settings = Settings()
    with pytest.raises(InputError, match=f"run {run_id} of"):
        refuse_taken(both[1], "baseline", settings)
    refuse_taken(both[1], "free", settings)
    refuse_taken(both[1], None, settings)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_settings(tmp_path / name, Settings())
        write_state(tmp_path / name, "stopped")
    return tmp_path / "a", tmp_path / "b"


def test_of_two_commands_that_give_one_name_one_is_refused(two: tuple[Path, Path]) -> None:
    script = "import sys; from mammo_aln.cli import main; sys.exit(main(['runs', sys.argv[1], '--name=best']))"
    processes = [subprocess.Popen([sys.executable, "-c", script, run], stderr=subprocess.DEVNULL) for run in two]
    assert sorted(process.wait(60) for process in processes) == [0, 2]
    assert [read_state(run).name for run in two].count("best") == 1


def test_a_run_in_training_keeps_its_name_until_it_has_ended(two: tuple[Path, Path]) -> None:
    script = (
        "import sys; from pathlib import Path; from mammo_aln.runs.lock import held_alone\n"
        "with held_alone(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", script, str(two[0])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(InputError, match="is training this run"):
            name_run(two[0], "best")
        holder.communicate()
    name_run(two[0], "best")
    with held_alone(two[0]):
        assert read_state(two[0]).name == "best"


def test_a_name_leads_to_files_of_its_run_and_gives_way_to_a_path_that_exists(two: tuple[Path, Path]) -> None:
    run, folder = two[0], two[0].parent
    name_run(run, "best")
    assert run_path(folder / "best" / "checkpoints" / "best.ckpt") == run / "checkpoints" / "best.ckpt"
    for path in (folder, run, run / "nothing.csv", folder / "nothing", folder / "x" / "best", Path("best")):
        assert run_path(path) == path
    (two[1] / "state.json").write_text("{")  # half-written by hand: no name stands there
    assert run_path(folder / "best") == run
    (folder / "best").mkdir()
    assert run_path(folder / "best") == folder / "best"
    with pytest.raises(InputError, match="not a run directory"):
        name_run(folder / "best", "other")


@pytest.mark.parametrize("kind", [Settings, PretrainSettings])
def test_weights_given_by_a_name_are_kept_by_their_runs_own_path(kind: type[Settings], two: tuple[Path, Path]) -> None:
    name_run(two[0], "best")
    given = str(two[0].parent / "best" / "pretrained.safetensors")
    settings = replace(kind(), model=ModelConfig(pretrained=given))
    assert with_weights_of_named(settings).model.pretrained == str(two[0] / "pretrained.safetensors")
    point = Point({}, {}, {"model": {"pretrained": given}, "seed": 0, "data": {"fold": 0}})
    assert settings_of(point).model.pretrained == str(two[0] / "pretrained.safetensors")
    for other in (True, False, "weights.safetensors"):
        unchanged = replace(settings, model=ModelConfig(pretrained=other))
        assert with_weights_of_named(unchanged) is unchanged


def test_a_name_changes_no_setting_and_no_seal(named: tuple[Path, Path]) -> None:
    (run_id,) = folders(named[1])
    run = named[1] / run_id
    assert "name" not in yaml.safe_load((run / "config.yaml").read_text())
    assert "baseline" not in json.dumps(json.loads((run / "environment.json").read_text())["identity"])
