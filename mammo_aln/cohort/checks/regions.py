"""Findings on regions: names that may mean another one, and boxes that lie off the breast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mammo_aln.cohort.checks.boxes import misplaced_boxes
from mammo_aln.cohort.checks.finding import Finding
from mammo_aln.cohort.region_names import name_advice
from mammo_aln.cohort.tables import Cohort


def region_name_findings(cohort: Cohort) -> Iterator[Finding]:
    """Names of regions that nearly, or most likely, mean one that crops know."""
    counts = cohort.regions["region"].value_counts()
    for name, meant in name_advice(counts.index).items():
        fact = f"{counts[name]} boxes; if it is the {meant} region, write {meant} in regions.csv"
        yield Finding(fact, f"region {name}", False)


def boxes_on_breasts(cohort: Cohort, workers: int | None, kept_in: Path | None) -> Iterator[Finding]:
    """Boxes of a sample of decoded images that lie off the breast; many of them are a problem."""
    if cohort.images.empty or cohort.regions.empty:
        return
    misplacement = misplaced_boxes(cohort, workers=workers, kept_in=kept_in)
    if misplacement is not None:
        subject = "regions.csv" if misplacement.is_pattern else f"images {', '.join(misplacement.images)}"
        yield Finding(misplacement.words, subject, misplacement.is_pattern)
