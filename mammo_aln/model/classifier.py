"""The LightningModule: what is learned, how, and what validation monitors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from mammo_aln.errors import InputError
from mammo_aln.model.learner import Learner, averaged, plain_settings
from mammo_aln.model.network import AxillaryNetwork, refuse_batch
from mammo_aln.model.optim import binary_loss
from mammo_aln.model.origin import RESTORE, stated_facts, stored_checkpoint
from mammo_aln.model.own_backbone import OWN_BACKBONE, Factory
from mammo_aln.model.ranks import sum_over_ranks, world_size
from mammo_aln.settings import ModelConfig, OptimConfig
from mammo_aln.settings.parse import check_sections


class WeightedMean(Metric):
    """torchmetrics' `MeanMetric`, same states and bits, without its look for NaN: a wait for the GPU at each step.

    A mean of which one value is NaN is NaN; a value of weight 0 counts nothing, whatever it is.
    """

    full_state_update = False
    mean_value: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean_value", "weight"):
            self.add_state(name, default=torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor) -> None:
        """Add a value, ()."""
        weight = weight.to(self.weight.dtype)
        self.mean_value += torch.where(weight > 0, value * weight, 0.0)
        self.weight += weight

    def compute(self) -> Tensor:
        """The mean, NaN of nothing."""
        return self.mean_value / self.weight


class PatientScores(Metric):
    """Logits and labels of a whole split, gathered over batches and ranks; each patient counts once."""

    full_state_update = False
    index: list[Tensor]
    logit: list[Tensor]
    label: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("index", "logit", "label"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, index: Tensor, logit: Tensor, label: Tensor) -> None:
        """Add a batch, each (B,)."""
        self.index.append(index.detach())
        self.logit.append(logit.detach().float())
        self.label.append(label.detach().float())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Logits and labels of the patients with a known label, ordered by index, without a sampler's duplicates."""
        index, logit, label = (dim_zero_cat(rows) for rows in (self.index, self.logit, self.label))
        order = torch.argsort(index, stable=True)
        index, logit, label = index[order], logit[order], label[order]
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        keep = first & ~torch.isnan(label)
        return logit[keep], label[keep]


