"""One function per verb. A verb's flags are its function's parameters; rooms are imported only when their verb runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mammo_aln.config import (
    ClusterConfig,
    CropConfig,
    DataConfig,
    FitConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    PixelConfig,
    PretrainConfig,
    PretrainSettings,
    RadiomicsConfig,
    Settings,
    TrainerConfig,
)


def demo(out: Path = Path("out/demo"), patients: int = 300, seed: int = 0, max_epochs: int = 24) -> Path:
    """The whole road on a phantom cohort: crops, training, external-centre test, report.

    Args:
        out: folder to be made; a number is added where it exists.
        patients: phantom patients over three centres.
        seed: draws the phantom and the training.
        max_epochs: epochs of training.
    """
    from mammo_aln.demo import run_demo

    return run_demo(out, patients=patients, seed=seed, max_epochs=max_epochs)


def doctor(cohort: Path | None = None) -> int:
    """Look this machine over: PASS, WARN or FAIL, each with the fix to type; exit code 1 if anything fails.

    Args:
        cohort: cohort folder that the machine should be able to hold and read.
    """
    from mammo_aln.doctor import examine

    return examine(cohort)


def phantom(
    out: Path,
    patients: int = 300,
    centers: int = 3,
    seed: int = 0,
    external_patients: int | None = None,
    modality: Literal["mammography", "mri"] = "mammography",
    full_size: bool = False,
    shuffle_labels: bool = False,
    workers: int | None = None,
) -> Path:
    """Write a synthetic multi-centre cohort whose truth is known (truth.csv, bayes_auc.csv).

    Args:
        out: cohort folder to be made.
        patients: number of patients over all centres.
        centers: number of centres; the last is the external one.
        seed: draws everything.
        external_patients: how many of the patients the external centre gets; by default about an equal share.
        modality: DICOM mammograms, or volumes before and after NAT with masks (t2w, adc, dce).
        full_size: mammograms with detector-sized pixels of 0.05 to 0.1 mm instead of 0.14 to 0.20 mm.
        shuffle_labels: labels carry no information; a sound system must then show an AUC of 0.5.
        workers: processes; by default one per core.
    """
    if modality == "mri":
        from mammo_aln.phantom.mri import write_mri_phantom

        return write_mri_phantom(
            out,
            patients=patients,
            centers=centers,
            seed=seed,
            external_patients=external_patients,
            shuffle_labels=shuffle_labels,
            workers=workers,
        )
    from mammo_aln.phantom.mammography import write_phantom

    return write_phantom(
        out,
        patients=patients,
        centers=centers,
        seed=seed,
        external_patients=external_patients,
        full_size=full_size,
        shuffle_labels=shuffle_labels,
        workers=workers,
    )


def index(dicom_dir: Path, out: Path, workers: int | None = None) -> Path:
    """List a DICOM folder's mammograms in OUT/images.csv; other files go to OUT/exclusions.csv with the reason.

    Args:
        dicom_dir: folder that is searched with all its subfolders.
        out: cohort folder; tables that stand there already are kept.
        workers: processes; by default one per core.
    """
    from mammo_aln.cohort.index import index_folder

    return index_folder(dicom_dir, out, workers=workers)


def check(cohort: Path) -> int:
    """Find every fault of a cohort; exit code 1 if there is one.

    Args:
        cohort: cohort folder.
    """
    from mammo_aln.cohort.check import check_cohort

    return 1 if check_cohort(cohort) else 0


def split(
    cohort: Path,
    external_center: str | None = None,
    val_share: float = 0.2,
    internal_test_share: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write the column split of patients.csv: by patient, stratified by status and centre.

    Args:
        cohort: cohort folder.
        external_center: centre that becomes external_test.
        val_share: share of the remaining patients for validation.
        internal_test_share: share of the remaining patients for the internal test.
        seed: draws the split.
        overwrite: replace a split that stands there.
    """
    from mammo_aln.cohort.split import split_cohort

    return split_cohort(
        cohort,
        external_center=external_center,
        val_share=val_share,
        internal_test_share=internal_test_share,
        seed=seed,
        overwrite=overwrite,
    )


