"""scripts/gpu_check.sh on the CPU with tiny sizes: no line of it is first executed on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.gpu_check import network
from benchmarks.gpu_check.__main__ import CHECKS, main
from benchmarks.gpu_check.setup import Outcome, Setup, is_finite, largest_difference
from mammo_aln.cli import GPU_ALLOCATOR, VERBS
from mammo_aln.errors import ExitCode

ROOT = Path(__file__).parents[1]


def test_the_checks_of_the_network_run_and_judge_nothing_without_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in GPU_ALLOCATOR:
        monkeypatch.delenv(variable, raising=False)
    assert main(["--tiny", "--out", str(tmp_path), "--only", "2", "3", "8"]) == 0
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"  # as in the commands themselves
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line[:4] for line in lines if line[:4].strip().isupper()] == ["RAN "] * 3
    written = json.loads((tmp_path / "gpu_check.json").read_text())
    assert sorted(written["checks"]) == ["2", "3", "8"]
    assert written["checks"]["2"]["figures"]["attentions"] == 4
    # Both are held against the same network in float64: bf16 errs in the third digit, neither more nor nothing.
    errors = [value for name, value in written["checks"]["3"]["figures"].items() if name.startswith("output_")]
    assert len(errors) == 6
    assert all(1e-4 < error < 0.1 for error in errors)


def test_what_has_passed_is_not_run_again_unless_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.gpu_check import runs

    calls = []

    def check(number: int) -> Outcome:
        calls.append(number)
        if number == 4 and calls.count(4) == 1:
            raise RuntimeError("the card fell off the bus")
        return Outcome(number != 6, f"check {number}", {"n": number})

    for number, each in CHECKS.items():
        module, name = each.function.split(".")
        monkeypatch.setattr({"network": network, "runs": runs}[module], name, lambda _, number=number: check(number))
    words = ["--tiny", "--out", str(tmp_path)]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "FAIL   4  RuntimeError: the card fell off the bus" in out
    assert f"expected: {CHECKS[6].criterion}" in out
    assert calls == list(range(1, 14))  # the one that broke hides no other
    assert main(words) == 1
    assert calls[13:] == [4, 6]
    assert main([*words, "--only", "2"]) == 0
    assert calls[15:] == [2]
    # Figures of another machine stand for nothing here.
    written = json.loads((tmp_path / "gpu_check.json").read_text())
    (tmp_path / "gpu_check.json").write_text(json.dumps({**written, "card": "another"}))
    assert main(words) == 1
    assert calls[16:] == list(range(1, 14))


def test_the_page_says_what_was_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.page.PAGE", tmp_path / "page.md")
    assert main(["--out", str(tmp_path), "--page"]) == 0
    page = (tmp_path / "page.md").read_text()
    assert page.count("not run, no GPU") == 13
    shipped = (ROOT / "docs" / "benchmarks.md").read_text()
    for check in CHECKS.values():
        assert f"| {check.criterion} |" in shipped


def test_the_full_sizes_are_those_of_full_networks() -> None:
    full = Setup(Path("x"))
    assert (full.size_px, full.crops, len(full.backbones)) == (256, 128, 5)
    assert full.config("swinv2").name == "swinv2.yaml"


def test_a_training_that_lacks_a_figure_or_an_epoch_is_no_equal_of_another() -> None:
    rows = pd.DataFrame({"train_loss": [0.7, 0.6], "val_loss": [0.8, 0.7], "val_auc": [0.5, 0.6]})
    assert largest_difference(rows, rows) == 0
    assert largest_difference(rows, rows + 0.25) == pytest.approx(0.25)
    for wrong in (rows.iloc[:1], rows.iloc[:0], rows.replace(0.6, np.nan), rows.replace(0.6, np.inf)):
        assert largest_difference(rows, wrong) == np.inf
    assert not is_finite(rows.iloc[:0])


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (2.0, False), (float("nan"), False)])
def test_a_network_that_errs_more_than_timm_fails(
    factor: float, passed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    errors = network._errors

    def scaled(*given: dict[str, torch.Tensor]) -> dict[str, float]:
        calls.append(1)
        return {name: value * (factor if len(calls) % 2 else 1.0) for name, value in errors(*given).items()}

    monkeypatch.setattr(network, "_errors", scaled)
    monkeypatch.setattr(Setup, "on_gpu", True)
    outcome = network.accuracy(Setup(tmp_path, tiny=True))
    assert outcome.passed is passed
    assert ("above it" in outcome.words) is (factor == 2)


@pytest.mark.parametrize(
    ("card", "resnet50", "passed"),
    [("NVIDIA H100 80GB HBM3", 2100.0, False), ("NVIDIA H100 80GB HBM3", 2200.0, True), ("A100", 2100.0, True)],
)
def test_an_h100_far_below_its_model_fails(
    card: str, resnet50: float, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {
        "timm swinv2 bf16": 1000.0,
        "swinv2 bf16": 1300.0,
        "swinv2 bf16 compiled": 1800.0,
        "resnet50 bf16": resnet50,
    }
    monkeypatch.setattr(network, "_speed", lambda _, name, *__: {f"{name} crops/s": rates.get(name, 1.0)})
    monkeypatch.setattr(network, "timm_twin", lambda *_: None)
    monkeypatch.setattr(Setup, "on_gpu", True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: card)
    assert network.speed(Setup(Path("x"), tiny=True)).passed is passed


class Ended:
    """A process that made its run at once and ended with a code."""

    def __init__(self, run: Path, returncode: int) -> None:
        self.run, self.returncode, self.looks = run, returncode, 0

    def poll(self) -> int | None:
        self.looks += 1
        return None if self.looks < 2 else self.returncode

    def communicate(self) -> tuple[str, str]:
        return f"{self.run}\n", ""

    def send_signal(self, _: int) -> None:
        pass


@pytest.mark.parametrize("tiny", [True, False])
def test_every_command_is_one_that_the_package_takes_today(
    tiny: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands of both sizes, with a GPU and without, are parsed and answered with a run of finite figures."""
    from benchmarks.gpu_check import runs
    from mammo_aln import verbs
    from mammo_aln.settings.parse import parse

    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    columns = ["train_loss", "val_loss", "val_auc", "train_s", "data_wait_s", "train_patients_per_s"]
    pd.DataFrame(0.5, range(8), columns).assign(data_wait_s=0.001).to_csv(run / "metrics.csv")
    pd.DataFrame({"state": ["completed"] * (2 if tiny else 6)}).to_csv(run / "cells.csv")
    for name in ("best", "last"):
        torch.save({"state_dict": {}, "MixedPrecision": {"scale": 1.0}}, run / "checkpoints" / f"{name}.ckpt")
    for name in ("stopped", "epochs"):
        (tmp_path / name).symlink_to(run.parent)
    (tmp_path / "explained").mkdir()
    (tmp_path / "explained" / "page.html").touch()
    scores = pd.DataFrame({"patient_id": ["a", "b"], "logit": [0.0, 1.0]})
    called: set[str] = set()

    def call(self: Setup, words: list[str], log: str, *_: object) -> tuple[str, float]:
        start = words.index("mammo_aln") + 1 if "mammo_aln" in words else words.index("0.1") + 1
        verb, *rest = words[start:]
        if verb == "sweep":
            verb = f"sweep {rest.pop(0)}"
        function, positional, _ = VERBS[verb]
        assert parse(getattr(verbs, function), f"mammo-aln {verb}", positional, rest) is not None
        called.add(verb)
        if verb == "predict":
            file = Path(rest[rest.index("--out") + 1])
            file.parent.mkdir(exist_ok=True)
            scores.to_csv(file)
        (self.out / "logs").mkdir(exist_ok=True)
        (self.out / "logs" / "capped.log").write_text("out of memory")
        return str(run / "weights.safetensors" if verb == "pretrain" else run), 1.0

    def started(self: Setup, words: list[str], log: str) -> Ended:
        call(self, words, log)
        return Ended(run, ExitCode.AGAIN if log == "stopped" else 0)

    monkeypatch.setattr(Setup, "call", call)
    monkeypatch.setattr(Setup, "started", started)
    monkeypatch.setattr(Setup, "fresh", lambda *_: None)
    monkeypatch.setattr(Setup, "on_gpu", not tiny)
    monkeypatch.setattr(Setup, "cohort", tmp_path / "cohort")
    monkeypatch.setattr(runs, "id_on_a_cpu", lambda _, run: run.name)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    for number, check in CHECKS.items():
        module, name = check.function.split(".")
        if module == "runs":
            assert getattr(runs, name)(Setup(tmp_path, tiny)).passed is not False, number
    assert called == {"doctor", "train", "predict", "explain", "sweep run", "pretrain"}


def test_the_wheels_are_explained_and_nothing_is_written_for_a_wrong_option(tmp_path: Path) -> None:
    for option, code in (("--help", 0), ("-h", 0), ("--wheels", 2)):
        words = ["bash", str(ROOT / "scripts" / "gpu_wheels.sh"), option]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code
        assert done.stdout.startswith("Collects") is (code == 0)
        assert "gpu_wheels.sh [FOLDER]" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_check_runs_on_a_cpu(tmp_path: Path) -> None:
    words = ["bash", str(ROOT / "scripts" / "gpu_check.sh"), "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    written = json.loads((tmp_path / "gpu_check.json").read_text())["checks"]
    assert {number: each["words"] for number, each in written.items() if each["verdict"] == "FAIL"} == {}
    assert sorted(map(int, written)) == list(range(1, 14))
    assert done.returncode == 0, done.stderr
