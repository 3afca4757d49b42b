"""The network and the LightningModule of pre-training: one backbone, a head per label, an embedding for contrast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mammo_aln.model.backbones import LearningNetwork
from mammo_aln.model.batch_statistics import FeatureNorm
from mammo_aln.model.classifier import WeightedMean
from mammo_aln.model.learner import Learner, averaged, plain_settings
from mammo_aln.model.network import crop_encoder
from mammo_aln.model.parts import at_least_float32
from mammo_aln.model.ranks import gathered, sum_over_ranks, world_size
from mammo_aln.settings import ModelConfig, OptimConfig, PretrainConfig
from mammo_aln.training.pretraining.contrastive import comparable, nt_xent, partner_found
from mammo_aln.training.pretraining.heads import Head
from mammo_aln.training.pretraining.masked_loss import head_metric, masked_loss, split_outputs

BODY = "encoders.shared.backbone.body."
"""Where the backbone's own weights stand in the network's state, as in a classifier whose regions share one."""


class PretrainNetwork(LearningNetwork):
    """Crops in; the heads' outputs and the contrastive embedding out, each where the mode has it.

    Args:
        model: backbone and its starting weights, width of a crop's token.
        pretrain: mode and width of the embedding.
        outputs: sum of the heads' widths.
        size_px: side of the crops in pixels.
    """

    def __init__(self, model: ModelConfig, pretrain: PretrainConfig, outputs: int, size_px: int) -> None:
        super().__init__()
        width = model.embed_dim
        self.encoders = nn.ModuleDict({"shared": crop_encoder(model, size_px)})
        self.drop = nn.Dropout(model.drop_rate)
        self.heads = nn.Linear(width, outputs) if pretrain.mode != "contrastive" else None
        self.project = (
            nn.Sequential(FeatureNorm(width), nn.ReLU(), nn.Linear(width, pretrain.projection_dim))
            if pretrain.mode != "supervised"
            else None
        )

    def forward(self, crops: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Map crops (N, 1, S, S) to outputs (N, outputs) and embeddings (N, projection_dim)."""
        token = self.encoders["shared"](crops, self.frozen, self.parts)
        outputs = at_least_float32(self.heads(self.drop(token))) if self.heads is not None else None
        return outputs, at_least_float32(self.project(token)) if self.project is not None else None


class WholeSplit(Metric):
    """Outputs and labels of a whole split, gathered over batches and ranks."""

    full_state_update = False
    outputs: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("outputs", "labels"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Add a batch, each (N, ...)."""
        self.outputs.append(outputs.detach())
        self.labels.append(labels.detach())

    def compute(self) -> tuple[Tensor, Tensor]:
        """All of them."""
        return dim_zero_cat(self.outputs), dim_zero_cat(self.labels)


class PretrainModule(Learner):
    """Learns the heads' labels, which crops show one breast, or both.

    Args:
        model: settings of the network.
        optim: settings of the optimiser.
        pretrain: mode, temperature, weights.
        heads: what each label column is, as plain dicts in checkpoints.
        size_px: side of the crops in pixels.
    """

    def __init__(
        self,
        model: ModelConfig,
        optim: OptimConfig,
        pretrain: PretrainConfig,
        heads: Sequence[Head],
        size_px: int,
    ) -> None:
        super().__init__()
        self.network: PretrainNetwork = PretrainNetwork(model, pretrain, sum(head.width for head in heads), size_px)
        plain = {
            "model": self.network.resolved(plain_settings(model)),
            "optim": plain_settings(optim),
            "pretrain": plain_settings(pretrain),
            "heads": [plain_settings(head) for head in heads],
            "size_px": int(size_px),
            "total_steps": None,
        }
        self.save_hyperparameters(plain)
        self.model_config, self.optim_config, self.pretrain, self.heads = model, optim, pretrain, tuple(heads)
        self.average = averaged(self.network, optim)
        self.train_mean = WeightedMean()
        # As in AxillaryClassifier: an epoch that was interrupted logs what the whole one would have.
        self.train_mean.persistent(True)
        self.val_outputs = WholeSplit()
        self.val_contrast, self.val_partner = WeightedMean(), WeightedMean()

    def forward(self, crops: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Outputs and embeddings: of the learning weights in training mode, of the averaged ones in evaluation."""
        network = self.network if self.training or self.average is None else self.average.network
        return network(crops)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        if batch_idx == 0:
            self.train_mean.reset()
        self.freeze_loaded(self.current_epoch < self.model_config.freeze_epochs)
        outputs, embedding = self(batch["crops"])
        losses = []
        if outputs is not None:
            known = sum_over_ranks((~torch.isnan(batch["labels"])).sum(dim=0)) / world_size()
            losses.append(masked_loss(outputs, batch["labels"], self.heads, self.optim_config.label_smoothing, known))
        if embedding is not None:
            weight = self.pretrain.contrastive_weight if outputs is not None else 1.0
            # the negatives of all ranks
            pairs = *_pairs(embedding, len(batch["patient"])), batch["patient"]
            first, second, patient = (gathered(each).flatten(0, 1) for each in pairs)
            losses.append(weight * nt_xent(first, second, patient, self.pretrain.temperature))
        loss = torch.stack(losses).sum()
        count = loss.new_full((), float(len(batch["index"])))
        if self.pretrain.mode == "contrastive":
            count = count * comparable(gathered(batch["patient"]).flatten())  # a loss of nothing is no loss of 0
        self.train_mean.update(loss.detach(), count)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean training loss."""
        self.log("train_loss", self.train_mean.compute(), prog_bar=True)

    def on_validation_epoch_start(self) -> None:
        """Begin anew."""
        for metric in (self.val_outputs, self.val_contrast, self.val_partner):
            metric.reset()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect outputs of crops as they are, and the contrastive loss of pairs."""
        outputs, embedding = self(batch["crops"])
        if outputs is not None:
            paired = 0 if embedding is None else 2 * len(batch["patient"])
            self.val_outputs.update(outputs[paired:], batch["labels"][paired:])
        if embedding is not None:
            patient = batch["patient"]
            first, second = _pairs(embedding, len(patient))
            contrast = nt_xent(first, second, patient, self.pretrain.temperature)
            weight = len(patient) * comparable(patient)
            self.val_contrast.update(contrast, weight)
            self.val_partner.update(partner_found(first, second, patient).mean(), weight)

    def on_validation_epoch_end(self) -> None:
        """Log what the whole validation split says of each head, and of the pairs."""
        losses = []
        if self.heads:
            outputs, labels = self.val_outputs.compute()
            losses.append(masked_loss(outputs, labels, self.heads))
            for number, (head, output) in enumerate(zip(self.heads, split_outputs(outputs, self.heads), strict=True)):
                self.log(*head_metric(head, output, labels[:, number]))
        if self.pretrain.mode != "supervised":
            contrast = self.val_contrast.compute()
            weight = self.pretrain.contrastive_weight if self.heads else 1.0
            losses.append(weight * contrast)
            self.log("val_contrastive_loss", contrast)
            self.log("val_partner_found", self.val_partner.compute())
        self.log("val_loss", torch.stack(losses).sum(), prog_bar=True)

    def backbone_weights(self) -> dict[str, Tensor]:
        """The backbone's weights under the names that `--model.pretrained` reads: averaged ones where they are kept."""
        network = self.average.network if self.average is not None else self.network
        return {name: value for name, value in network.state_dict().items() if name.startswith(BODY)}


def _pairs(embedding: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """First and second embeddings of the pairs (B, D), which stand in this order at the batch's head, see `pack`."""
    return embedding[:pairs], embedding[pairs : 2 * pairs]