def crop_images(
    cohort: Path,
    store: Path | None = None,
    proof: Path | None = None,
    export: Path | None = None,
    audit: float = 0.0,
    shard: str | None = None,
    workers: int | None = None,
    slurm: int | None = None,
    cluster: ClusterConfig = ClusterConfig(),
    crop: CropConfig = CropConfig(),
    pixels: PixelConfig = PixelConfig(),
) -> Path:
    """Build every crop that is missing in the store; show them (--proof) and hand them out (--export).

    Args:
        cohort: cohort folder.
        store: crop store; by default .crops in the cohort folder.
        proof: folder for contact sheets: view with boxes and scale bar, and the crops.
        export: folder for one NPY and one JSON per crop, read back from the store.
        audit: share of the crops that is derived from the files once more and compared, e.g. 0.01.
        shard: K/N does part K of N, for N machines on one store.
        workers: processes; by default one per core.
        slurm: build in so many SLURM jobs, each one part of the images, and wait for them.
        cluster: what such a job asks for.
        crop: crop settings.
        pixels: how DICOM values become display values.
    """
    from mammo_aln.imaging.jobs import crop_cohort, parse_shard

    return crop_cohort(
        cohort,
        pixels,
        crop,
        store=store,
        proof=proof,
        export=export,
        audit=audit,
        shard=parse_shard(shard) if shard else None,
        workers=workers,
        slurm=slurm,
        cluster=cluster,
    )


def train(
    cohort: Path,
    out: Path,
    store: Path | None = None,
    pixels: PixelConfig = PixelConfig(),
    crop: CropConfig = CropConfig(),
    model: ModelConfig = ModelConfig(),
    optim: OptimConfig = OptimConfig(),
    data: DataConfig = DataConfig(),
    trainer: TrainerConfig = TrainerConfig(),
    log: LogConfig = LogConfig(),
    seed: int = 0,
) -> Path:
    """Train one model into OUT/RUN_ID; the same command goes on where it stopped and does nothing where it is done.

    Args:
        cohort: cohort folder whose patients.csv has a column split.
        out: folder of runs.
        store: crop store; by default .crops in the cohort folder.
        pixels: how DICOM values become display values.
        crop: which window of the image the network sees.
        model: the network.
        optim: optimiser and loss.
        data: loading and augmentation.
        trainer: length and hardware.
        log: Weights & Biases mirror.
        seed: draws initial weights, order and augmentation.
    """
    from mammo_aln.training.train import train_run

    return train_run(cohort, out, Settings(pixels, crop, model, optim, data, trainer, log, seed), store=store)


def pretrain_backbone(
    cohort: Path,
    out: Path,
    store: Path | None = None,
    pixels: PixelConfig = PixelConfig(),
    crop: CropConfig = CropConfig(),
    model: ModelConfig = ModelConfig(inputs=("primary",)),
    optim: OptimConfig = OptimConfig(),
    data: DataConfig = DataConfig(),
    trainer: TrainerConfig = TrainerConfig(),
    log: LogConfig = LogConfig(),
    pretrain: PretrainConfig = PretrainConfig(),
    seed: int = 0,
) -> Path:
    """Pre-train a backbone into OUT/RUN_ID/pretrained.safetensors, for `train --model.pretrained`.

    Args:
        cohort: cohort folder; outcome, regions and split are optional, patients of a test split are never read.
        out: folder of runs.
        store: crop store; by default .crops in the cohort folder.
        pixels: how DICOM values become display values.
        crop: which window of the image the network sees; whole_breast needs no box.
        model: the backbone; fusion and the clinical branch play no part.
        optim: optimiser and loss.
        data: loading and augmentation.
        trainer: length and hardware.
        log: Weights & Biases mirror.
        pretrain: labels to learn, contrastive learning, style randomisation.
        seed: draws initial weights, order, augmentation, and who validates where no split column tells.
    """
    from mammo_aln.training.pretrain import pretrain_run

    settings = PretrainSettings(pixels, crop, model, optim, data, trainer, log, seed, pretrain)
    return pretrain_run(cohort, out, settings, store=store)


def predict(
    run: list[Path],
    cohort: Path,
    out: Path,
    split: Literal["train", "val", "internal_test", "external_test"] | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
) -> Path:
    """Score a cohort with a frozen run; the same name with .json tells threshold, calibration and recipe.

    Args:
        run: run directory of a completed training; several are averaged as one model (many seeds, or folds).
        cohort: cohort folder; without a column split it reads as external_test.
        out: CSV file to be written.
        split: score this split only.
        store: crop store; by default .crops in the cohort folder.
        ledger: file that records openings of labelled test splits; by default openings.jsonl in the cohort folder and
            in the run directory. For folders that cannot be written; the same file for all runs.
    """
    from mammo_aln.training.predict import predict_cohort

    return predict_cohort(run, cohort, out, split=split, store=store, ledger=ledger)


