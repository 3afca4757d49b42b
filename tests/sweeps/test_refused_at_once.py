"""What no sweep can be trained with is refused when it is planned, by a dry run as by the run, in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.machine.slurm_jobs import require_sound
from mammo_aln.settings import ClusterConfig, Settings
from mammo_aln.settings.flags import flags_of
from mammo_aln.settings.messages import unknown_key
from mammo_aln.settings.parse import settings_from
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import settings_of
from mammo_aln.sweeps.slurm.asks import require_asks
from mammo_aln.verbs import sweep_run
from tests.support.sweep_files import tiny_sweep

CLINICAL = {"model": {"inputs": ["clinical"]}, "grid": {"optim.lr": [1e-3, 1e-2]}}


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command says that ends with exit code 2."""
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("seed", [-1, 2**63, 10**22, 1e22, float("inf")])
def test_a_seed_that_no_training_takes_is_refused_by_name_on_every_road(seed: float, tmp_path: Path) -> None:
    for more in ({"seeds": [0, seed]}, {"seed": seed, "grid": {}}):
        with pytest.raises(InputError, match=r"seeds?: expected .* 0 to 2\^63 - 1, got"):
            read_definition(tiny_sweep(tmp_path, **more))
    with pytest.raises(InputError, match=r"0 to 2\^63 - 1"):
        read_definition(tiny_sweep(tmp_path), seeds=[0, seed])
    for more in ({"data": {"fold_seed": seed}}, {"steps": {"a": {"data": {"fold_seed": seed}}}}):
        with pytest.raises(InputError, match=r"data.fold_seed"):
            list(map(settings_of, points(read_definition(tiny_sweep(tmp_path, grid={}, **more)))))


