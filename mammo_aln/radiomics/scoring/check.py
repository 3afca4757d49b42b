"""`check COHORT --run FIT`: everything that a saved signature needs of another cohort, told before any extraction."""

from __future__ import annotations

from pathlib import Path

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import read_cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.radiomics.scoring.inputs import PatientInputs, profile_of
from mammo_aln.radiomics.scoring.predict import LEARNT_FROM, refuse_learnt_from, signature_needs
from mammo_aln.radiomics.signatures.portable.signature import read_signature
from mammo_aln.training.data.lacking import InputsOfScored


def check_against_signature(signature: Path, cohort_folder: Path) -> list[str]:
    """Say what a cohort does not give a saved signature.

    Args:
        signature: its file.
        cohort_folder: the cohort.

    Returns:
        Whatever `predict` would refuse, one line each.
    """
    saved, _ = read_signature(signature)
    model, refused, notes = saved.model, list[str](), list[str]()
    try:
        cohort = with_split(read_cohort(cohort_folder, need=("patients",)))
        own = saved.cohort_content == cohort_content(cohort)
        patients = cohort.patients[cohort.patients["eligible"]].set_index("unit_id", drop=False)
        needs = signature_needs(saved, cohort, patients)
        refused, notes = [*needs.faults, *needs.absent], [*needs.notes]
        refuse_learnt_from(saved, cohort, needs.patients, own=own)
        if not needs.faults:
            as_in_training = {column.name: column.median for column in model.columns}  # images are not looked at here
            seen = PatientInputs.of(model, needs.patients.assign(**as_in_training))
            inputs = InputsOfScored(profile_of(model, saved.training_rows), seen.counts(needs.patients))
            refused += [lack.in_words(inputs.profile) for lack in inputs.too_often(LEARNT_FROM if own else ())]
            notes += [line for line in inputs.lines() if line not in refused]
        if model.columns and saved.extraction is None:
            notes.append("the signature does not say how its features were extracted: predict needs --features TABLE")
        elif model.columns and not len(cohort.volumes) and saved.extraction and "crop" not in saved.extraction.settings:
            notes.append("no volumes.csv to extract the signature's features from: predict needs --features TABLE")
    except InputError as error:
        refused.append(str(error))
    for line in notes:
        say(f"flag: {line}")
    count = f"{len(refused)} {'need' if len(refused) == 1 else 'needs'} that this cohort does not meet"
    say(f"signature {saved.run_id}: {count if refused else 'this cohort gives what it needs'}")
    for line in refused:
        say(f"  {line}")
    return refused