def evaluate(
    files: list[Path],
    out: Path,
    run: Path | None = None,
    cohort: Path | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Path:
    """Judge predictions: metrics.json, roc.csv, calibration.csv, decision_curve.csv and report.html in OUT.

    Args:
        files: predictions, joined by split.
        out: folder for the evaluation.
        run: run directory: adds its training and validation predictions, threshold and recipe.
        cohort: cohort folder: adds subgroups, baseline table and centre shift (clinical features and image headers).
        resamples: bootstrap resamples.
        seed: draws the resamples.
    """
    from mammo_aln.cohort.acquisition import acquisition_of
    from mammo_aln.cohort.tables import read_cohort
    from mammo_aln.evaluation.report import evaluate_files

    known = read_cohort(cohort, need=("patients",)) if cohort else None
    return evaluate_files(
        files,
        out,
        run=run,
        cohort_patients=known.patients if known else None,
        acquisition=acquisition_of(known) if known else None,
        resamples=resamples,
        seed=seed,
    )


def compare(files: list[Path], out: Path, resamples: int = 2000) -> Path:
    """Compare models on the same patients: comparisons.json in OUT.

    Args:
        files: predictions; the first is the reference.
        out: folder for the comparison.
        resamples: bootstrap resamples.
    """
    from mammo_aln.errors import InputError
    from mammo_aln.evaluation.compare_report import compare_files

    if len(files) < 2:
        raise InputError("compare needs a reference and at least one other predictions file")
    return compare_files(files[0], files[1:], out, resamples=resamples)


def radiomics_extract(
    cohort: Path,
    out: Path,
    store: Path | None = None,
    workers: int | None = None,
    radiomics: RadiomicsConfig = RadiomicsConfig(),
    pixels: PixelConfig = PixelConfig(),
    crop: CropConfig = CropConfig(),
) -> Path:
    """Radiomic and deep features of the volumes in volumes.csv, or of the mammograms' lesions where there is none.

    Args:
        cohort: cohort folder.
        out: table to be written, e.g. features.csv; .provenance.csv and .json of its stem beside it.
        store: crop store of the mammograms; by default .crops in the cohort folder.
        workers: processes; by default one per core.
        radiomics: what is computed, and how.
        pixels: how DICOM values of mammograms become display values.
        crop: which crop of the mammograms is measured.
    """
    from mammo_aln.radiomics.extract import extract_features

    return extract_features(cohort, out, radiomics, pixels=pixels, crop=crop, store=store, workers=workers)


def sweep_run(
    sweep: Path,
    cohort: Path,
    out: Path,
    given: dict[str, Any],
    store: Path | None = None,
    executor: Literal["local", "slurm"] = "local",
    slots: int | None = None,
    retries: int = 2,
    seeds: list[int] | None = None,
    pretrained: Path | None = None,
    wandb_sweep: Path | None = None,
    cluster: ClusterConfig = ClusterConfig(),
    pixels: PixelConfig = PixelConfig(),
    crop: CropConfig = CropConfig(),
    model: ModelConfig = ModelConfig(),
    optim: OptimConfig = OptimConfig(),
    data: DataConfig = DataConfig(),
    trainer: TrainerConfig = TrainerConfig(),
    log: LogConfig = LogConfig(),
) -> int | Path:
    """Train every cell of a sweep in OUT/runs; again: goes on. Exit code 1 if a cell failed for good.

    Args:
        sweep: YAML file: settings, `grid:`, `steps:`, `seeds:`, `folds:`; or the name of a shipped one.
        cohort: cohort folder.
        out: folder of the sweep; several commands on one folder share its cells.
        given: settings that were given here; they win over the file's.
        store: crop store; by default .crops in the cohort folder.
        executor: `local` uses this machine's GPUs or CPU cores, `slurm` submits a job array.
        slots: cells that train at once on this machine; by default one per GPU, or per CPU core that memory allows.
        retries: how often a cell that died is tried again, from its last checkpoint.
        seeds: in place of the file's.
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        wandb_sweep: write the equivalent W&B sweep to this file instead of training anything.
        cluster: what a SLURM job asks for.
        pixels: how DICOM values become display values.
        crop: which window of the image the network sees.
        model: the network.
        optim: optimiser and loss.
        data: loading and augmentation.
        trainer: length and hardware.
        log: Weights & Biases mirror.
    """
    import shlex
    import sys
    from dataclasses import fields

    names = {field.name for field in fields(Settings)}
    over = {name: value for name, value in given.items() if name in names}
    if wandb_sweep is not None:
        from mammo_aln.sweeps.definition import read_definition
        from mammo_aln.sweeps.wandb_file import write_wandb_sweep

        return write_wandb_sweep(read_definition(sweep, over, seeds), cohort.absolute(), out.absolute(), wandb_sweep)
    from mammo_aln.sweeps.run import run_sweep

    return run_sweep(
        sweep,
        cohort,
        out,
        store=store,
        executor=executor,
        slots=slots,
        retries=retries,
        seeds=seeds,
        pretrained=pretrained,
        cluster=cluster,
        over=over,
        command=shlex.join(["mammo-aln", *sys.argv[1:]]),
    )


def sweep_collect(out: Path, test: bool = False, resamples: int = 2000) -> Path:
    """Write OUT/cells.csv and the choice by validation alone (choice.html); with --test, then open the test splits.

    Args:
        out: folder of the sweep.
        test: score and judge the test splits with the chosen configuration, or with every step of a ladder.
        resamples: bootstrap resamples of patients.
    """
    from mammo_aln.sweeps.collect import collect_sweep

    return collect_sweep(out, test=test, resamples=resamples)


def sweep_status(out: Path) -> Path:
    """Show where every cell stands: state, validation AUC with interval, time, and how a failed one is resumed.

    Args:
        out: folder of the sweep.
    """
    from mammo_aln.progress import say
    from mammo_aln.sweeps.board import status_table, write_board
    from mammo_aln.sweeps.plan import read_plan
    from mammo_aln.sweeps.table import rows

    plan = read_plan(out)
    found = rows(plan)
    say(status_table(plan, found))
    return write_board(plan, found, live=any(row.standing.state == "running" for row in found))


def explain(
    run: Path,
    cohort: Path,
    out: Path,
    split: Literal["train", "val", "internal_test", "external_test"] | None = None,
    patients: list[str] | None = None,
    drawn: int = 12,
    seed: int = 0,
    store: Path | None = None,
) -> Path:
    """Why a run says what it says: heat maps, the share of each input, and how far the score follows a moved box.

    Args:
        run: run directory of a completed training.
        cohort: cohort folder; without a column split it reads as external_test.
        out: folder for explain.html, explain.json, the tables and attribution/*.png.
        split: explain this split only.
        patients: explain these patients only, all with heat maps.
        drawn: without --patients, so many patients get heat maps, spread evenly over the order of the scores.
        seed: draws the bootstrap.
        store: crop store; by default .crops in the cohort folder.
    """
    from mammo_aln.explain.run import explain_run

    return explain_run(run, cohort, out, split=split, patients=patients, drawn=drawn, seed=seed, store=store)


def radiomics_fit(
    cohort: Path,
    out: Path,
    features: Path | None = None,
    repeats: list[Path] | None = None,
    fit: FitConfig = FitConfig(),
    seed: int = 0,
    ledger: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Learn and judge the clinical, radiomics, deep and DLR signatures: predictions per signature, OUT/evaluation.

    With a column split, train is learnt from and the other splits are predicted; without one every patient is scored
    out of fold by repeated nested cross-validation.

    Args:
        cohort: cohort folder.
        out: folder to be made.
        features: table with patient_id and columns radiomics_... and deep_...; without it the clinical model alone.
        repeats: the same features measured again (second segmentation, shifted boxes), for the ICC filter.
        fit: selection, classifiers and cross-validation.
        seed: draws folds, resamples and classifiers.
        ledger: file that keeps the openings of labelled test splits; by default openings.jsonl in the cohort folder.
        workers: processes; by default one per core.
    """
    from mammo_aln.radiomics.fit import fit_signatures

    return fit_signatures(
        cohort, out, features=features, repeats=repeats or (), settings=fit, seed=seed, ledger=ledger, workers=workers
    )
