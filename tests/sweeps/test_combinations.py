"""What cannot be trained is refused before the first crop, pre-training or download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mammo_aln.errors import InputError
from mammo_aln.settings import Settings
from mammo_aln.settings.parse import settings_from
from mammo_aln.sweeps import run as sweep_room
from mammo_aln.sweeps.planning import weights
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import settings_of
from mammo_aln.sweeps.run import run_sweep
from mammo_aln.training.trackers.wandb_key import has_wandb_key
from tests.support.sweep_files import backbone_axis, tiny_sweep

LADDER = {"primary": {}, "+ pre-training": {"model": {"pretrained": "sweep"}}}
MISSPELT = {**backbone_axis("resnet50")[0], "backbone": "resnet51"}
SWIN = backbone_axis("swinv2")[0]


@pytest.fixture
def refused(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a sweep that must be refused, with an empty store; nothing may be built, pre-trained or written."""

    def begun(*_: object, **__: object) -> None:
        raise AssertionError("something was begun")

    monkeypatch.setattr(weights, "weights_here", begun)
    monkeypatch.setattr("mammo_aln.sweeps.planning.preflight.build_crops", begun)
    monkeypatch.setattr(sweep_room, "require_sound_cohort", lambda *_: None)

    def run(match: str, **more: object) -> str:
        store = tmp_path / "empty"
        with pytest.raises(InputError, match=match) as error:
            run_sweep(tiny_sweep(tmp_path, **more), phantom, tmp_path / "out", store=store, slots=1)
        assert not (tmp_path / "out").exists()
        assert not store.exists()
        return str(error.value)

    return run


def test_a_misspelt_backbone_among_good_ones_is_refused_with_its_cells(refused) -> None:
    text = refused(
        r"2 of 4 cells cannot be trained.*\n.*resnet51.*did you mean resnet50",
        grid={"model": [*backbone_axis("resnet50"), MISSPELT]},
        seeds=2,
    )
    assert text.count("did you mean") == 1  # each fault once, with the cells that have it


def test_a_side_that_no_window_divides_is_refused(refused) -> None:
    refused(r"1 of 2 cells cannot be trained", grid={"crop.size_px": [64, 70]}, model=SWIN)


def test_a_typing_error_in_the_last_step_is_told_before_the_pre_training(refused) -> None:
    steps = {**LADDER, "+ clinical": {"model": {"inputz": ["primary", "clinical"]}}}
    refused(r"1 of 3 cells .*\n.*model\.inputz: unknown key", grid={}, steps=steps, pretrain={"pretrain": {}})


def test_a_pre_training_that_cannot_be_built_is_told_before_another_begins(refused) -> None:
    axis = [{**each, "pretrained": "sweep"} for each in backbone_axis("resnet50", "densenet121")]
    axis[1]["backbone"] = "densenet12"
    refused("densenet12.*did you mean densenet121", grid={"model": axis}, pretrain={"pretrain": {"labels": ["birads"]}})


def test_weights_of_the_internet_are_not_fetched_for_a_sweep_that_is_refused(
    refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("mammo_aln.model.weights.read_weights", fetch)
    monkeypatch.setattr("mammo_aln.model.backbones.read_weights", fetch)
    good = {**backbone_axis("resnet50")[0], "pretrained": True}
    refused("resnet51", grid={"model": [good, MISSPELT]})


def test_wandb_online_without_a_key_is_refused_and_a_key_is_known_where_wandb_looks(
    refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    refused(
        "log.wandb=online: W&B has no API key for https://api.wandb.ai here; expected one by `wandb login`",
        log={"wandb": "online"},
    )
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    (tmp_path / "netrc").chmod(0o600)
    assert has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.hospital.example")
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert has_wandb_key()


def test_settings_of_a_cell_are_those_that_its_own_text_gives(tmp_path: Path) -> None:
    """Cells that differ in seed and fold alone share one reading."""
    grid = {"optim.lr": [1e-3, 2e-3], "crop.size_px": [64, 96]}
    cells = list(points(read_definition(tiny_sweep(tmp_path, grid=grid, seeds=[3, 8], folds=3))))
    assert len(cells) == 24
    for cell in cells:
        assert settings_of(cell) == settings_from(Settings, cell.settings, "cell")
    with pytest.raises(InputError, match=r"seed=-1, fold=0: seed: expected"):
        settings_of(replace(cells[0], settings={**cells[0].settings, "seed": -1}))
