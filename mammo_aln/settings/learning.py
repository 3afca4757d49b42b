"""Settings of training and pre-training: network, optimiser, data, trainer, trackers, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from mammo_aln.settings.images import CropConfig, PixelConfig
from mammo_aln.settings.limits import (
    BELOW_1,
    DEVICES,
    EACH_ONCE,
    EPOCHS,
    EPOCHS_FROM_0,
    NO_FOLDS_OR_FOLDS,
    PATIENTS,
    SEED,
    SHARE,
    Limit,
    within,
)

BACKBONES = ("swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121")
InputName = Literal["primary", "auxiliary", "clinical"]
INPUTS: tuple[InputName, ...] = ("primary", "auxiliary", "clinical")
Precision = Literal["bf16-mixed", "16-mixed", "32-true"]
TrackerName = Literal["wandb", "tensorboard", "mlflow", "csv"]
IMAGE_INPUTS = ("primary", "auxiliary")
CLIP_NORM = Limit("0, or 1e-06 to 1000000", lambda x: x == 0 or 1e-6 <= x <= 1e6)


def reads_images(inputs: Iterable[str]) -> bool:
    """True where any of the model's inputs is an image."""
    return any(name in IMAGE_INPUTS for name in inputs)


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Args:
        backbone: `swinv2`, `convnextv2`, `efficientnetv2`, `resnet50`, `densenet121`, or `timm:NAME`.
        backbone_args: arguments handed to timm as they are, e.g. `{embed_dim: 32, depths: [2, 2, 2], num_heads: [2, 4,
            8]}`.
        pretrained: `false`, `true` (timm's own weights) or the path of safetensors or a checkpoint.
        inputs: subset of `primary`, `auxiliary`, `clinical`.
        fusion: `concat`, `gated` or `attention`.
        shared_backbone: one backbone for all regions (with a region embedding), or one per region.
        embed_dim: width of a crop's token and of the fused vector.
        drop_rate: dropout before the last layer.
        modality_dropout: share of training patients for whom one of several inputs is hidden in a step.
        drop_path_rate: stochastic depth: share of the residual branches that a training step leaves out, rising to this
            in the last block; 0 leaves the backbone's own, which is 0.1 in swinv2 and none in the others (none at all:
            `model.backbone_args={drop_path_rate: 0}`); backbones without it (densenet121) refuse it.
        freeze_epochs: epochs for which loaded backbone weights are frozen; then they warm up. Acts only where weights
            were loaded.
        grad_checkpointing: recompute activations in the backward pass instead of keeping them: less memory, more time;
            batch normalisation then counts each step twice in its running statistics.
    """

    backbone: str = "swinv2"
    backbone_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool | str = False
    inputs: Annotated[tuple[InputName, ...], EACH_ONCE] = INPUTS
    fusion: Literal["concat", "gated", "attention"] = "concat"
    shared_backbone: bool = False
    embed_dim: Annotated[int, within(1, 8192)] = 64
    drop_rate: Annotated[float, BELOW_1] = 0.1
    modality_dropout: Annotated[float, BELOW_1] = 0.1
    drop_path_rate: Annotated[float, BELOW_1] = 0.0
    freeze_epochs: Annotated[int, EPOCHS_FROM_0] = 0
    grad_checkpointing: bool = False


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with linear warm-up, cosine decay and a moving average of the weights.

    Args:
        lr: peak learning rate.
        weight_decay: AdamW's decoupled decay; biases and normalisation weights are exempt.
        warmup_fraction: share of all steps in which the learning rate rises from 0.
        ema_decay: decay per step of the weight average used for validation and prediction; 0 switches it off.
        label_smoothing: moves targets towards 0.5 by this share.
        class_weight: `balanced` weighs the two classes equally in the loss.
        loss: `bce` (binary cross-entropy) or `focal`, which plays down patients that are classified well already.
        focal_gamma: how much it does; 0 is binary cross-entropy.
        unimodal_weight: weight of a second loss beside that of all inputs together: the mean, over the inputs, of the
            loss of each alone, so that the one that is learned fast does not keep the others from learning; 0 leaves it
            out, and a single input has none.
        gradient_clip_norm: largest norm of a step's gradient; 0 leaves every gradient as it is.
        accumulate: in how many equal parts a device computes its share of a step (gradient accumulation): less memory,
            more time; patients of a step, and the number of steps, stay.
        layer_decay: the lowest layer of a backbone learns at `lr` times this to the power of 12, the last at `lr`,
            those between by their share of the depth, so that it is one recipe for all backbones; acts only where
            weights were loaded.
    """

    lr: Annotated[float, within(1e-10, 100)] = 1e-3
    weight_decay: Annotated[float, within(0, 100)] = 0.05
    warmup_fraction: Annotated[float, SHARE] = 0.1
    ema_decay: Annotated[float, BELOW_1] = 0.98
    label_smoothing: Annotated[float, BELOW_1] = 0.0
    class_weight: Literal["none", "balanced"] = "none"
    loss: Literal["bce", "focal"] = "bce"
    focal_gamma: Annotated[float, within(0, 20)] = 2.0
    unimodal_weight: Annotated[float, within(0, 100)] = 1.0
    gradient_clip_norm: Annotated[float, CLIP_NORM] = 1.0
    accumulate: Annotated[int, within(1, 4096)] = 1
    layer_decay: Annotated[float, within(0.01, 1)] = 0.8


