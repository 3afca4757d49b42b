"""The JSON beside a predictions file: what a reader must know of its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.calibration import apply_calibration, fit_temperature
from mammo_aln.evaluation.statistics.discrimination import choose_threshold
from mammo_aln.files import read_object, write_csv, write_json
from mammo_aln.training.data.units import FlowStep

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class OperatingPoint:
    """Calibration and threshold that a model freezes; both name the split that they were fitted on.

    Args:
        threshold: see `choose_threshold`.
        calibration: see `fit_temperature`.
    """

    threshold: dict[str, Any]
    calibration: dict[str, Any]

    @classmethod
    def on_validation(cls, val: pd.DataFrame) -> OperatingPoint:
        """Fit them on the `logit` and `aln_status` of validation rows."""
        logit, label = val["logit"].to_numpy(float), val["aln_status"].to_numpy(int)
        calibration = {**fit_temperature(logit, label), "split": "val"}
        threshold = choose_threshold(apply_calibration(logit, calibration), label, rule="youden")
        return cls({**threshold, "split": "val"}, calibration)


@dataclass(frozen=True, kw_only=True)
class PredictionFacts:
    """Facts of one predictions file, in the order of its JSON; those that do not apply are None and left out.

    Args:
        run_id: the run, or the hash of an ensemble's runs.
        frozen: digests of the run's frozen files, or of each member's by run id.
        splits: openings of labelled test splits, by split.
        cohort: name of the cohort.
        operating: threshold and calibration.
        recipe: pixel and crop settings and the steps taken.
        fallbacks: every fallback taken, counted per centre.
        cohort_flow: from the table to the rows that were scored.
        settings: shaping settings of the run; where members differ, a list in their order.
        absent_regions: regions of the model that this cohort cannot hold.
        members: run ids of an ensemble.
        out_of_fold: its members validate on different patients.
        lineage: data sets and weights behind the scores, with their licences.
        inputs: inputs that the scored patients had, see `InputsOfScored`.
        outcome: what the run learnt to tell: its column, its meaning, and what the score is the probability of.
        leaks: what stands on both sides of the run's cohort by its owner's leave, see `AcceptedLeaks`.
        warnings: what a reader must know of the patients' past, in sentences.
    """

    run_id: str
    frozen: Mapping[str, str | Mapping[str, str]] | None = None
    splits: Mapping[str, Any] | None = None
    cohort: str | None = None
    operating: OperatingPoint
    recipe: Mapping[str, Any]
    fallbacks: Mapping[str, Mapping[str, int]]
    cohort_flow: tuple[FlowStep, ...]
    settings: Mapping[str, Any]
    absent_regions: tuple[str, ...] | None = None
    members: tuple[str, ...] | None = None
    out_of_fold: bool | None = None
    lineage: tuple[Mapping[str, str | list[str]], ...] | None = None
    inputs: Mapping[str, object] | None = None
    outcome: Mapping[str, str] | None = None
    leaks: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] | None = None

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """Write a predictions file and, beside it, the same name with `.json`."""
        facts = {"schema_version": SCHEMA_VERSION, **vars(self)}
        facts["cohort_flow"] = [step.to_json() for step in self.cohort_flow]
        plain: dict[str, Any] = {}
        for name, value in facts.items():
            plain |= vars(self.operating) if name == "operating" else {name: value}
        write_json(path.with_suffix(".json"), {name: value for name, value in plain.items() if value is not None})
        write_csv(path, table)

    @classmethod
    def read(cls, path: Path) -> PredictionFacts:
        """Read the JSON beside a predictions file; keys of other versions are left aside."""
        file = path.with_suffix(".json")
        plain = read_object(file)
        facts = {name: value for name, value in plain.items() if name in cls.__dataclass_fields__}
        try:
            facts["cohort_flow"] = tuple(FlowStep(**step) for step in plain["cohort_flow"])
            return cls(**facts, operating=OperatingPoint(plain["threshold"], plain["calibration"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{file}: {error}: expected the facts that a run or `predict` wrote") from error
