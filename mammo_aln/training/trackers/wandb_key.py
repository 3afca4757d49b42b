"""A W&B server's key, looked for where W&B looks, so that nobody is asked for it in the middle of a training."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from mammo_aln.errors import InputError
from mammo_aln.settings import Settings

CLOUD = "https://api.wandb.ai"
SECTION = "default"
"""The section of W&B's own settings files that it reads."""


def wandb_server() -> str:
    """Name the server that runs are uploaded to: by WANDB_BASE_URL, or by what `wandb login --host` wrote."""
    return os.environ.get("WANDB_BASE_URL") or _wandb_settings().get("base_url") or CLOUD


def has_wandb_key() -> bool:
    """Look where W&B looks: in the environment, the user's netrc file and W&B's settings files.

    Raises:
        InputError: one of these files cannot be read.
    """
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    if _wandb_settings().get("api_key"):
        return True
    named = os.environ.get("NETRC")
    files = [Path(named).expanduser()] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return False
    try:
        return netrc(file).authenticators(urlsplit(wandb_server()).netloc) is not None
    except (NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"log.wandb=online: {file}: {error}; expected a readable netrc file, or --log.wandb=offline"
        ) from error


def require_wandb_key(settings: Settings) -> None:
    """`InputError` where runs are to be uploaded to W&B, and it would ask who is there."""
    if settings.log.wandb != "online" or "wandb" not in settings.log.tracker or has_wandb_key():
        return
    raise InputError(
        f"log.wandb=online: W&B has no API key for {wandb_server()} here; expected one by `wandb login` or in"
        " WANDB_API_KEY, or --log.wandb=offline"
    )


def _wandb_settings() -> Mapping[str, str]:
    """Read W&B's settings files: the user's, and over it the one of this folder."""
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    here = Path(os.environ.get("WANDB_DIR") or ".")
    folder = here / ".wandb" if (here / ".wandb").exists() else here / "wandb"
    settings: dict[str, str] = {}
    for file in (user / "settings", folder / "settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            line = str(error).partition("\n")[0]
            raise InputError(
                f"log.wandb=online: {file}: {line}; expected W&B's settings, as `wandb login` writes them, or"
                " --log.wandb=offline"
            ) from error
        if parser.has_section(SECTION):
            settings |= dict(parser[SECTION])
    return settings
