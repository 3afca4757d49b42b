"""A run on W&B: live where it is uploaded, else written whole from the run's files once it is done.

Epoch e is W&B's step e. A run that is resumed asks the server how far it came, and is sent what it lacks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mammo_aln.errors import InputError
from mammo_aln.training.trackers.charts import draw_charts
from mammo_aln.training.trackers.mirrored import Mirrored
from mammo_aln.training.trackers.outcome import Outcome, finite
from mammo_aln.training.trackers.wandb_key import has_wandb_key, wandb_server

if TYPE_CHECKING:
    import wandb

Mode = Literal["online", "offline"]
INIT_S = 30.0
"""How long a server is waited for, unless WANDB_INIT_TIMEOUT says otherwise."""
FINISH_S = 60.0
"""How long a run's last numbers may take to be uploaded; the rest is for `mammo-aln sync`."""


def under_agent() -> bool:
    """Ask whether this process is a trial of `wandb agent`, which has given it a run of its own."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def offline_reason() -> str | None:
    """Say why nothing can be uploaded from here although `log.wandb=online` asks for it; None where it can."""
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun"):
        return f"WANDB_MODE={os.environ['WANDB_MODE']} is set"
    try:
        return (
            None
            if has_wandb_key()
            else f"W&B has no API key for {wandb_server()} here (`wandb login`, or WANDB_API_KEY)"
        )
    except InputError as error:
        return str(error).removeprefix("log.wandb=online: ").partition("; expected")[0]


class WandbRun:
    """A run that is open on W&B.

    Args:
        mirrored: the run.
        mode: `online` uploads, `offline` writes into the run directory, in place of what stood there.

    Raises:
        wandb.errors.Error: the server is not reached, or refuses.
    """

    def __init__(self, mirrored: Mirrored, mode: Mode) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")  # its settings below do not silence what it says on import
        import wandb

        self.mirrored = mirrored
        shutil.rmtree(mirrored.run / "wandb", ignore_errors=True)
        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            host="",
            program="mammo-aln",
            finish_timeout=FINISH_S,
            finish_timeout_raises=True,
            reinit="create_new",
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        if not os.environ.get("WANDB_INIT_TIMEOUT"):
            quiet.init_timeout = INIT_S
        own: dict[str, Any] = {"id": mirrored.run.name, "resume": "allow", "project": mirrored.settings.log.project}
        self.run: wandb.Run = wandb.init(
            name=mirrored.title,
            tags=mirrored.tags,
            group=mirrored.group,
            job_type=mirrored.job_type,
            dir=str(mirrored.run),
            mode=mode,
            settings=quiet,
            config=mirrored.config,
            # An agent has given its trial a run of its own.
            **({} if under_agent() else own),
        )
        # Of itself a summary holds each column's last value; the AUC is that of the epoch whose weights are kept.
        self.run.define_metric("val_auc", summary="none")
        self.sent = int(self.run.step)

    def log_rows(self, rows: Sequence[Mapping[str, float]], *, last: bool) -> None:
        """Send the epochs that are not there yet; the last of a training waits for its curves."""
        for row in [finite(row) for row in rows[self.sent :]]:
            self.run.log(dict(row), step=self.sent, commit=not (last and self.sent == len(rows) - 1))
            self.sent += 1
        aucs = [row["val_auc"] for row in map(finite, rows) if "val_auc" in row]
        if aucs:
            self.run.summary["val_auc"] = max(aucs)

    def complete(self, outcome: Outcome) -> None:
        """Send what is missing of a run that is done: epochs, curves, and a summary that is the run's own."""
        whole = self.run.summary.get("epochs") == len(outcome.rows)
        self.log_rows(outcome.rows, last=True)
        if not whole and outcome.rows:
            step = max(len(outcome.rows) - 1, int(self.run.step))
            pictures = _pictures(outcome, crops=self.mirrored.settings.log.pictures)
            self.run.log(pictures, step=step, commit=True)
        self.run.summary.update({"epochs": len(outcome.rows), **outcome.numbers})

    @staticmethod
    def give_up() -> None:
        """End W&B's service, which holds the id of a run that it could not begin or upload: it can then be offline."""
        import wandb

        wandb.teardown()

    def close(self, exit_code: int = 0) -> None:
        """End it, once it is uploaded; TimeoutError where that takes too long."""
        self.run.finish(exit_code=exit_code)
        # W&B's own logs name folders of this machine.
        folder = self.mirrored.run / "wandb"
        for path in (*folder.glob("debug*.log"), *folder.glob("*run-*/logs")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _pictures(outcome: Outcome, *, crops: bool) -> dict[str, wandb.Image]:
    """Charts of the validation, and the sheet of training crops where that may be sent."""
    import wandb

    pictures = {name: wandb.Image(picture) for name, picture in draw_charts(outcome).items()}
    return pictures if outcome.sheet is None or not crops else {**pictures, "crops": wandb.Image(str(outcome.sheet))}
