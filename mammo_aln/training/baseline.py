"""Tables that describe a cohort's patients, and the aggregated baseline that a run keeps of those it learnt from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.acquisition import acquisition_of
from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.regions import source_images
from mammo_aln.evaluation.cohorts import CohortTable
from mammo_aln.evaluation.people import Development
from mammo_aln.settings import Settings


def cohort_table(cohort: Cohort, settings: Settings | None = None) -> CohortTable:
    """Describe a cohort's patients by the features it declares as known at baseline, and by their image headers.

    Args:
        cohort: tables of the cohort.
        settings: say which images a run reads; None: no header is read.
    """
    baseline = [name for name, feature in cohort.clinical.items() if feature.known_at == "baseline"]
    read = source_images(cohort, settings.crop, settings.model.inputs) if settings else []
    acquisition = acquisition_of(cohort, read) if settings else None
    return CohortTable(cohort.name, cohort.patients, baseline if cohort.clinical else None, acquisition)


def store_baseline(run: Path, cohort: Cohort, learnt_from: pd.DataFrame, settings: Settings) -> None:
    """Write the baseline of the patients that a run learnt from: counts, means and spreads, no row of a patient.

    Args:
        run: run directory.
        cohort: tables of the cohort.
        learnt_from: rows of its patients table in training and validation.
        settings: of the run.
    """
    patients = cohort.patients[cohort.patients["unit_id"].isin(learnt_from["unit_id"])]
    images = cohort.images[cohort.images["patient_id"].isin(patients["patient_id"])]
    Development.of(cohort_table(replace(cohort, patients=patients, images=images), settings)).write(run)
