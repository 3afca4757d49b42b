"""Networks: pre-training, training, prediction, and why they say so. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from mammo_aln.settings import PretrainSettings, Settings
from mammo_aln.settings.limits import SEED_OF_ESTIMATES, within


def pretrain_backbone(
    cohort: Path, out: Path, settings: PretrainSettings, store: Path | None = None, name: str | None = None
) -> Path:
    """Pre-train a backbone into OUT/RUN_ID/pretrained.safetensors, for `train --model.pretrained`.

    Args:
        cohort: cohort folder; outcome, regions and split are optional, patients of a test split are never read.
            crop.strategy=whole_breast needs no box.
        out: folder of runs.
        settings: of the pre-training.
        store: crop store; by default .crops in the cohort folder.
        name: name of the run, so that OUT/NAME stands for its directory; the id stays what says which run it is.
    """
    from mammo_aln.training.pretraining.pretrain import pretrain_run

    return pretrain_run(cohort, out, settings, store=store, name=name)


def train(cohort: Path, out: Path, settings: Settings, store: Path | None = None, name: str | None = None) -> Path:
    """Train one model into OUT/RUN_ID; the same command goes on where it stopped and does nothing where it is done.

    Args:
        cohort: cohort folder whose patients.csv has a column split.
        out: folder of runs.
        settings: of the training.
        store: crop store; by default .crops in the cohort folder.
        name: name of the run, so that OUT/NAME stands for its directory; the id stays what says which run it is.
    """
    from mammo_aln.training.train import train_run

    return train_run(cohort, out, settings, store=store, name=name)


def list_runs(folder: Path, format: Literal["table", "csv"] = "table", name: str | None = None) -> str | int:
    """List the runs of a folder, or of a sweep's folder: settings that differ, state, epochs and best validation AUC.

    Args:
        folder: folder of runs, as `train --out` names it; or one run.
        format: a table to read, or CSV.
        name: give the run that FOLDER is this name, so that RUNS/NAME stands for RUNS/RUN_ID; empty takes it away.
    """
    from mammo_aln.progress import say
    from mammo_aln.runs.listing import listed_runs, runs_as_csv, runs_as_table
    from mammo_aln.runs.names import name_run, run_path

    folder = run_path(folder)
    name_run(folder, name)
    runs = listed_runs(folder)
    if not runs:
        say(f"no runs in {folder}")
        return 0
    return runs_as_table(runs) if format == "table" else runs_as_csv(runs)


def lineage(paths: list[Path]) -> str:
    """Print the data sets and weights that runs, weights, predictions or a cohort descend from, with their licences.

    Args:
        paths: cohort folders, run directories, folders of runs, weights files or predictions; several are taken
            together, as an ensemble is.
    """
    from mammo_aln.inference.lineage import lineage_report

    return lineage_report(paths)


def scrub(run: Path, out: Path | None = None) -> str | Path:
    """List what a run's folder would tell a stranger; with --out, write a copy that predicts alike and tells nothing.

    Args:
        run: run directory.
        out: folder of the copy, to be made. It cannot go on training, be averaged with other runs, or know its own
            patients in another cohort.
    """
    from mammo_aln.inference.scrub import report, scrubbed_copy, tellings
    from mammo_aln.progress import say

    lines = report(tellings(run))
    if out is None:
        return lines
    say(lines)
    return scrubbed_copy(run, out)


def predict(
    run: list[Path],
    out: Path,
    cohort: Path | None = None,
    dicom: Path | None = None,
    box: list[str] | None = None,
    regions: Path | None = None,
    clinical: list[str] | None = None,
    side: Literal["L", "R"] | None = None,
    features: Path | None = None,
    split: Literal["train", "val", "internal_test", "external_test"] | None = None,
    store: Path | None = None,
    ledger: Path | None = None,
    allow_missing: bool = False,
) -> Path:
    """Score a cohort, or one patient's DICOM files, with a frozen run; facts of the scores stand in a JSON beside.

    Args:
        run: run directory of a completed training; several are averaged as one model (many seeds, or folds). Or the
            folder of a `radiomics fit`, FIT/NAME for one of its signatures.
        out: CSV file to be written; with --dicom also a folder (predictions.csv, its JSON and proof/).
        cohort: cohort folder; without a column split it reads as external_test.
        dicom: in place of a cohort, folder of one patient's DICOM files, scored without any table.
        box: the patient's lesions, each IMAGE:x_min,y_min,x_max,y_max in pixels of the stored image; IMAGE is a file's
            name in the folder, or an image_id.
        regions: annotation file of the patient, in place of boxes, in any format that `mammo-aln regions` reads.
        clinical: what is known of the patient, each NAME=VALUE, e.g. er=positive age=54.
        side: treated side; by default that of the boxes, or of all images.
        features: of a fit, table of features; by default they are extracted from the cohort.
        split: score this split only.
        store: crop store; by default .crops in the cohort folder.
        ledger: file that records openings of labelled test splits; by default openings.jsonl in the cohort folder and
            in the run directory. For folders that cannot be written; the same file for all runs.
        allow_missing: score a split of which more than 20 % lack an input that the run was trained with (the lesion's
            crop, a clinical feature, ...), beyond the share that training lacked; it is counted in all that is written.
            Of one patient: without a crop of the lesion, or without any clinical value.
    """
    from mammo_aln.errors import InputError
    from mammo_aln.radiomics.signatures.portable.files import signature_file

    signatures = [file for file in map(signature_file, run) if file is not None]
    if features is not None and not signatures:
        raise InputError("--features: a network reads none; expected --run FIT, the folder of a `radiomics fit`")
    if signatures:
        if len(run) > 1 or any(value is not None for value in (dicom, box, regions, clinical, side)):
            raise InputError("--run: a fit is scored alone, on --cohort COHORT (with --features TABLE)")
        from mammo_aln.radiomics.scoring.predict import predict_signature

        return predict_signature(
            signatures[0],
            out,
            cohort_folder=cohort,
            features=features,
            split=split,
            store=store,
            ledger=ledger,
            allow_missing=allow_missing,
        )
    own = {"box": box, "regions": regions, "clinical": clinical, "side": side}
    of_cohort = {"split": split, "store": store, "ledger": ledger}
    if dicom is not None:
        wrong = [f"--{name}" for name, value in {"cohort": cohort, **of_cohort}.items() if value is not None]
        if wrong:
            raise InputError(f"{', '.join(wrong)} and --dicom: expected a cohort, or one patient's files")
        from mammo_aln.inference.exam import Exam, parse_box, parse_clinical, predict_exam

        exam = Exam(dicom, tuple(map(parse_box, box or ())), regions, parse_clinical(clinical or ()), side)
        return predict_exam(run, exam, out, allow_missing=allow_missing)
    wrong = [f"--{name}" for name, value in own.items() if value is not None]
    if cohort is None or wrong:
        lead = f"{', '.join(wrong)}: " if wrong else ""
        raise InputError(f"{lead}expected --cohort FOLDER, or --dicom FOLDER with what is known of one patient")
    from mammo_aln.inference.predict import predict_cohort

    return predict_cohort(run, cohort, out, split=split, store=store, ledger=ledger, allow_missing=allow_missing)


def explain(
    run: Path,
    cohort: Path,
    out: Path,
    split: Literal["train", "val", "internal_test", "external_test"] | None = None,
    patients: list[str] | None = None,
    drawn: Annotated[int, within(0, 1_000_000)] = 12,
    seed: Annotated[int, SEED_OF_ESTIMATES] = 0,
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
