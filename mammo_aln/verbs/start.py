"""First steps: demo, doctor, cohorts with a known truth. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from mammo_aln.settings.limits import EPOCHS, PATIENTS, PROCESSES, SEED, within


def demo(
    out: Path = Path("out/demo"),
    patients: Annotated[int, PATIENTS] = 300,
    seed: Annotated[int, SEED] = 0,
    max_epochs: Annotated[int, EPOCHS] = 24,
) -> Path:
    """The whole road on a phantom cohort: crops, training, external-centre test, report.

    Args:
        out: folder to be made; a number is added where it exists.
        patients: phantom patients over three centres.
        seed: draws the phantom and the training.
        max_epochs: epochs of training.
    """
    from mammo_aln.demo import run_demo

    return run_demo(out, patients=patients, seed=seed, max_epochs=max_epochs)


def doctor(cohort: Path | None = None, out: Path | None = None) -> int:
    """Look this machine over: PASS, WARN or FAIL, each with the fix to type; exit code 1 if anything fails.

    Args:
        cohort: cohort folder that the machine should be able to hold and read.
        out: folder of runs or of a sweep; its disk is tried: locks or leases, appending, renaming.
    """
    from mammo_aln.doctor import examine

    return examine(cohort, out)


def phantom(
    out: Path,
    patients: Annotated[int, PATIENTS] = 300,
    centers: Annotated[int, within(2, 26)] = 3,
    seed: Annotated[int, SEED] = 0,
    external_patients: Annotated[int | None, PATIENTS] = None,
    modality: Literal["mammography", "mri"] = "mammography",
    full_size: bool = False,
    shuffle_labels: bool = False,
    workers: Annotated[int | None, PROCESSES] = None,
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


def completion(shell: Literal["bash", "zsh"]) -> str:
    """Print a script that completes verbs, flags and their choices; load it by `source <(mammo-aln completion bash)`.

    Args:
        shell: which shell reads it.
    """
    from mammo_aln.verbs.completion import completion_script

    return completion_script(shell)
