"""The server and the key that W&B's own client would use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from mammo_aln.errors import InputError
from mammo_aln.settings import LogConfig, Settings
from mammo_aln.training.trackers.wandb_key import CLOUD, has_wandb_key, require_wandb_key, wandb_server
from mammo_aln.training.trackers.wandb_run import offline_reason

OWN = "http://wandb.example:8080"


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user without files of W&B's."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield
    wandb.teardown()


def write_settings(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "settings").write_text(text)


@pytest.mark.parametrize("folder", ["config", "wandb"])
def test_the_server_is_the_one_that_a_login_named(folder: str, tmp_path: Path) -> None:
    assert wandb_server() == CLOUD
    assert not has_wandb_key()
    (tmp_path / "netrc").write_text(f"machine wandb.example:8080 login user password {'0' * 40}\n")
    assert not has_wandb_key()
    write_settings(tmp_path / folder, f"[default]\nbase_url = {OWN}\n")
    assert wandb_server() == wandb.setup().settings.base_url == OWN
    assert has_wandb_key()
    assert offline_reason() is None
    require_wandb_key(Settings(log=LogConfig(wandb="online")))


def test_a_variable_wins_over_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(tmp_path / "config", f"[default]\nbase_url = {OWN}\n")
    monkeypatch.setenv("WANDB_BASE_URL", "http://other.example")
    assert wandb_server() == wandb.setup().settings.base_url == "http://other.example"


@pytest.mark.parametrize(("name", "text"), [("netrc", "machine\n"), ("netrc", b"\xff\xfe"), ("settings", "base_url\n")])
def test_a_file_that_cannot_be_read_refuses_a_sweep_and_ends_no_training(
    name: str, text: str | bytes, tmp_path: Path
) -> None:
    file = tmp_path / "netrc" if name == "netrc" else tmp_path / "config" / "settings"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=f"log.wandb=online: {file}"):
        require_wandb_key(Settings(log=LogConfig(wandb="online")))
    reason = offline_reason()
    assert reason is not None
    assert reason.startswith(str(file))


def test_no_key_is_said_with_the_server(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no API key for {CLOUD} here"):
        require_wandb_key(Settings(log=LogConfig(wandb="online")))
    assert f"no API key for {CLOUD} here" in str(offline_reason())
