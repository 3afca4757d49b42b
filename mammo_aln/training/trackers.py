"""A run's mirror on Weights & Biases: metrics and settings that shape the result, without paths or patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mammo_aln.runs.identity import shaping_settings
from mammo_aln.settings import Settings


def wandb_mirror(run: Path, run_id: str, settings: Settings) -> Any:
    """The logger that `log.wandb` asks for; False where it is disabled."""
    if settings.log.wandb == "disabled":
        return False
    os.environ.setdefault("WANDB_SILENT", "true")  # its settings below do not silence what it says on import
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    quiet = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
    )

    class Mirror(WandbLogger):
        def log_hyperparams(self, params: Any) -> None:
            """Nothing: `config` below holds the settings; Lightning's copy would tell paths of weights."""

    return Mirror(
        project=settings.log.project,
        id=run_id,
        name=run_id,
        save_dir=str(run),
        offline=settings.log.wandb == "offline",
        resume="allow",
        settings=quiet,
        config=shaping_settings(settings),
    )
