"""Refuse a split or a training in which one exposure stands on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mammo_aln.cohort.likeness.twins import Twins, twins_among
from mammo_aln.cohort.tables import Cohort, image_files
from mammo_aln.errors import InputError

SHOWN = 5


def refuse_shared_exposures(cohort: Cohort, between: Literal["patient_id", "split"], kept_in: Path | None) -> None:
    """Compare the images of eligible patients by their pixels.

    Args:
        cohort: with a column `split`, if that is what is asked.
        between: patients, or splits, that must not share an exposure.
        kept_in: folder of earlier fingerprints; by default `.crops` in the cohort folder, as for `check`.

    Raises:
        InputError: an exposure stands in two of them; the images, patients and likeness are named.
    """
    eligible = cohort.patients[cohort.patients["eligible"]]
    owners = eligible.dropna(subset=[between]).groupby("patient_id")[between].first()
    images = cohort.images[cohort.images["patient_id"].isin(owners.index)]
    files = image_files(cohort, images)
    patient = dict(zip(images["image_id"].tolist(), images["patient_id"].tolist(), strict=True))
    shared = [
        (twins, _names(patient, twins), sorted({str(owners[patient[image]]) for image in twins.images}))
        for twins in twins_among(files, kept_in or cohort.root / ".crops")
    ]
    faults = [
        f"  images {', '.join(twins.images)} of the patients {', '.join(names)}: {twins.words}"
        + ("" if between == "patient_id" else f", in {' and '.join(sides)}")
        for twins, names, sides in shared
        if len(sides) > 1
    ]
    if faults:
        more = [f"  ... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        what = "patients share an exposure" if between == "patient_id" else "an exposure stands in several splits"
        raise InputError(
            "\n".join(
                [
                    f"{cohort.name}: {what}: their test would be no test. If they are one person, give the images of "
                    "both one patient_id, else find which file is wrong (eligible = 0 leaves a patient out):",
                    *faults[:SHOWN],
                    *more,
                ]
            )
        )


def _names(patient: dict[str, str], twins: Twins) -> list[str]:
    return sorted({patient[image] for image in twins.images})