def test_a_date_as_count_of_seeds_is_refused_with_the_list_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"that seed alone is \[20260101\]"):
        read_definition(tiny_sweep(tmp_path, seeds=20260101))


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    "where",
    [
        "grid: {optim.gradient_clip_norm: [VALUE]}",
        "grid: {data.max_shift_mm: [VALUE]}",
        "optim: {weight_decay: VALUE}",
        "steps: {a: {optim: {lr: VALUE}}}",
        "grid: {model.backbone_args: [{drop_path_rate: VALUE}]}",
        "model: {backbone_args: {depths: [1, VALUE]}}",
        "search: {trials: 2, space: {optim.lr: {low: 0.001, high: VALUE}}}",
    ],
)
def test_a_number_that_is_none_is_refused_wherever_a_file_has_it(where: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(where.replace("VALUE", value))
    with pytest.raises(InputError, match=r"inf|nan"):
        list(map(settings_of, points(read_definition(tmp_path / "sweep.yaml"))))


@pytest.mark.parametrize("value", ["inf", ".inf", "nan", ".nan"])
def test_a_number_that_is_none_is_refused_as_a_flag(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in (f"--optim.lr={value}", f"--data.max_shift_mm={value}", f"--model.backbone_args={{a: [{value}]}}"):
        if value[0] == "." or "args" not in flag:
            assert "expected" in refused(capsys, "train", "COHORT", "--out", "OUT", flag)


@pytest.mark.parametrize("behind", ["", "deeper/sweep"])
def test_a_file_where_the_folder_of_a_sweep_is_to_be_is_refused(
    behind: str, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "afile").write_text("a file\n")
    out = tmp_path / "afile" / behind
    sweep = tiny_sweep(tmp_path, **CLINICAL)
    words = ("--cohort", phantom, "--out", out)
    for more in ((), ("--dry_run=true",), ("--executor", "slurm", "--dry_run=true")):
        said = refused(capsys, "sweep", "run", sweep, *words, *more)
        assert f"--out {out}: expected a folder, but {'it' if not behind else tmp_path / 'afile'} is a file" in said
    assert "is a file" in refused(capsys, "sweep", "write", sweep, *words, "--engine", "ray")
    assert "is a file" in refused(capsys, "train", phantom, "--out", out)
    assert "is a file" in refused(capsys, "pretrain", phantom, "--out", out)
    assert (tmp_path / "afile").read_text() == "a file\n"


def both(capsys: pytest.CaptureFixture[str], sweep: Path, cohort: Path, out: Path, *more: str) -> set[str]:
    """What a run and its dry run say where both refuse the sweep; nothing stands there then."""
    said = {
        refused(capsys, "sweep", "run", sweep, "--cohort", cohort, "--out", out, *dry, *more).splitlines()[-1]
        for dry in ((), ("--dry_run=true",))
    }
    assert not out.exists()
    return said


def test_a_dry_run_refuses_a_sweep_of_which_no_cell_can_be_trained(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {"model": {"inputs": ["clinical"], "pretrained": str(tmp_path / "nix.safetensors")}}
    (said,) = both(capsys, tiny_sweep(tmp_path, **{**CLINICAL, **weights}), phantom, tmp_path / "out")
    assert "no cell can be trained: optim.lr=0.001, seed=0" in said
    assert "nix.safetensors" in said


def test_trials_that_no_slot_serves_alike_are_refused_by_a_dry_run_too(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = {"trials": 2, "space": {"optim.lr": {"low": 1e-3, "high": 1e-2}}}
    steps = {"one": {}, "two": {"trainer": {"devices": 2, "max_epochs": 2}, "optim": {"weight_decay": 0.2}}}
    sweep = tiny_sweep(tmp_path, **{**CLINICAL, "grid": {}, "steps": steps, "search": search})
    (said,) = both(capsys, sweep, phantom, tmp_path / "out")
    assert "slots that are alike" in said


def test_weights_that_nobody_makes_are_refused_first_and_in_plain_words(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "no-such-cohort"
    sweep = tiny_sweep(tmp_path, **{**CLINICAL, "model": {"inputs": ["primary"], "pretrained": "sweep"}})
    (said,) = both(capsys, sweep, broken, tmp_path / "out")
    assert "optim.lr=0.001; optim.lr=0.01; name the file by --pretrained FILE, or write a pretrain: block" in said
    assert not set("{}'") & set(said)


def test_more_folds_than_patients_are_refused_before_anything_is_built(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mammo_aln.sweeps.planning import preflight

    def built(*_: Any) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(preflight.Planner, "network_for", built)
    sweep = tiny_sweep(tmp_path, **{**CLINICAL, "folds": 999})
    (said,) = both(capsys, sweep, phantom, tmp_path / "out")
    patients = pd.read_csv(phantom / "patients.csv").query("split in ['train', 'val']").drop_duplicates("patient_id")
    rarer = patients["aln_status"].value_counts().min()
    assert f"choose fewer than 999 folds (the rarer outcome has {rarer} patients)" in said


@pytest.mark.parametrize("key", ["cluster", "cohort", "slots", "executor"])
def test_what_belongs_to_the_command_is_sent_there(key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{key}: a sweep's file says what is trained.*--config FILE"):
        read_definition(tiny_sweep(tmp_path, **{key: {"partition": "gpu"}}))


@pytest.mark.parametrize("key", ["base", "grid", "steps", "seeds", "folds", "pretrain", "pruner"])
def test_a_key_with_nothing_under_it_is_refused(key: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"trainer: {{max_epochs: 2}}\n{key}:\n")
    with pytest.raises(InputError, match=f"^sweep.yaml: {key}: nothing stands under it"):
        read_definition(file)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optim.learning_rate", "optim.lr"),
        ("learning_rate", "optim.lr"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("data.bs", "data.batch_size"),
        ("trainer.num_workers", "data.num_workers"),
        ("workers", "data.num_workers"),
        ("optim.wd", "optim.weight_decay"),
        ("model.lr", "optim.lr"),
        ("trainer.batch_size", "data.batch_size"),
        ("optim.lrr", "optim.lr"),
        ("cluster.memory", "cluster.mem_gb"),
        ("modle.backbone", "model.backbone"),
        ("strtegy", "crop.strategy"),
    ],
)
def test_a_setting_that_others_call_otherwise_is_offered_by_its_name_here(key: str, meant: str) -> None:
    assert f"did you mean {meant}?" in unknown_key(key, flags_of(sweep_run))


def test_every_offered_name_is_one() -> None:
    from mammo_aln.settings.messages import SYNONYMS

    assert set(SYNONYMS.values()) <= {*flags_of(sweep_run), *flags_of(Settings)}
    assert not set(SYNONYMS) & {flag.rpartition(".")[2] for flag in flags_of(sweep_run)}


@pytest.mark.parametrize("name", ["MY VAR", "3X", "", "A=B", "A;rm", "A-B", "ÄB"])
def test_a_variable_that_no_shell_can_set_is_refused(name: str) -> None:
    require_sound(ClusterConfig(environment={"NCCL_DEBUG": "INFO", "_x1": 2}))
    for cluster in (
        ClusterConfig(environment={name: 3}),
        ClusterConfig(where={"pretrain": {"environment": {name: 3}}}),
    ):
        with pytest.raises(InputError, match=r"cluster.*environment: .*expected the name of a variable"):
            require_asks(cluster, ())


@pytest.mark.parametrize("asked", [{"time_min": 1, "signal_lead_s": 600}, {"time": "00:10:00", "signal_lead_s": 600}])
def test_a_warning_before_a_job_begins_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"cluster.signal_lead_s: 600 s before its limit"):
        require_asks(ClusterConfig(**asked), ())
    with pytest.raises(InputError, match=r"cluster.where: plan: cluster.signal_lead_s"):
        require_asks(ClusterConfig(where={"plan": asked}), ())
    require_sound(ClusterConfig(time_min=11, signal_lead_s=600))


def test_a_mode_that_wandb_does_not_know_is_refused_before_a_training(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "banana")
    online = {"log": {"tracker": ["wandb"], "wandb": "offline"}}
    (said,) = both(capsys, tiny_sweep(tmp_path, **{**CLINICAL, **online}), phantom, tmp_path / "out")
    assert "WANDB_MODE=banana: W&B knows online, offline, disabled" in said
    off = settings_from(Settings, {"log": {"wandb": "disabled"}}, "")
    from mammo_aln.training.trackers.registry import require_trackers

    require_trackers(off)