@dataclass(frozen=True)
class DataConfig:
    """Loading and augmentation.

    Args:
        batch_size: patients (treated axillae) per step, over all devices together.
        micro_batch: largest number of patients whose crops a device computes at once; `auto` begins with its whole
            share of the batch and halves it where memory does not suffice. Patients of a step, and what it learns,
            stay.
        num_workers: loader processes; `auto` takes those that the machine has cores for: at most 8 a GPU, none where a
            CPU trains or there is little to load. Does not change any result.
        device_gb: memory of each device that crops may take, in GB, so that no step waits for loading: they lie there
            as they are stored and are changed there. Where they take more, each step's crops come from main memory and
            are changed on the device. `auto` is a quarter of a GPU's free memory, 0 on a CPU; 0 leaves all to the
            loader processes, as do the engines other than `warp`. Does not change any result but in its last digits.
        stage: folder on the node's own disk (`/local/crops`, `$SLURM_TMPDIR`) to which crops are copied and compared
            with their checksums before training reads them; empty reads them where the store is. Does not change any
            result.
        augment: geometric and intensity augmentation of training crops.
        augment_engine: what computes it: `warp` (one pass of OpenCV), `albumentations` or `torchvision`; all of them
            from the same draws.
        augment_strength: multiplies how far augmentation shifts, turns and changes grey values; scale stays within 5 %.
        augment_ramp_epochs: first epochs of a training, over which augmentation but for flips grows from nothing to its
            full extent; 0 = full from the first step. Pre-training has no ramp.
        max_shift_mm: largest random shift of a crop's content, in millimetres of breast whatever the crop's size (as if
            it were cut by `fixed_5cm` where the image has no pixel spacing); never farther than the quarter of its side
            that is stored around it.
        flip_horizontal: augmentation mirrors left and right, in half of the draws, all crops of a patient alike.
        flip_vertical: likewise up and down.
        test_time_copies: slightly changed copies of every crop that a prediction averages beside the crop itself, 0 to
            8; threshold and calibration are fitted with them.
        allow_post_nat: accept clinical features known only after NAT (`known_at: post_nat`).
        folds: 0 takes `train` and `val` from the split column; 2 or more deal the patients of both out anew, by
            patient, stratified by status and centre; test splits stay as they are.
        fold: which fold (0 to `folds` - 1) validates; the others train.
        fold_seed: draws the folds; runs that shall be pooled share it, whatever their `seed`.
    """

    batch_size: Annotated[int, PATIENTS] = 16
    micro_batch: Annotated[Literal["auto"] | int, PATIENTS] = "auto"
    num_workers: Annotated[int | Literal["auto"], within(0, 4096)] = "auto"
    device_gb: Annotated[float | Literal["auto"], within(0, 10_000)] = "auto"
    stage: str = ""
    augment: bool = True
    augment_engine: Literal["warp", "albumentations", "torchvision"] = "warp"
    augment_strength: Annotated[float, Limit("a number from 0 to 3", lambda x: 0 <= x <= 3)] = 1.0
    augment_ramp_epochs: Annotated[int, EPOCHS_FROM_0] = 20
    max_shift_mm: Annotated[float, within(0, 500)] = 4.0
    flip_horizontal: bool = True
    flip_vertical: bool = True
    test_time_copies: Annotated[int, Limit("0 to 8", lambda x: 0 <= x <= 8)] = 0
    allow_post_nat: bool = False
    folds: Annotated[int, NO_FOLDS_OR_FOLDS] = 0
    fold: Annotated[int, within(0, 999)] = 0
    fold_seed: Annotated[int, SEED] = 0


