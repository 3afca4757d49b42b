"""A training that diverged ends at once: loss and gradient norm of every step are looked at, without waiting for a GPU.

A step's two figures are copied into pinned memory behind the step's kernels and read two steps later, when they have
arrived; whatever is written to disk waits until all of them are judged.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from mammo_aln.errors import InputError
from mammo_aln.model.learner import Learner
from mammo_aln.settings import OptimConfig, Settings

STEPS_BEHIND = 2
"""Steps after which a GPU's figures are read: the queue of a GPU is never that long."""
FAR = 10.0
"""A setting so many times its default is a likelier cause than the learning rate."""
WILD = {
    "optim": ("lr", "weight_decay", "focal_gamma", "unimodal_weight"),
    "pretrain": ("contrastive_weight", "temperature"),
}
"""Numbers that make losses or steps large, by section; of temperatures the small ones."""
MOST_SKIPPED = 20
"""Steps in a row that 16-mixed may skip: its loss scale begins at 2 ** 16 and is halved at each."""


class Diverged(InputError):
    """Loss, gradient or weights are no finite numbers any more; the message says where, and what to try."""

    def __init__(self, message: str, *, on_all_ranks: bool) -> None:
        super().__init__(message)
        self.on_all_ranks = on_all_ranks


@dataclass(frozen=True)
class StepFigures:
    """Loss and gradient norm of one step, maybe still on their way from a GPU.

    Attributes:
        epoch: from 0.
        step: of the epoch, from 0.
        number: of the run, from 1.
        lr: highest learning rate of the step.
        values: loss and norm (2,), in host memory.
        arrived: what tells that `values` hold them; None where they do.
    """

    epoch: int
    step: int
    number: int
    lr: float
    values: Tensor
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, loss: Tensor, norm: Tensor, lr: float, trainer: pl.Trainer, step: int) -> StepFigures:
        """Send a step's figures on their way."""
        both = torch.stack([loss.detach().float(), norm.detach().float()])
        values = torch.empty(2, pin_memory=both.is_cuda)
        values.copy_(both, non_blocking=both.is_cuda)
        arrived = None
        if both.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        return cls(trainer.current_epoch, step, trainer.global_step, lr, values, arrived)

    def read(self) -> tuple[float, float]:
        """Loss and gradient norm."""
        if self.arrived is not None:
            self.arrived.synchronize()
        loss, norm = self.values.numpy()
        return float(loss), float(norm)


