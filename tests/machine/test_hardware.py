"""What `auto` means on a machine, and which settings it must refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mammo_aln.errors import InputError
from mammo_aln.machine.hardware import (
    gpu_names,
    has_bf16,
    require_hardware,
    resolved,
    resolved_precision,
)
from mammo_aln.settings import Settings, TrainerConfig

CARDS = {"V100": (7, 0), "T4": (7, 5), "A100": (8, 0), "L4": (8, 9), "H100": (9, 0)}


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch):
    """Say of this machine that it has these cards; nothing computes on them."""

    def put(*names: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: CARDS[names[number]])

    return put


@pytest.mark.parametrize(
    ("names", "accelerator", "devices", "expected"),
    [
        ((), "auto", 1, "32-true"),
        (("H100",), "auto", 1, "bf16-mixed"),
        (("H100",), "gpu", 1, "bf16-mixed"),
        (("H100",), "cpu", 1, "32-true"),
        (("V100",), "auto", 1, "32-true"),
        (("A100", "T4"), "auto", 2, "32-true"),
        (("A100", "T4"), "auto", 1, "bf16-mixed"),
    ],
)
def test_auto_is_bfloat16_where_every_card_in_use_has_it(cards, names, accelerator, devices, expected) -> None:
    cards(*names)
    assert resolved_precision(TrainerConfig(accelerator=accelerator, devices=devices)) == expected


def test_an_explicit_precision_stays(cards) -> None:
    cards("H100")
    assert resolved(Settings(trainer=TrainerConfig(precision="32-true"))).trainer.precision == "32-true"


def test_bfloat16_came_with_ampere() -> None:
    assert [name for name, capability in CARDS.items() if has_bf16(capability)] == ["A100", "L4", "H100"]
    assert has_bf16((6, 0), amd=True)


@pytest.mark.parametrize(
    ("names", "trainer", "message"),
    [
        ((), TrainerConfig(accelerator="gpu"), "0 CUDA devices.*--trainer.accelerator=cpu"),
        (("H100",), TrainerConfig(devices=4), "trainer.accelerator=auto.*1 CUDA device;.*--trainer.devices=1"),
        (("H100",), TrainerConfig(accelerator="gpu", devices=4), "1 CUDA device;"),
        ((), TrainerConfig(precision="16-mixed"), "16-mixed needs a GPU"),
        (("T4",), TrainerConfig(precision="bf16-mixed"), "T4 has no bfloat16.*16-mixed or 32-true"),
    ],
)
def test_what_the_machine_lacks_is_refused_in_words(cards, names, trainer: TrainerConfig, message: str) -> None:
    cards(*names)
    with pytest.raises(InputError, match=message):
        require_hardware(trainer)


def test_a_cpu_trains_on_several_ranks_and_in_bfloat16(cards) -> None:
    cards()
    require_hardware(TrainerConfig(devices=2, precision="bf16-mixed"))


def test_a_machine_without_gpu_cannot_say_what_auto_means_on_the_nodes(cards) -> None:
    cards()
    with pytest.raises(InputError, match=r"trainer\.precision=auto.*--trainer\.precision=bf16-mixed"):
        resolved(Settings(), here=False)
    on_cpu = Settings(trainer=TrainerConfig(accelerator="cpu"))
    assert resolved(on_cpu, here=False).trainer.precision == "32-true"
    cards("H100")
    assert resolved(Settings(), here=False).trainer.precision == "bf16-mixed"


@pytest.mark.parametrize(
    ("listed", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("3, 5", 2, ["3", "5"]),
        ("-1", 0, []),
        ("NoDevFiles", 0, []),
        ("", 0, []),
        ("0,-1,1", 1, ["0"]),
        ("MIG-4f1c,MIG-99aa", 2, ["MIG-4f1c", "MIG-99aa"]),
    ],
)
def test_gpus_are_those_that_cuda_reads_in_its_list(listed, count, expected) -> None:
    assert gpu_names(listed, count) == expected


def test_the_settings_are_read_without_torch() -> None:
    code = "import sys, mammo_aln.runs.identity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
