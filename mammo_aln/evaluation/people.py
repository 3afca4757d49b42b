"""The patients behind the figures: baseline, subgroups, and how far the centres lie apart."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.evaluation.across import Subgroup, subgroups
from mammo_aln.evaluation.baseline import OUTCOME, Baseline, kinds_of
from mammo_aln.evaluation.cohorts import VENDOR, CohortTable, Described, described_rows
from mammo_aln.evaluation.predictions import Predictions
from mammo_aln.evaluation.samples import LEARNT_FROM
from mammo_aln.evaluation.shift import CentreShift, centre_shift
from mammo_aln.files import read_json, write_json

DEVELOPMENT_FILE = "baseline.json"
SUBGROUP_FIGURES = ("n", "n_positive", "auc", "sensitivity", "specificity")
ENDS = (("", "value"), ("_low", "ci_low"), ("_high", "ci_high"))


@dataclass(frozen=True)
class Development:
    """Aggregated figures of the patients that a run learnt from, as its `baseline.json` keeps them."""

    by_split: Baseline
    by_center: Baseline

    @classmethod
    def of(cls, table: CohortTable) -> Self:
        """Summarise the training and validation patients of a table with the columns `split` and `center`."""
        rows = table.described()
        kinds = kinds_of(rows)
        ordered = rows.sort_values("split", key=lambda names: names.map(LEARNT_FROM.index), kind="stable")
        images = [name for name in table.image_columns if name != VENDOR]
        by_center = Baseline.of(rows.sort_values("center", kind="stable"), "center", kinds)
        return cls(Baseline.of(ordered.drop(columns=images), "split", kinds), by_center)

    def write(self, run: Path) -> None:
        """Store it in a run directory: no row of a patient, only counts, means and spreads."""
        stored = {"by_split": self.by_split.to_json(), "by_center": self.by_center.to_json()}
        write_json(run / DEVELOPMENT_FILE, {"schema_version": 1, **stored})

    @classmethod
    def read(cls, run: Path | None) -> Self | None:
        """Read it from a run directory; None without a run, or from a run of a version that did not store it.

        Raises:
            InputError: the file is not what a training writes.
        """
        if run is None or not (path := Path(run) / DEVELOPMENT_FILE).is_file():
            return None
        try:
            stored = read_json(path)
            return cls(*(Baseline.from_json(stored[name]) for name in ("by_split", "by_center")))
        except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not the baseline that this version writes ({type(error).__name__}: {error}); the run is of "
                "another version, which its environment.json names: evaluate with that one, or train the run again. "
                f"Without --run, `mammo-aln evaluate FILES"
                f" {shlex.quote(str(path.parent / 'predictions.csv'))}` judges it without one"
            ) from error


@dataclass(frozen=True)
class People:
    """Patients of a report.

    Attributes:
        by_split: baseline of every split, those of the run's own `baseline.json` first.
        by_outcome: baseline of the two outcomes, or None where no cohort was given.
        by_center: baseline and image acquisition of every centre, or None for one centre alone.
        subgroups: figures of the levels of each feature, per tested split.
        shift: AUC at which the centres are told apart.
        declared: features are limited to those that the cohort declares as known at baseline.
    """

    by_split: Baseline
    by_outcome: Baseline | None = None
    by_center: Baseline | None = None
    subgroups: Mapping[str, Sequence[Subgroup]] | None = None
    shift: Sequence[CentreShift] = ()
    declared: bool = True

    def to_json(self) -> dict[str, object]:
        """Keys that metrics.json holds where a cohort was given."""
        if self.subgroups is None:
            return {}
        return {
            "subgroups": {split: [row.to_json() for row in rows] for split, rows in self.subgroups.items()},
            "baseline": self.tables()["baseline_by_split"].to_dict("records"),
            "centre_shift": [asdict(row) for row in self.shift],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables that are written beside the report, by file name."""
        tables = {"baseline_by_split": self.by_split.table()}
        if self.by_outcome is not None:
            tables["baseline_by_outcome"] = self.by_outcome.table(without=OUTCOME)
        if self.by_center is not None:
            tables["centre_profile"] = self.by_center.table()
        rows = [
            {"split": split, "feature": row.feature, "level": row.level}
            | {"interaction_p": row.interaction.details.get("p_value")}
            | {f"{name}{end}": row.stored(name, key) for name in SUBGROUP_FIGURES for end, key in ENDS}
            for split, levels in (self.subgroups or {}).items()
            for row in levels
        ]
        if rows:
            tables["subgroups"] = pd.DataFrame(rows).dropna(axis="columns", how="all")
        return tables


def describe_people(
    predictions: Predictions,
    cohorts: Sequence[CohortTable],
    development: Development | None,
    threshold: float | None,
    names: Mapping[str, str],
) -> People | None:
    """Describe the patients of the predictions; None where neither a cohort nor the run says anything of them.

    Args:
        predictions: of one model.
        cohorts: tables of the patients.
        development: of the run, shown where the cohorts do not hold the patients it learnt from.
        threshold: frozen threshold, or None.
        names: the words for each split.
    """
    if not cohorts:
        return None if development is None else People(_named(development.by_split, names))
    stored = list(development.by_split.sizes) if development else []
    described = described_rows(predictions, cohorts, stored=stored)
    rows = described.rows
    absent = [name for name in stored if not (rows["split"] == name).any()]
    kinds = development.by_split.kinds if development and absent else {}
    splits = predictions.splits()
    table = described.with_columns(described.features)
    ordered = table.sort_values("split", key=lambda column: column.map(splits.index), kind="stable")
    by_split = _named(Baseline.of(ordered, "split", kinds), names)
    if development and absent:
        by_split = development.by_split.chosen({name: names[name] for name in absent}).beside(by_split)
    known = table[table["aln_status"].notna()].sort_values("aln_status", ascending=False, kind="stable")
    outcome = known["aln_status"].map({1.0: OUTCOME, 0.0: "without it"})
    apart = rows["center"].nunique() > 1
    return People(
        by_split=by_split,
        by_outcome=Baseline.of(known.assign(outcome=outcome), "outcome"),
        by_center=_by_center(described, development if absent == stored else None),
        subgroups=_subgroups(predictions, described, threshold),
        shift=centre_shift(rows, described.images) if apart else (),
        declared=all(cohort.features is not None for cohort in cohorts),
    )


def _by_center(described: Described, development: Development | None) -> Baseline | None:
    """Centres side by side; those that the run learnt from elsewhere stand first, marked as development."""
    rows = described.rows.sort_values("center", kind="stable")
    stored = development.by_center if development else None
    if stored is None:
        return Baseline.of(rows, "center") if rows["center"].nunique() > 1 else None
    learnt_from = stored.chosen({name: f"{name} (development)" for name in stored.sizes})
    return learnt_from.beside(Baseline.of(rows, "center", stored.kinds))


def _named(baseline: Baseline, names: Mapping[str, str]) -> Baseline:
    return baseline.chosen({name: names.get(name, name) for name in baseline.sizes})


def _subgroups(
    predictions: Predictions, described: Described, threshold: float | None
) -> dict[str, Sequence[Subgroup]]:
    """Subgroups of every split that the run did not learn from (of every split, where there is no such)."""
    rows = described.rows[described.rows["aln_status"].notna()]
    names = [name for name in predictions.splits() if name not in LEARNT_FROM] or predictions.splits()
    return {name: subgroups(rows[rows["split"] == name], described.features, threshold) for name in names}
