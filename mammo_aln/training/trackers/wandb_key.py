"""A W&B server's key, looked for where W&B looks, so that nobody is asked for it in the middle of a training."""

from __future__ import annotations

import os
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from mammo_aln.errors import InputError
from mammo_aln.settings import Settings

CLOUD = "https://api.wandb.ai"


def wandb_server() -> str:
    """Name the server that runs are uploaded to."""
    return os.environ.get("WANDB_BASE_URL") or CLOUD


def has_wandb_key() -> bool:
    """Look where W&B looks: in the environment and in the user's netrc file.

    Raises:
        InputError: that file cannot be read as one.
    """
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    host = urlsplit(wandb_server()).hostname or ""
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    try:
        return any(file.is_file() and netrc(file).authenticators(host) is not None for file in files)
    except NetrcParseError as error:
        raise InputError(
            f"log.wandb=online: {error}; expected a readable netrc file, or --log.wandb=offline"
        ) from error


def require_wandb_key(settings: Settings) -> None:
    """`InputError` where runs are to be uploaded to W&B, and it would ask who is there."""
    if settings.log.wandb != "online" or "wandb" not in settings.log.tracker or has_wandb_key():
        return
    raise InputError(
        "log.wandb=online: W&B has no API key here; expected one by `wandb login` or in WANDB_API_KEY, or"
        " --log.wandb=offline"
    )