class DivergenceGuard(pl.Callback):
    """Ends a training at the first step whose loss or gradient, or epoch whose weights or validation, are not finite.

    `grad_norm` and `grad_norm_max` of an epoch (mean and largest norm of its steps' gradients before they are clipped)
    go to metrics.csv.

    Args:
        settings: all settings of the run, for the advice.
        steps_behind: steps after which figures are read; by default 2 on a GPU, 0 elsewhere.

    Raises:
        Diverged: from within the training.
    """

    def __init__(self, settings: Settings, steps_behind: int | None = None) -> None:
        self.settings = settings
        self._behind = steps_behind
        self._waiting: deque[StepFigures] = deque()
        self._lr = 0.0
        self._sum, self._count, self._largest, self._skipped = 0.0, 0, 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose how far behind the steps the figures are read."""
        if self._behind is None:
            self._behind = STEPS_BEHIND if pl_module.device.type == "cuda" else 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin an epoch's figures with its first step: a run that goes on within an epoch goes on with them."""
        if batch_idx == 0:
            self._sum, self._count, self._largest = 0.0, 0, 0.0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note the step's learning rate: the schedule moves on before the step is over."""
        self._lr = max(float(group["lr"]) for group in optimizer.param_groups)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Send this step's figures on their way and judge those that have arrived."""
        norm = pl_module.gradient_norm if isinstance(pl_module, Learner) else None
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if norm is None or loss is None:
            raise RuntimeError("a training step without a loss or a gradient norm cannot be judged")
        self._waiting.append(StepFigures.of(loss, norm, self._lr, trainer, batch_idx))
        self._judge(leave=self._behind or 0)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge what is left of the epoch before it is validated."""
        self._judge()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the validation and the weights, before any checkpoint is written; log the epoch's norms."""
        self._judge()
        metrics = trainer.callback_metrics
        if "val_auc" in metrics and not math.isfinite(float(metrics["val_loss"])):
            self._end(f"validation of epoch {trainer.current_epoch + 1}: val_loss {metrics['val_loss']:g}")
        if (name := first_not_finite(pl_module)) is not None:
            self._end(f"end of epoch {trainer.current_epoch + 1}: the weights {name} are not finite")
        if self._count:
            pl_module.log("grad_norm", self._sum / self._count)
            pl_module.log("grad_norm_max", self._largest)

    def state_dict(self) -> dict[str, float]:
        """Figures of the epoch so far; no checkpoint is written of a training that diverged."""
        self._judge()
        return {"sum": self._sum, "count": self._count, "largest": self._largest, "skipped": self._skipped}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on with an epoch that was interrupted."""
        self._sum, self._count = state_dict["sum"], int(state_dict["count"])
        self._largest, self._skipped = state_dict["largest"], int(state_dict["skipped"])

    def _judge(self, leave: int = 0) -> None:
        """Judge the steps' figures but for the last `leave`."""
        while len(self._waiting) > leave:
            step = self._waiting.popleft()
            loss, norm = step.read()
            if math.isfinite(loss) and math.isfinite(norm):
                self._sum, self._count, self._skipped = self._sum + norm, self._count + 1, 0
                self._largest = max(self._largest, norm)
                continue
            self._skipped += 1
            # A gradient too large for float16 is skipped by the loss scaler, which then halves its scale.
            scaled = self.settings.trainer.precision == "16-mixed"
            if scaled and math.isfinite(loss) and self._skipped <= MOST_SKIPPED:
                continue
            self._waiting.clear()
            self._end(
                f"epoch {step.epoch + 1}, step {step.step + 1} (step {step.number} of the run): loss {loss:g}, "
                f"gradient norm {norm:g}, learning rate {step.lr:g}",
                on_all_ranks=not math.isfinite(norm),  # ranks have one gradient, and each its share of the loss
            )

    def _end(self, where: str, *, on_all_ranks: bool = True) -> None:
        remedies = ", ".join(advice(self.settings))
        raise Diverged(f"the training diverged in {where}. What may help: {remedies}", on_all_ranks=on_all_ranks)


def advice(settings: Settings) -> list[str]:
    """Settings to try after a training diverged, likeliest first."""
    optim = settings.optim
    lr = f"--optim.lr={min(optim.lr / 10, OptimConfig.lr):g}"  # far above the default, the default
    remedies = list(dict.fromkeys([*far_from_defaults(settings), lr]))
    if not 0 < optim.gradient_clip_norm <= 1:
        remedies.append("--optim.gradient_clip_norm=1")
    if optim.warmup_fraction < 0.2:
        remedies.append("--optim.warmup_fraction=0.2")
    if settings.trainer.precision in ("16-mixed", "bf16-mixed"):
        remedies.append("--trainer.precision=32-true")
    return remedies


def far_from_defaults(settings: Settings) -> list[str]:
    """Defaults of the numbers that make a training wild and are far beyond them here, the farthest first."""
    defaults, excess = type(settings)(), {}
    for section, names in WILD.items():
        for name in names:
            if section == "optim" and name == "focal_gamma" and settings.optim.loss != "focal":
                continue
            value, usual = (float(getattr(getattr(each, section, None), name, 1.0)) for each in (settings, defaults))
            ratio = usual / value if name == "temperature" else value / usual
            if ratio >= FAR:
                excess[f"--{section}.{name}={usual:g}"] = ratio
    return sorted(excess, key=lambda remedy: -excess[remedy])


def first_not_finite(module: torch.nn.Module) -> str | None:
    """Name the first weight or buffer that holds NaN or an infinity, or None; one look for all of them."""
    floats = {name: value for name, value in module.state_dict().items() if value.is_floating_point() and value.numel()}
    with torch.no_grad():
        largest = torch._foreach_norm(list(floats.values()), ord=math.inf)
        finite = torch.stack([torch.isfinite(each) for each in largest]).cpu()
    return next((name for name, fine in zip(floats, finite.tolist(), strict=True) if not fine), None)