@dataclass(frozen=True)
class TrainerConfig:
    """Length and hardware of a training.

    Args:
        max_epochs: epochs; the learning-rate schedule spans them.
        patience: epochs without a better validation AUC before training stops; 0 never stops early.
        accelerator: `auto`, `cpu` or `gpu`.
        devices: number of devices.
        num_nodes: number of machines.
        sync_batchnorm: on several devices, batch normalisation standardises by the crops of all of them; `false` by
            each device's own, which is another result.
        precision: arithmetic of the network: `bf16-mixed`, `16-mixed` (scaled loss, GPU only) or `32-true`, whose
            products a GPU computes in TF32; `auto` is `bf16-mixed` where the GPUs have it, else `32-true`, and enters
            the run's identity as what it stands for.
        deterministic: only kernels that add in a fixed order, so that a GPU gives the same bits again; slower, and an
            operation without such a kernel ends the run. A CPU does so anyway.
        compile: translate the backbones with torch.compile: minutes at the start, then faster steps on a GPU.
        save_every_s: seconds between two writings of `last.ckpt`, at the next step; 0 writes whenever the one before
            is on the disk. Also written after the first and the last epoch and at a scheduler's signal.
        prune: remove `last.ckpt` once the run is completed; `best.ckpt`, which predicts, stays.
        keep_optimiser: `last.ckpt` of a completed run keeps AdamW's moments and the schedule, which double it; without
            this they go with the last epoch.
    """

    max_epochs: Annotated[int, EPOCHS] = 40
    patience: Annotated[int, EPOCHS_FROM_0] = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, DEVICES] = 1
    num_nodes: Annotated[int, DEVICES] = 1
    sync_batchnorm: bool = True
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"
    deterministic: bool = False
    compile: bool = False
    save_every_s: Annotated[float, within(0, 1_000_000)] = 120.0
    prune: bool = False
    keep_optimiser: bool = False

    @property
    def ranks(self) -> int:
        """Number of processes that train together, one a device."""
        return self.devices * self.num_nodes


@dataclass(frozen=True)
class LogConfig:
    """Trackers that mirror a run; local files are the truth.

    Args:
        wandb: `offline` writes to the run directory, `online` uploads, `disabled` does neither.
        project: name of the W&B project or MLflow experiment.
        tracker: any of `wandb`, `tensorboard`, `mlflow`, `csv`; `[]` for none. All but W&B online write into the run
            directory, MLflow to the server that the environment variable MLFLOW_TRACKING_URI names, if any.
        pictures: send W&B the sheet of training crops (`augmented.png`), which bears neither names nor numbers.
    """

    wandb: Literal["offline", "online", "disabled"] = "offline"
    project: str = "mammo-aln"
    tracker: Annotated[tuple[TrackerName, ...], EACH_ONCE] = ("wandb",)
    pictures: bool = True


@dataclass(frozen=True)
class TrainingSettings:
    """All settings of a training but its seed, which a sweep deals out.

    Args:
        pixels: how DICOM values become display values.
        crop: which window of the image the network sees.
        model: the network.
        optim: optimiser and loss.
        data: loading and augmentation.
        trainer: length and hardware.
        log: trackers that mirror the run.
    """

    pixels: PixelConfig = PixelConfig()
    crop: CropConfig = CropConfig()
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    trainer: TrainerConfig = TrainerConfig()
    log: LogConfig = LogConfig()


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """All settings of a run.

    Args:
        seed: draws initial weights, order and augmentation.
    """

    seed: Annotated[int, SEED] = 0


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-training: its labels, views and styles.

    Args:
        mode: `supervised` learns columns of the tables, `contrastive` which crops show one breast, `both` does both.
        labels: columns of patients.csv or images.csv, each a head: `COLUMN` or `COLUMN:KIND`, KIND being `binary`,
            `categorical` or `continuous`; without one the column's values tell (2 values: binary; more than 10 numbers:
            continuous; else categorical). `patients.COLUMN` and `images.COLUMN` name the table where both have it.
        val_share: share of the patients that validate where the cohort has no column split, or no `val` in it.
        style_strength: 0 to 1, how far grey values are bent at random (histogram, gamma, look-up table) to stand in for
            other vendors; 0 switches it off.
        cross_view_share: share of the contrastive pairs of a breast with two views that are CC against MLO; the others
            are one crop in two styles.
        temperature: temperature of the contrastive loss.
        projection_dim: width of the contrastive embedding.
        contrastive_weight: weight of the contrastive loss beside the heads' in mode `both`.
    """

    mode: Literal["supervised", "contrastive", "both"] = "supervised"
    labels: Annotated[tuple[str, ...], EACH_ONCE] = ()
    val_share: Annotated[float, Limit("a number above 0 and below 1", lambda x: 0 < x < 1)] = 0.1
    style_strength: Annotated[float, SHARE] = 1.0
    cross_view_share: Annotated[float, SHARE] = 0.5
    temperature: Annotated[float, within(0.01, 100)] = 0.2
    projection_dim: Annotated[int, within(1, 8192)] = 64
    contrastive_weight: Annotated[float, Limit("a number above 0, at most 100", lambda x: 0 < x <= 100)] = 0.5


@dataclass(frozen=True)
class PretrainSettings(Settings):
    """All settings of a pre-training: of the model the backbone alone, and its seed also draws who validates.

    Args:
        pretrain: labels to learn, contrastive learning, style randomisation.
    """

    model: ModelConfig = field(default_factory=lambda: ModelConfig(inputs=("primary",)))
    pretrain: PretrainConfig = PretrainConfig()
