"""Every setting, with its unit in its name; jsonargparse reads them from YAML files and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CONFIG_FOLDERS = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
"""Where the shipped configurations lie: inside an installed package, or beside a checkout."""

Strategy = Literal["whole_breast", "lesion_box", "lesion_margin", "fixed_5cm"]
STRATEGIES: tuple[Strategy, ...] = ("whole_breast", "lesion_box", "lesion_margin", "fixed_5cm")
BACKBONES = ("swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121")
INPUTS = ("primary", "auxiliary", "clinical")


@dataclass(frozen=True)
class PixelConfig:
    """How stored values become display values in [0, 1].

    Args:
        voi: `file` applies the file's first VOI LUT or window, `full_range` maps the range of stored values,
            `percentile` maps the two percentiles of the breast.
        percentile_low: lower percentile for `voi: percentile`.
        percentile_high: upper percentile for `voi: percentile`.
        max_pixels: an image that declares more pixels than this is refused before memory is taken.
    """

    voi: Literal["file", "full_range", "percentile"] = "file"
    percentile_low: float = 1.0
    percentile_high: float = 99.0
    max_pixels: int = 200_000_000


@dataclass(frozen=True)
class CropConfig:
    """Which window of the source image becomes the network's input.

    Args:
        strategy: crop of the primary lesion. `all` only for the verb `crop`.
        size_px: side of the square output in pixels.
        size_mm: side of the `fixed_5cm` window in millimetres of breast.
        margin: `lesion_margin` multiplies the side of the lesion's square by `1 + 2 * margin`.
        auxiliary: regions beside the primary one: any name in `regions.csv`, or `annotated`, `other_view`, `axilla`,
            `peritumoral`, `contralateral`.
        auxiliary_strategy: crop of the auxiliary regions.
        auxiliary_size_mm: side of the auxiliary regions' `fixed_5cm` window in millimetres of breast.
        peritumoral_scale: side of the `peritumoral` window as a multiple of the side that the auxiliary strategy gives
            the lesion.
    """

    strategy: Literal["whole_breast", "lesion_box", "lesion_margin", "fixed_5cm", "all"] = "fixed_5cm"
    size_px: int = 256
    size_mm: float = 50.0
    margin: float = 0.25
    auxiliary: tuple[str, ...] = ("axilla",)
    auxiliary_strategy: Strategy = "fixed_5cm"
    auxiliary_size_mm: float = 50.0
    peritumoral_scale: float = 1.6


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
            in the last block; backbones without it (densenet121) refuse it.
        freeze_epochs: epochs for which loaded backbone weights are frozen; acts only where weights were loaded.
        grad_checkpointing: recompute activations in the backward pass instead of keeping them: less memory, more time;
            batch normalisation then counts each step twice in its running statistics.
    """

    backbone: str = "swinv2"
    backbone_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool | str = False
    inputs: tuple[Literal["primary", "auxiliary", "clinical"], ...] = ("primary", "auxiliary", "clinical")
    fusion: Literal["concat", "gated", "attention"] = "concat"
    shared_backbone: bool = False
    embed_dim: int = 64
    drop_rate: float = 0.1
    modality_dropout: float = 0.1
    drop_path_rate: float = 0.0
    freeze_epochs: int = 0
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
        gradient_clip_norm: largest norm of a step's gradient.
        layer_decay: each layer below the last learns at this share of the next one's rate; acts only where weights were
            loaded.
    """

    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.1
    ema_decay: float = 0.98
    label_smoothing: float = 0.0
    class_weight: Literal["none", "balanced"] = "none"
    loss: Literal["bce", "focal"] = "bce"
    focal_gamma: float = 2.0
    gradient_clip_norm: float = 1.0
    layer_decay: float = 0.8


@dataclass(frozen=True)
class DataConfig:
    """Loading and augmentation.

    Args:
        batch_size: patients (treated axillae) per step.
        num_workers: loader processes; does not change any result.
        augment: geometric and intensity augmentation of training crops.
        augment_strength: multiplies how far augmentation shifts, turns and changes grey values; scale stays within 5 %.
        max_shift_mm: largest random shift of a crop's content, in millimetres where the crop (primary or auxiliary) has
            a fixed size in millimetres.
        test_time_copies: slightly changed copies of every crop that a prediction averages beside the crop itself, 0 to
            8; threshold and calibration are fitted with them.
        allow_post_nat: accept clinical features known only after NAT (`known_at: post_nat`).
        folds: 0 takes `train` and `val` from the split column; 2 or more deal the patients of both out anew, by
            patient, stratified by status and centre; test splits stay as they are.
        fold: which fold (0 to `folds` - 1) validates; the others train.
        fold_seed: draws the folds; runs that shall be pooled share it, whatever their `seed`.
    """

    batch_size: int = 16
    num_workers: int = 0
    augment: bool = True
    augment_strength: float = 1.0
    max_shift_mm: float = 4.0
    test_time_copies: int = 0
    allow_post_nat: bool = False
    folds: int = 0
    fold: int = 0
    fold_seed: int = 0


@dataclass(frozen=True)
class TrainerConfig:
    """Length and hardware of a training.

    Args:
        max_epochs: epochs; the learning-rate schedule spans them.
        patience: epochs without a better validation AUC before training stops; 0 never stops early.
        accelerator: `auto`, `cpu` or `gpu`.
        devices: number of devices.
        num_nodes: number of machines.
        precision: Lightning's name of the arithmetic.
        compile: translate the backbones with torch.compile: minutes at the start, then faster steps on a GPU.
    """

    max_epochs: int = 40
    patience: int = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False


@dataclass(frozen=True)
class LogConfig:
    """Weights & Biases mirror; local files are the truth.

    Args:
        wandb: `offline` writes to the run directory, `online` uploads, `disabled` does neither.
        project: name of the W&B project.
    """

    wandb: Literal["offline", "online", "disabled"] = "offline"
    project: str = "mammo-aln"


@dataclass(frozen=True)
class RadiomicsConfig:
    """Radiomic and deep features of volumes with masks, or of mammography crops.

    Args:
        families: features by IBSI's names: `stat` (first order), `ih` and `ivh` (histograms), `morph` (shape), `loc`
            (local peaks), `spatial` (Moran's I, Geary's C), `cm` (GLCM), `rlm` (GLRLM), `szm` (GLSZM), `dzm` (GLDZM),
            `ngt` (NGTDM), `ngl` (NGLDM).
        filters: images they are computed on: `original`, `log` (Laplacian of Gaussian), `wavelet`. Shape and local
            peaks come from the original alone.
        log_sigma_mm: scales of `log`.
        wavelet: PyWavelets' name of the wavelet; one undecimated level.
        bins: grey levels of a fixed number of bins; the choice for intensities without a unit.
        bin_width: width of a bin in intensity units in place of `bins`; 0 means `bins`.
        aggregation: how texture matrices of several directions are joined: `avg` averages the features, `comb` merges
            the matrices.
        spacing_mm: resample volumes to this spacing (slices, rows, columns; one number for all three); empty keeps
            the grid.
        resample_masks: bring a mask whose geometry differs from its image's onto the image's grid; else it is refused.
        bias_correction: N4, on sequences that are not `quantitative`.
        normalise: `zscore` over the volume, `percentile` maps its 1st and 99th percentile to 0 and 1, or `none`; never
            on `quantitative` sequences.
        quantitative: sequences whose intensities have a physical unit.
        rings_mm: widths of peritumoral rings around each region, from its edge outwards.
        jitter_mm: shift each region, and grow or shrink it, at random by up to so many mm: a repeated measurement for
            `radiomics fit --repeats`; 0 leaves regions as drawn.
        jitter_seed: draws the jitter.
        delta: add post minus pre, and that over pre, of every feature that both time points have.
        deep_backbone: timm model whose pooled features become `deep_*` columns; empty for none.
        deep_regions: regions that get deep features.
        deep_pretrained: `true` (timm's weights), a path of safetensors or a checkpoint, or `false` (drawn weights).
        deep_slices: `2d` takes the slice where the region is largest, `2.5d` also those beside it (mean).
        deep_size_px: side of the square that the region's box with a margin is resized to.
        deep_runs: directories of trained runs that read the mammograms: `deep_run_*` are the fused inputs of one run's
            last layers, of patients it did not train on; the folds of one dealing give `deep_run_logit`, out of fold.
        seed: draws the weights of a backbone that is not pretrained.
    """

    families: tuple[
        Literal["stat", "ih", "ivh", "morph", "loc", "spatial", "cm", "rlm", "szm", "dzm", "ngt", "ngl"], ...
    ] = ("stat", "morph", "cm", "rlm", "szm", "dzm", "ngt", "ngl")
    filters: tuple[Literal["original", "log", "wavelet"], ...] = ("original", "log", "wavelet")
    log_sigma_mm: tuple[float, ...] = (2.0,)
    wavelet: str = "coif1"
    bins: int = 32
    bin_width: float = 0.0
    aggregation: Literal["avg", "comb"] = "avg"
    spacing_mm: tuple[float, ...] = ()
    resample_masks: bool = False
    bias_correction: bool = False
    normalise: Literal["none", "zscore", "percentile"] = "zscore"
    quantitative: tuple[str, ...] = ("adc",)
    rings_mm: tuple[float, ...] = ()
    jitter_mm: float = 0.0
    jitter_seed: int = 0
    delta: bool = True
    deep_backbone: str = ""
    deep_regions: tuple[str, ...] = ("lesion", "primary")
    deep_pretrained: bool | str = False
    deep_slices: Literal["2d", "2.5d"] = "2.5d"
    deep_size_px: int = 96
    deep_runs: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class ClusterConfig:
    """What a job asks of SLURM; what is not given is the cluster's default.

    Args:
        partition: partition (queue).
        account: account that is charged.
        time_min: minutes until SLURM ends a job; a training is requeued then and goes on.
        mem_gb: memory of a node.
        cpus_per_task: cores of a process.
        gpus_per_node: GPUs of a node; 0 for none. A sweep's cells take theirs from `trainer.devices` where unset.
        max_jobs: so many jobs of an array run at once.
        requeues: how often a job that ran into `time_min` is requeued; pre-emption does not count.
        extra: further sbatch options, e.g. `{constraint: a100}`.
    """

    partition: str | None = None
    account: str | None = None
    time_min: int = 1440
    mem_gb: int | None = None
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    max_jobs: int = 64
    requeues: int = 20
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FitConfig:
    """Signatures from tables of features: selection, classifiers, cross-validation.

    Args:
        alpha: largest p of the Mann-Whitney U test that keeps a feature.
        fdr: adjust these p-values by Benjamini and Hochberg.
        rho_max: of two features with |Spearman's rho| of at least this, one stays.
        lasso_rule: `min` takes the penalty of least deviance, `1se` the largest within one standard error.
        lasso_folds: folds of the LASSO's own cross-validation.
        icc_min: smallest ICC(2,1) over repeated measurements (`--repeats`) that keeps a feature.
        combat: bring centres to one location and scale (ComBat), learnt on training patients.
        classifier: `auto` takes, of the eight, the simplest within one standard error of the best in inner folds; or
            the name of one.
        clinical: `all` declared features, or those that backward elimination by AIC leaves.
        fusion: DLR joins radiomic and deep features before the selection (`feature`), or the scores of the two models
            (`score`).
        dlr_clinical: the clinical features enter the DLR model too.
        folds: outer folds.
        inner_folds: inner folds, which choose the classifier and fit calibration and threshold.
        repeats: repetitions of the outer folds where the cohort has no split.
        stability_resamples: bootstrap samples of the selection's stability; 0 for none.
        allow_post_nat: accept clinical features known only after NAT (`known_at: post_nat`).
        bootstrap_resamples: of every interval and test in the evaluation.
    """

    alpha: float = 0.05
    fdr: bool = False
    rho_max: float = 0.9
    lasso_rule: Literal["min", "1se"] = "min"
    lasso_folds: int = 10
    icc_min: float = 0.75
    combat: bool = False
    classifier: Literal[
        "auto",
        "logistic",
        "linear_svm",
        "rbf_svm",
        "knn",
        "random_forest",
        "extra_trees",
        "boosting",
        "naive_bayes",
    ] = "auto"
    clinical: Literal["all", "backward_aic"] = "all"
    fusion: Literal["feature", "score"] = "feature"
    dlr_clinical: bool = False
    folds: int = 5
    inner_folds: int = 5
    repeats: int = 3
    stability_resamples: int = 200
    allow_post_nat: bool = False
    bootstrap_resamples: int = 2000


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    pixels: PixelConfig = PixelConfig()
    crop: CropConfig = CropConfig()
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    trainer: TrainerConfig = TrainerConfig()
    log: LogConfig = LogConfig()
    seed: int = 0


@dataclass(frozen=True)
class PretrainConfig:
    """What `pretrain` learns.

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
    labels: tuple[str, ...] = ()
    val_share: float = 0.1
    style_strength: float = 1.0
    cross_view_share: float = 0.5
    temperature: float = 0.2
    projection_dim: int = 64
    contrastive_weight: float = 0.5


@dataclass(frozen=True)
class PretrainSettings(Settings):
    """All settings of a pre-training."""

    pretrain: PretrainConfig = PretrainConfig()
