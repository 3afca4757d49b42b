"""A run's identity: what enters, what does not; settings survive their file."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mammo_aln.errors import InputError
from mammo_aln.runs.identity import run_identity
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.record import read_settings, write_settings
from mammo_aln.settings import ModelConfig, OptimConfig, Settings, TrainerConfig
from mammo_aln.settings.steps import step_shape
from tests.support.full_disk import room_for

BASE = Settings(
    model=ModelConfig(backbone="convnextv2"),
    trainer=TrainerConfig(accelerator="cpu"),  # on any machine one meaning of `auto`
)


def changed(section: str, **keys) -> Settings:
    return replace(BASE, **{section: replace(getattr(BASE, section), **keys)})


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        (changed("data", num_workers=7), True),
        (changed("data", num_workers="auto"), True),
        (changed("trainer", accelerator="cpu", precision="32-true", deterministic=True), True),
        (changed("trainer", devices=2), True),
        (changed("trainer", precision="bf16-mixed"), False),
        (changed("log", wandb="disabled", project="other"), True),
        (changed("model", inputs=("clinical", "primary", "auxiliary")), True),
        (replace(BASE, seed=1), False),
        (changed("crop", size_mm=60.0), False),
        (changed("crop", auxiliary=("peritumoral",)), False),
        (changed("model", backbone="resnet50"), False),
        (changed("data", allow_post_nat=True), False),
        (changed("trainer", max_epochs=3), False),
        (changed("data", folds=3), False),
    ],
)
def test_only_settings_that_shape_the_result_change_the_id(settings: Settings, same: bool) -> None:
    assert (run_identity(settings, "c", ["k"]).run_id == run_identity(BASE, "c", ["k"]).run_id) is same


ATTENTION = replace(BASE, model=replace(BASE.model, fusion="attention"))
"""A network in which each rank draws by itself what it drops."""
BATCHED = replace(BASE, model=replace(BASE.model, backbone="resnet50"))
"""A network behind a backbone with batch statistics."""
DROPPING = changed("model", backbone="swinv2")
"""A network whose backbone drops branches by itself, as timm has it."""
DROPS_AS_ASKED = changed("model", backbone_args={"drop_path_rate": 0.1})
WITHOUT_DROPS = changed("model", backbone="swinv2", backbone_args={"drop_path_rate": 0.0})


def dealt(settings: Settings, devices: int = 1, accumulate: int = 1, micro: str | int = "auto", sync: bool = True):
    return replace(
        settings,
        trainer=replace(settings.trainer, devices=devices, sync_batchnorm=sync),
        optim=replace(settings.optim, accumulate=accumulate),
        data=replace(settings.data, micro_batch=micro),
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (BASE, dealt(BASE, devices=4, accumulate=2, micro=1), True),
        (ATTENTION, dealt(ATTENTION, devices=4), False),
        (ATTENTION, dealt(ATTENTION, accumulate=4), True),
        *[(each, dealt(each, devices=4), False) for each in (DROPPING, DROPS_AS_ASKED)],
        *[(each, dealt(each, accumulate=4), False) for each in (DROPPING, DROPS_AS_ASKED)],
        (WITHOUT_DROPS, dealt(WITHOUT_DROPS, devices=4, accumulate=2), True),
        (BATCHED, dealt(BATCHED, devices=4), True),
        (BATCHED, dealt(BATCHED, devices=4, sync=False), False),
        (BATCHED, dealt(BATCHED, accumulate=4), False),
        (dealt(BATCHED, accumulate=4), dealt(BATCHED, micro=4), True),
        # four patients at once as well, but other ones
        (dealt(BATCHED, accumulate=4), dealt(BATCHED, devices=2, accumulate=4), False),
        (dealt(BATCHED, accumulate=4), dealt(BATCHED, devices=2, accumulate=2, sync=False), False),
    ],
)
def test_how_a_step_is_dealt_out_enters_as_far_as_the_result_sees_it(
    one: Settings, other: Settings, same: bool
) -> None:
    assert (run_identity(one, "c", ["k"]).run_id == run_identity(other, "c", ["k"]).run_id) is same


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dealt(BASE, devices=3), r"data\.batch_size = 16.* multiple of 3 \(trainer\.devices = 3\), such as 15 or 18"),
        (dealt(BASE, devices=2, accumulate=16), r"multiple of 32 .*accumulate = 16\), such as 32"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do(settings: Settings, words: str) -> None:
    with pytest.raises(InputError, match=words):
        step_shape(settings)


def test_auxiliary_crops_do_not_enter_a_run_that_reads_none() -> None:
    primary = changed("model", inputs=("primary",))
    other = replace(primary, crop=replace(primary.crop, auxiliary=("peritumoral",), auxiliary_size_mm=30.0))
    assert run_identity(primary, "c", []).run_id == run_identity(other, "c", []).run_id


def test_crops_do_not_enter_a_run_that_reads_no_image() -> None:
    clinical = changed("model", inputs=("clinical",))
    other = replace(
        clinical, crop=replace(clinical.crop, size_mm=30.0), pixels=replace(clinical.pixels, voi="percentile")
    )
    assert run_identity(clinical, "c", []).run_id == run_identity(other, "c", []).run_id


def test_cohort_and_crops_change_the_id_but_their_order_does_not() -> None:
    cases = [("c", ["a", "b"]), ("d", ["a", "b"]), ("c", ["a"])]
    ids = {run_identity(BASE, content, keys).run_id for content, keys in cases}
    assert len(ids) == 3
    assert run_identity(BASE, "c", ["b", "a"]).run_id in ids


def test_pretrained_weights_enter_by_content(tmp_path) -> None:
    for name, content in (("one.pt", b"1"), ("same.pt", b"1"), ("two.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    ids = [
        run_identity(changed("model", pretrained=str(tmp_path / n)), "c", []).run_id
        for n in ("one.pt", "same.pt", "two.pt")
    ]
    assert ids[0] == ids[1] != ids[2]
    with pytest.raises(InputError, match=r"missing\.pt"):
        run_identity(changed("model", pretrained=str(tmp_path / "missing.pt")), "c", [])


def test_settings_survive_their_file(tmp_path) -> None:
    settings = replace(changed("model", backbone_args={"depths": [1, 2]}, inputs=("primary",)), seed=9)
    write_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings


def test_settings_of_an_older_version_are_read_and_those_of_a_newer_one_refused(tmp_path: Path) -> None:
    write_settings(tmp_path, replace(BASE, seed=9))
    plain = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del plain["log"], plain["optim"]["layer_decay"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    assert read_settings(tmp_path) == replace(BASE, seed=9)
    plain["optim"]["momentum"], plain["tomorrow"] = 0.9, {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(InputError, match="tomorrow"):
        read_settings(tmp_path)
    del plain["tomorrow"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(InputError, match=r"optim\.momentum"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("section", "name", "before"),
    [("optim", "unimodal_weight", 0.0), ("data", "augment_ramp_epochs", 0), ("data", "test_time_copies", 0)],
)
def test_a_run_older_than_a_setting_is_read_as_it_ran(section: str, name: str, before: float, tmp_path: Path) -> None:
    """Without a loss of each input, with full augmentation from its first step, scored without copies."""
    write_settings(tmp_path, changed(section, **{name: 3}))
    plain = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del plain[section][name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    assert read_settings(tmp_path) == changed(section, **{name: before})


def test_the_loss_of_each_input_enters_only_where_there_are_several() -> None:
    for inputs, same in ((("clinical",), True), (("primary", "clinical"), False)):
        one, other = (
            replace(changed("model", inputs=inputs), optim=OptimConfig(unimodal_weight=weight)) for weight in (0.0, 1.0)
        )
        assert (run_identity(one, "c", []).run_id == run_identity(other, "c", []).run_id) is same


def test_a_run_of_another_person_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()  # opened for writing it fails, as a file of another person's does
    with pytest.raises(InputError, match=r"cannot be written \(Is a directory\)"), held_alone(tmp_path):
        raise AssertionError("held")


def test_a_run_is_held_by_one_process_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from mammo_aln.runs.lock import held_alone\n"
    code += "with held_alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(300)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {other.pid} on .* is training this run"), held_alone(tmp_path):
        pass
    other.kill()
    other.wait()
    with held_alone(tmp_path):
        pass


def test_a_run_on_a_full_disk_is_told_and_let_go(tmp_path: Path) -> None:
    with room_for(0), pytest.raises(InputError, match=r"\.lock: cannot be written .* raise that"), held_alone(tmp_path):
        pytest.fail("trained without its record")
    with held_alone(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()