class AxillaryClassifier(Learner):
    """Predicts residual nodal disease from packed batches of crops and clinical vectors.

    A batch of B patients (treated axillae) with N crops in all, as any loader may give it, is a dict of tensors:

    - `crops`: float32 (N, 1, S, S) in [0, 1], chest wall on the left;
    - `unit`: int64 (N,), the patient that each crop belongs to, 0 to B - 1;
    - `region`: int64 (N,), 0 = primary, then the auxiliary regions in the order of `regions`;
    - `view`: int64 (N,), 0 = CC, 1 = MLO, 2 = other;
    - `clinical`: float32 (B, columns), encoded and finite; (B, 0) where the model reads none;
    - `label`: float32 (B,), 1 = residual disease, 0 = ypN0, NaN = unknown;
    - `index`: int64 (B,), the patient's row in the split: each counts once in validation.

    Where a loader also says what the network would else ask the device for, no step waits for it:

    - `order_0`, `order_1`, ...: int64, the numbers of the crops of each region, in rising order;
    - `hiding_draws`: float32 (B, 2 + regions) in [0, 1), what modality dropout draws: whether a patient's input is
      hidden, then which one, a number for each region and one for the clinical vector.

    A patient may lack any crop. `Trainer.test` judges patients as validation does, by `val_loss` and `val_auc`.

    Args:
        model: settings of the network.
        optim: settings of the optimiser.
        regions: names of the regions, `primary` first, in the order that `batch["region"]` counts.
        clinical_columns: names of the encoded clinical columns.
        size_px: side of the crops in pixels.
        total_steps: optimiser steps that the schedule spans; the trainer's own count where None.
        own_backbone: backbone of the user's own, a module or a call that makes one, in place of `model.backbone`.

    Raises:
        InputError: settings that don't go together, weights that don't fit.
    """

    network: AxillaryNetwork
    class_counts: Tensor

    def __init__(
        self,
        model: ModelConfig | Mapping[str, Any],
        optim: OptimConfig | Mapping[str, Any],
        regions: Sequence[str],
        clinical_columns: Sequence[str],
        size_px: int,
        total_steps: int | None = None,
        own_backbone: nn.Module | Factory | None = None,
    ) -> None:
        super().__init__()
        plain_model, plain_optim = plain_settings(model), plain_settings(optim)
        if own_backbone is not None:
            plain_model["backbone"] = OWN_BACKBONE
        elif plain_model["backbone"] == OWN_BACKBONE:
            raise InputError("this network has a backbone of the user's own: hand the module over as `own_backbone`")
        self.model_config = ModelConfig(**plain_model)
        self.optim_config = OptimConfig(**plain_optim)
        self.network = AxillaryNetwork(self.model_config, regions, len(clinical_columns), size_px, own_backbone)
        self.save_hyperparameters(
            {
                "model": self.network.resolved(plain_model),
                "optim": plain_optim,
                "regions": list(regions),
                "clinical_columns": list(clinical_columns),
                "size_px": int(size_px),
                "total_steps": total_steps,
            }
        )
        self.average = averaged(self.network, self.optim_config)
        self.register_buffer("class_counts", torch.zeros(2))
        self.train_mean = WeightedMean()
        # Kept in checkpoints, so that an epoch that was interrupted logs what the whole one would have.
        self.train_mean.persistent(True)
        self.val_scores = PatientScores()

    @classmethod
    def for_data(
        cls,
        data: Any,
        optim: OptimConfig = OptimConfig(),
        backbone: str | nn.Module | Factory = ModelConfig.backbone,
        **model: Any,
    ) -> AxillaryClassifier:
        """The network that fits a data module.

        Args:
            data: tells `inputs`, `regions`, `clinical_columns` and `crop.size_px`, as `MammoDataModule` does.
            optim: settings of the optimiser.
            backbone: a name as in `ModelConfig`; or an own `nn.Module` (each region gets a copy) or a call that makes
                one, from crops (n, 1, h, w) to (n, features) or feature maps (n, features, h, w).
            model: other fields of `ModelConfig`, e.g. `fusion="attention"`.

        Raises:
            InputError: the backbone is neither, or its output is no features.
        """
        if not isinstance(backbone, str) and not callable(backbone):
            raise InputError(
                f"backbone: expected a name, a torch.nn.Module or a call that makes one, got {type(backbone).__name__}"
            )
        named = backbone if isinstance(backbone, str) else OWN_BACKBONE
        settings = ModelConfig(backbone=named, inputs=data.inputs, **model)
        check_sections("AxillaryClassifier", model=settings, optim=optim)
        own = None if isinstance(backbone, str) else backbone
        return cls(settings, optim, data.regions, data.clinical_columns, data.crop.size_px, own_backbone=own)

    @classmethod
    def load(
        cls, path: str | Path, *, map_location: str = "cpu", own_backbone: nn.Module | Factory | None = None
    ) -> AxillaryClassifier:
        """Read a checkpoint for prediction, in evaluation mode; files it began from are not needed.

        The module has one network, that of the averaged weights where the checkpoint holds an average.

        Args:
            path: the checkpoint.
            map_location: device of the weights.
            own_backbone: the backbone of the user's own that the network was built with, if it was.
        """
        checkpoint = stored_checkpoint(Path(path), RESTORE, map_location)
        with stated_facts(Path(path)):
            settings = dict(checkpoint["hyper_parameters"])
            settings["model"] = {**settings["model"], "pretrained": False}
            module = cls(**settings, own_backbone=own_backbone)
            module.average = None
            module.network.load_state_dict(scoring_weights(checkpoint["state_dict"]))
        return module.eval()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B,): of the learning weights in training mode, of the averaged ones in evaluation."""
        return (self.network if self.training else self.scoring_network)(batch)

    @property
    def scoring_network(self) -> AxillaryNetwork:
        """The network whose logits are predictions: the averaged one, where there is an average."""
        return cast(AxillaryNetwork, self.network if self.average is None else self.average.network)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        if batch_idx == 0:
            # Not at the epoch's end: a checkpoint may be written on either side of that hook.
            self.train_mean.reset()
        self.freeze_loaded(self.current_epoch < self.model_config.freeze_epochs)
        refuse_batch(batch, images=bool(self.network.regions), more=("label",))
        optim, label = self.optim_config, batch["label"]
        counts = sum_over_ranks(torch.stack([(label == 0).sum(), (label == 1).sum()]))
        weights = self._class_weights(counts)
        loss_of = partial(
            binary_loss,
            weights=weights,
            smoothing=optim.label_smoothing,
            focal_gamma=optim.focal_gamma if optim.loss == "focal" else 0.0,
            total=(counts * weights).sum() / world_size(),
        )
        tokens, present = self.network.tokens(batch)
        loss = loss_of(self.network.fuse(tokens, self.network.visible(present, batch)), label)
        self.train_mean.update(loss.detach(), counts.sum() / world_size())
        if optim.unimodal_weight > 0 and len(self.network.inputs) > 1:
            of_each = [
                loss_of(logit, torch.where(there, label, float("nan")))
                for logit, there in self.network.unimodal_logits(tokens, present)
            ]
            loss = loss + optim.unimodal_weight * torch.stack(of_each).mean()
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean training loss."""
        self.log("train_loss", self.train_mean.compute(), prog_bar=True)

    def on_validation_epoch_start(self) -> None:
        """Begin anew: a sanity check's scores are not this epoch's."""
        self.val_scores.reset()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect scores; nothing is averaged over batches."""
        refuse_batch(batch, images=bool(self.network.regions), more=("label", "index"))
        self.val_scores.update(batch["index"], self(batch), batch["label"])

    def on_validation_epoch_end(self) -> None:
        """Log loss and AUC of the whole validation split."""
        logit, label = self.val_scores.compute()
        loss = binary_loss(logit, label, logit.new_ones(2), 0.0) if len(label) else logit.new_tensor(float("nan"))
        self.log("val_loss", loss, prog_bar=True)
        self.log("val_auc", auc_or_nan(logit, label), prog_bar=True)

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Log what validation logs, and say of whom: `Trainer.test` calls every figure a test metric."""
        warnings.warn(
            "val_loss and val_auc below are of the validation patients, whatever Lightning calls them; a test split is"
            " scored and counted by `mammo-aln predict`",
            stacklevel=2,
        )
        self.on_validation_epoch_end()

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Each patient's index and logit (B,), on the CPU."""
        refuse_batch(batch, images=bool(self.network.regions), more=("index",))
        return {"index": batch["index"].cpu(), "logit": self(batch).cpu()}

    def _class_weights(self, counts: Tensor) -> Tensor:
        """Weights that make both classes count alike, from the labels seen so far in training, `counts` (2,) among
        them."""
        if self.optim_config.class_weight == "none":
            return torch.ones_like(self.class_counts)
        self.class_counts += counts
        smoothed = self.class_counts + 1.0
        return smoothed.sum() / (2.0 * smoothed)


def scoring_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the network that scores, in a module's state: of the averaged one, where there is an average."""
    prefix = "average.network." if any(name.startswith("average.network.") for name in state) else "network."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def auc_or_nan(logit: Tensor, label: Tensor) -> Tensor:
    """AUC of logits; NaN with a warning where only one class is there or a logit is NaN, which has no rank."""
    if len(label) == 0 or bool((label == label[0]).all()):
        warnings.warn("validation has patients of one class only: val_auc is NaN", stacklevel=2)
        return torch.full((), float("nan"), device=logit.device)
    if bool(torch.isnan(logit).any()):
        warnings.warn("the network gives NaN for patients of the validation: val_auc is NaN", stacklevel=2)
        return torch.full((), float("nan"), device=logit.device)
    # Ranks instead of sigmoids: far logits would tie at 0 or 1 in float32.
    ranks = torch.unique(logit, return_inverse=True)[1].double()
    return binary_auroc(ranks / max(1.0, float(ranks.max())), label.long()).float()
