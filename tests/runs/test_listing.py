"""The verb `runs`: what stands in a folder of runs, as a person or a program reads it."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mammo_aln.cli import main
from mammo_aln.runs.listing import listed_runs
from mammo_aln.runs.record import write_settings, write_state
from mammo_aln.settings import ModelConfig, Settings, TrainerConfig

HOLD = "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); print(); sys.stdin.read()"


def write_run(folder: Path, state: str, aucs: list[str], model: ModelConfig = ModelConfig(), **more: str) -> Path:
    folder.mkdir(parents=True)
    write_settings(folder, replace(Settings(), model=model, seed=7, trainer=TrainerConfig(max_epochs=5)))
    write_state(folder, state, **more)
    rows = "".join(f"{epoch},{value}\n" for epoch, value in enumerate(aucs))
    (folder / "metrics.csv").write_text("epoch,val_auc\n" + rows)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep" / "runs"
    write_run(folder / "bbb", "completed", ["0.5", "0.8125", "0.75"], started="2026-02-01T10:00:00+00:00")
    clinical = ModelConfig(backbone="resnet50", inputs=("clinical",))
    write_run(folder / "aaa", "running", ["0.5", ""], clinical, started="2026-02-03T10:00:00+00:00")
    write_run(folder / "ccc", "failed", [], started="2026-02-02T10:00:00+00:00", error="KeyboardInterrupt: ")
    return folder


@pytest.mark.parametrize("above", [False, True])
def test_runs_stand_in_the_order_of_their_start(runs: Path, above: bool) -> None:
    listed = listed_runs(runs.parent if above else runs)
    assert [(run.run_id, run.state, run.val_auc, run.epochs) for run in listed] == [
        ("bbb", "completed", 0.8125, 3),
        ("ccc", "stopped", None, 0),
        ("aaa", "stopped", 0.5, 2),  # its process is gone: nobody holds its lock
    ]
    assert [(run.crop, run.inputs, run.seed, run.max_epochs) for run in listed] == [
        ("fixed_5cm", "primary+auxiliary+clinical", 7, 5),
        ("fixed_5cm", "primary+auxiliary+clinical", 7, 5),
        ("", "clinical", 7, 5),
    ]


def test_a_run_whose_lock_is_held_is_running(runs: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(runs / "aaa" / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        states = {run.run_id: run.state for run in listed_runs(runs)}
        holder.communicate()
    assert states == {"aaa": "running", "bbb": "completed", "ccc": "stopped"}


def test_the_verb_prints_a_table_or_csv(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "bbb", "ccc", "aaa"]
    assert "0.812" in lines[1]
    assert main(["runs", str(runs), "--format=csv"]) == 0
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["val_auc"] for row in table] == ["0.8125", "", "0.5"]
    assert table[0]["folder"] == str(runs / "bbb")


def test_runs_tell_the_settings_that_they_do_not_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings with a column of their own are not said twice; those that change no result are not said at all."""
    for number, (lr, strength) in enumerate([(1e-3, 0.0), (3e-4, 0.0), (3e-4, 0.5)]):
        run = write_run(tmp_path / f"run{number}", "completed", ["0.5"], started=f"2026-02-0{1 + number}T10:00:00")
        own = replace(Settings(), seed=number, log=replace(Settings().log, project=f"p{number}"))
        own = replace(own, optim=replace(own.optim, lr=lr), data=replace(own.data, augment_strength=strength))
        write_settings(run, own)
    assert [run.differs_in for run in listed_runs(tmp_path)] == [
        "optim.lr=0.001, data.augment_strength=0.0",
        "optim.lr=0.0003, data.augment_strength=0.0",
        "optim.lr=0.0003, data.augment_strength=0.5",
    ]
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("optim.lr=0.001, data.augment_strength=0.0")
    assert listed_runs(tmp_path / "run0")[0].differs_in == ""


def test_a_setting_that_an_earlier_version_lacks_is_not_compared(runs: Path) -> None:
    text = (runs / "bbb" / "config.yaml").read_text()
    (runs / "bbb" / "config.yaml").write_text(re.sub(r"^  augment_strength:.*\n", "", text, flags=re.M))
    assert {run.differs_in for run in listed_runs(runs)} == {""}


def test_signatures_beside_runs_are_no_runs(runs: Path) -> None:
    (runs / "signatures").mkdir()
    (runs / "signatures" / "config.yaml").write_text("fit: {alpha: 0.05}\nseed: 0\n")
    write_state(runs / "signatures", "completed")
    assert [run.run_id for run in listed_runs(runs)] == ["bbb", "ccc", "aaa"]


def test_a_folder_without_runs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"no runs in {tmp_path}\n")
    assert main(["runs", str(tmp_path / "nowhere")]) == 2
    broken = write_run(tmp_path / "x", "completed", ["high"])
    assert main(["runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert str(broken) in error
    assert "'high'" in error
