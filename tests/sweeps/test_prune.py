"""`sweep prune` lists what a sweep's folder holds beyond need, and removes nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mammo_aln.errors import InputError
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.record import write_state
from mammo_aln.settings import Settings
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.orders import drop_cells
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.prune import prune_sweep
from mammo_aln.sweeps.run import run_sweep
from tests.support.sweep_files import sweep, tiny_sweep

NAMES = {"done": "a", "half": "b", "dropped": "c", "tested": "e", "member": "f", "held": "7", "old": "8"}
IDS = {name: letter * 12 for name, letter in NAMES.items()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A completed, a half and a dropped cell, and four superseded runs; two of these are a test's evidence."""
    cells = [Cell(run_id, {"config": name}, {}, 0, None, Settings()) for name, run_id in IDS.items()]
    plan = Plan(tmp_path, tmp_path / "cohort", None, "labels", tuple(cells[:3]))
    freeze(replace(plan, superseded=tuple(IDS[name] for name in ("tested", "member", "held", "old"))))
    for name, run_id in IDS.items():
        run = tmp_path / "runs" / run_id
        (run / "checkpoints").mkdir(parents=True)
        write_state(run, "stopped" if name == "half" else "completed")
        for checkpoint in ("best", "last"):
            (run / "checkpoints" / f"{checkpoint}.ckpt").write_bytes(b"0" * 1000)
    (tmp_path / "runs" / IDS["tested"] / "openings.jsonl").write_text("{}")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "net.json").write_text(json.dumps({"run_id": "x", "members": [IDS["member"]]}))
    drop_cells(tmp_path, ["config=dropped"])
    return tmp_path


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out / "runs")) for path in (out / "runs").rglob("*") if path.is_file()}


def test_a_list_removes_nothing_and_a_removal_what_was_listed(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(out)
    with held_alone(out / "runs" / IDS["held"]):
        prune_sweep(out, [], remove=False)
        listed = capsys.readouterr().err
        assert {name for name in files(out) if not name.endswith("lock")} == before
        prune_sweep(out, [], remove=True)
    gone = {f"{IDS['done']}/checkpoints/last.ckpt"} | {name for name in before if name.startswith(IDS["old"])}
    assert {name for name in files(out) if not name.endswith("lock")} == before - gone
    assert f"runs/{IDS['done']}/checkpoints/last.ckpt: last checkpoint of config=done" in listed
    assert f"runs/{IDS['held']}: stays: a process holds it" in listed
    for name in ("tested", "member"):
        assert f"runs/{IDS[name]}: stays: it has opened a test split" in listed
    assert "nothing was removed: mammo-aln sweep prune --out" in listed


def test_a_named_run_goes_alone_and_what_must_stay_is_refused(out: Path) -> None:
    before = files(out)
    with pytest.raises(InputError, match="not completed; `sweep drop` it first"):
        prune_sweep(out, ["config=half"], remove=True)
    with pytest.raises(InputError, match="stays: it has opened a test split"):
        prune_sweep(out, [IDS["old"], IDS["tested"]], remove=True)
    assert files(out) == before
    done = sweep("prune", "config=dropped", "--out", out, "--remove")
    assert done.returncode == 0, done.stderr
    assert files(out) == {name for name in before if not name.startswith(IDS["dropped"])}
    assert sweep("prune", "config=nothing", "--out", out).returncode == 2


@pytest.mark.slow
def test_the_disk_that_is_told_is_what_real_cells_leave(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within a fifth, all files of the runs counted."""
    names = ["configs/backbones/resnet50_small.yaml", "configs/backbones/densenet121_small.yaml"]
    folder = tmp_path / "out"
    model = {"inputs": ["primary"]}
    file = tiny_sweep(tmp_path, epochs=1, model=model, crop={"size_px": 64}, grid={"config": names})
    assert run_sweep(file, phantom, folder, store=store, slots=1) == folder
    told = re.search(r"checkpoints of 2 cells: about ([\d.e-]+) GB when all are completed", capsys.readouterr().err)
    assert told is not None
    left_gb = sum(path.stat().st_size for path in (folder / "runs").rglob("*") if path.is_file()) / 1e9
    assert float(told[1]) == pytest.approx(left_gb, rel=0.2)
