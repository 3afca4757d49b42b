"""Cells are placed by the memory that their first steps took; a pre-training leaves with its process."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mammo_aln import doctor
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready
from mammo_aln.settings import (
    CropConfig,
    DataConfig,
    LogConfig,
    ModelConfig,
    PretrainConfig,
    PretrainSettings,
    TrainerConfig,
)
from mammo_aln.settings.parse import settings_from
from mammo_aln.sweeps import local, measure
from mammo_aln.sweeps.local import Pool, Slot, alike, slots_by_memory, slots_here
from mammo_aln.sweeps.measure import KEPT_FILE, Footprint, _shape, footprints
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.planning.pretraining import weights_apart
from mammo_aln.sweeps.planning.weights import PretrainJob, weights_here
from mammo_aln.sweeps.run import run_sweep
from mammo_aln.training.pretraining import pretrain
from tests.support.sweep_files import tiny_sweep
from tests.support.tiny_settings import TINY, tiny_settings

AUTO = TrainerConfig(accelerator="cpu")


def cell(name: str) -> Cell:
    return Cell(name, {}, {}, 0, None, tiny_settings(), None, 0.0)


def test_slots_on_cores_are_as_many_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "free_memory_gb", lambda: 10.0)
    assert len(slots_by_memory(AUTO, [2.0] * 9, cores=8)) == 4  # 9 of 10 GB
    assert len(slots_by_memory(AUTO, [2.0] * 3, cores=8)) == 3
    assert len(slots_by_memory(AUTO, [0.1] * 99, cores=8)) == 8
    assert len(slots_by_memory(AUTO, [50.0] * 9, cores=8)) == 1
    assert len(slots_by_memory(AUTO, [math.inf] * 9, cores=8)) == 1
    assert {slot.environment["OMP_NUM_THREADS"] for slot in slots_by_memory(AUTO, [2.0] * 9, cores=8)} == {"1"}


def test_slots_on_gpus_are_dealt_out_and_know_their_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mammo_aln.machine.hardware.visible_gpus", lambda: ["0", "MIG-7"])
    monkeypatch.setattr(local, "free_gpu_memory_gb", {"0": 80.0, "MIG-7": 20.0}.__getitem__)
    slots = slots_by_memory(TrainerConfig(), [15.0] * 20, cores=64)
    seen = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots]
    assert seen == ["0", "MIG-7", "0", "0", "0"]
    assert [slot.memory_gb for slot in slots[:2]] == [72.0, 18.0]
    assert len(slots_by_memory(TrainerConfig(), [1.0] * 99, cores=6)) == 6  # a core for each


def test_cells_that_need_other_devices_train_in_slots_of_their_own() -> None:
    plain = cell("plain")
    two, gpu = (
        replace(plain, settings=replace(plain.settings, trainer=replace(plain.settings.trainer, **other)))
        for other in ({"devices": 2}, {"accelerator": "gpu"})
    )
    assert alike([plain, two, gpu, plain, two]) == [[two, two], [gpu], [plain, plain]]


def test_a_cell_of_two_processes_takes_two_cores_and_twice_the_memory() -> None:
    two = TrainerConfig(accelerator="cpu", devices=2)
    for asked, cores, free_gb, slots, threads in (
        (None, 8, 100.0, 4, "1"),
        (None, 8, 5.0, 2, "1"),
        (2, 8, 100.0, 2, "2"),
        (None, 1, 100.0, 1, "1"),
    ):
        here = slots_here(two, asked, 9, 1.0, free_gb, cores)
        assert [slot.environment["OMP_NUM_THREADS"] for slot in here] == [threads] * slots


def test_a_large_cell_waits_until_its_card_has_room(tmp_path: Path) -> None:
    one, other = ({"CUDA_VISIBLE_DEVICES": name} for name in "01")
    slots = [Slot(one, 72.0), Slot(one, 72.0), Slot(other, 72.0)]
    needs = {"large": 60.0, "small": 10.0, "huge": 90.0, "unknown": math.inf}
    pool = Pool(Plan(tmp_path, tmp_path, None, "", (), (), False), slots, 0, lambda *_: None, needs)
    for name in needs:
        assert pool._fits(slots[0], cell(name))  # nothing trains there: any cell may
    slots[1].cell = cell("large")
    assert pool._fits(slots[0], cell("small"))
    assert not any(pool._fits(slots[0], cell(name)) for name in ("large", "huge", "unknown"))
    assert pool._fits(slots[2], cell("large"))
    slots[1].cell = cell("unknown")
    assert not pool._fits(slots[0], cell("small"))


def test_cells_share_a_measurement_unless_their_memory_differs() -> None:
    plain = tiny_settings()
    shape = _shape(plain)
    rate = replace(plain, seed=7, optim=replace(plain.optim, lr=0.5, weight_decay=0.5))
    assert _shape(replace(rate, trainer=replace(rate.trainer, max_epochs=99, patience=3))) == shape
    others = [
        replace(plain, optim=replace(plain.optim, accumulate=2)),
        replace(plain, data=replace(plain.data, device_gb=4.0)),
        replace(plain, data=replace(plain.data, batch_size=2)),
        replace(plain, trainer=replace(plain.trainer, precision="bf16-mixed")),
        replace(plain, optim=replace(plain.optim, ema_decay=0.0)),  # no second copy of the weights
    ]
    assert len({shape, *map(_shape, others)}) == 6


@pytest.mark.slow
def test_cells_are_measured_once_and_trained_beside_one_another(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    file = tiny_sweep(
        tmp_path, epochs=1, seeds=2, grid={"data.batch_size": [4, 8]}, crop={"size_px": 64, "strategy": "fixed_5cm"}
    )
    assert run_sweep(file, phantom, out, store=store, slots="auto") == out
    kept = json.loads((out / KEPT_FILE).read_text())
    assert len(kept) == 2  # seeds share a shape
    assert all(0.2 < shape["memory_gb"] < 4 and 0 < shape["step_s"] < 60 for shape in kept.values())
    assert capsys.readouterr().err.count("s a step") == 2
    plan = read_plan(out)
    needs = footprints(plan, plan.cells, {"PATH": "nowhere"})  # nothing is measured again
    assert set(needs) == {each.run_id for each in plan.cells}
    broken = replace(plan.cells[0], run_id="0" * 12, settings=tiny_settings("densenet121"))
    assert footprints(plan, [broken], {}) == {"0" * 12: math.inf}
    assert "its memory cannot be measured" in capsys.readouterr().err


def test_crops_on_the_device_are_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, plain = Plan(tmp_path, tmp_path, None, "", ()), tiny_settings()
    few, many = (
        replace(cell(str(gb)), settings=replace(plain, data=replace(plain.data, device_gb=gb))) for gb in (0.0, 30.0)
    )
    monkeypatch.setattr(measure, "_measured", lambda _, each, __: Footprint(1.0 + float(each.run_id), 0.1))
    needs_gb = footprints(plan, [few], {})["0.0"], footprints(plan, [many], {})["30.0"]
    assert needs_gb == pytest.approx((1.25, 31 * 1.25))  # a quarter for later steps with more crops


def pretraining(size_px: int = 64) -> PretrainSettings:
    return PretrainSettings(
        crop=CropConfig(size_px=size_px, strategy="fixed_5cm", auxiliary=()),
        model=ModelConfig(backbone="resnet50", backbone_args=TINY["resnet50"], embed_dim=8, inputs=("primary",)),
        data=DataConfig(batch_size=8, num_workers=0),
        trainer=TrainerConfig(max_epochs=1, accelerator="cpu"),
        log=LogConfig(wandb="disabled"),
        pretrain=PretrainConfig(mode="contrastive"),
    )


def test_settings_reach_the_process_as_they_are() -> None:
    settings = pretraining()
    assert settings_from(PretrainSettings, json.loads(json.dumps(json_ready(asdict(settings)))), "it") == settings


def test_a_faulty_pretraining_is_told_as_here(tmp_path: Path) -> None:
    job = PretrainJob(tmp_path / "nowhere", tmp_path / "out", pretraining(), None)
    with pytest.raises(InputError, match="no such cohort folder"):
        weights_apart(job)


@pytest.mark.slow
def test_weights_are_made_by_another_process_and_only_once(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = PretrainJob(phantom, tmp_path / "out", pretraining(), tmp_path / "store")
    monkeypatch.setattr(pretrain, "pretrain_run", lambda *_, **__: pytest.fail("made by this very process"))
    weights = Path(weights_here(job))
    assert load_file(weights)
    before = weights.stat().st_mtime_ns
    assert weights_here(job) == str(weights)
    assert weights.stat().st_mtime_ns == before


def test_doctor_tells_how_several_cells_share_a_gpu(tmp_path: Path) -> None:
    assert "nvidia-cuda-mps-control -d" in doctor.several_cells_on_a_gpu(tmp_path).fix
    (tmp_path / "control").touch()
    assert "side by side" in doctor.several_cells_on_a_gpu(tmp_path).text
    assert not doctor.several_cells_on_a_gpu(tmp_path).fix
