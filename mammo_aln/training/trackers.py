"""A run's mirrors on W&B, TensorBoard, MLflow or in CSV; they are sent metrics and shaping settings alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from mammo_aln.errors import InputError
from mammo_aln.runs.identity import shaping_settings
from mammo_aln.settings import Settings, TrackerName

GROUP_DIGITS = 8


@dataclass(frozen=True)
class Mirrored:
    """A run as its trackers name it.

    Args:
        run: its directory, named by its id; trackers that write files write them there.
        settings: all settings.
        cohort: digest of the cohort's tables: its first digits group the runs that learnt from one cohort.
    """

    run: Path
    settings: Settings
    cohort: str = ""

    @property
    def title(self) -> str:
        """BACKBONE-STRATEGY-sSEED."""
        model, crop = self.settings.model, self.settings.crop
        return f"{model.backbone.removeprefix('timm:')}-{crop.strategy}-s{self.settings.seed}"

    @property
    def tags(self) -> list[str]:
        """Backbone, crop and inputs."""
        return [self.settings.model.backbone, self.settings.crop.strategy, *self.settings.model.inputs]


def _wandb(mirrored: Mirrored) -> Logger | None:
    log = mirrored.settings.log
    if log.wandb == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")  # its settings below do not silence what it says on import
    import wandb

    quiet = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
    )
    return _mirror(WandbLogger, None)(
        project=log.project,
        id=mirrored.run.name,
        name=mirrored.title,
        tags=mirrored.tags,
        group=mirrored.cohort[:GROUP_DIGITS] or None,
        save_dir=str(mirrored.run),
        offline=log.wandb == "offline",
        resume="allow",
        settings=quiet,
        config=shaping_settings(mirrored.settings),
    )


def _tensorboard(mirrored: Mirrored) -> Logger:
    kind = _mirror(TensorBoardLogger, mirrored.settings)
    return kind(save_dir=str(mirrored.run), name="tensorboard", version="")


def _mlflow(mirrored: Mirrored) -> Logger:
    return _mirror(MLFlowLogger, mirrored.settings)(
        experiment_name=mirrored.settings.log.project,
        run_name=mirrored.title,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(mirrored.run / 'mlflow.db').absolute()}",
        # MLflow would fill in the user and the program's path.
        tags={
            "run_id": mirrored.run.name,
            "group": mirrored.cohort[:GROUP_DIGITS],
            "tags": ",".join(mirrored.tags),
            "mlflow.user": "",
            "mlflow.source.name": "mammo-aln",
        },
    )


def _csv(mirrored: Mirrored) -> Logger:
    return _mirror(CSVLogger, mirrored.settings)(save_dir=str(mirrored.run), name="csv")


TRACKERS: dict[TrackerName, tuple[str, Callable[[Mirrored], Logger | None]]] = {
    # name: the module that it needs, and what opens it
    "wandb": ("wandb", _wandb),
    "tensorboard": ("tensorboard", _tensorboard),
    "mlflow": ("mlflow", _mlflow),
    "csv": ("", _csv),
}


def require_trackers(settings: Settings) -> None:
    """`InputError` where a tracker that `log.tracker` names is not installed."""
    for name in _active(settings):
        module = TRACKERS[name][0]
        if module and find_spec(module) is None:
            extra = "wandb" if name == "wandb" else f"'mammo-aln[{name}]'"
            raise InputError(
                f"log.tracker names {name}, which is not installed: pip install {extra}, or leave {name} out"
                + (" (log.wandb=disabled)" if name == "wandb" else "")
            )


def open_trackers(mirrored: Mirrored) -> list[Logger]:
    """The loggers that `log.tracker` names; each opens its files or its connection at the first number."""
    loggers = [TRACKERS[name][1](mirrored) for name in _active(mirrored.settings)]
    return [logger for logger in loggers if logger is not None]


def log_final(loggers: Sequence[Logger], numbers: Mapping[str, float]) -> None:
    """Send the frozen numbers of a run that is done: a summary on W&B, last values elsewhere."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(dict(numbers))
        else:
            logger.log_metrics({f"final/{name}": value for name, value in numbers.items()})
            logger.save()


def _active(settings: Settings) -> list[TrackerName]:
    names = dict.fromkeys(settings.log.tracker)
    return [name for name in names if name != "wandb" or settings.log.wandb != "disabled"]


def _mirror(kind: type[Any], settings: Settings | None) -> type[Any]:
    """A logger that sends the shaping settings, or nothing, where Lightning's copy would tell paths of weights."""

    class Mirror(kind):
        def log_hyperparams(self, *_: Any, **__: Any) -> None:
            if settings is not None:
                super().log_hyperparams(_flat(shaping_settings(settings)))

    return Mirror


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested settings as `section.key`; what is no plain value is put in words."""
    flat: dict[str, str | int | float | bool] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str | int | float | bool) else str(value)
    return flat
