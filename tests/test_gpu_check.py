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
from mammo_aln.cli import GPU_ALLOCATOR

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
    errors = [value for name, value in written["checks"]["3"]["figures"].items() if name.startswith("output")]
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


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_check_runs_on_a_cpu(tmp_path: Path) -> None:
    words = ["bash", str(ROOT / "scripts" / "gpu_check.sh"), "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    written = json.loads((tmp_path / "gpu_check.json").read_text())["checks"]
    assert {number: each["words"] for number, each in written.items() if each["verdict"] == "FAIL"} == {}
    assert sorted(map(int, written)) == list(range(1, 14))
    assert done.returncode == 0, done.stderr
