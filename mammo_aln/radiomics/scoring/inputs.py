"""Features that a saved signature reads of each patient: those that are there, and those unlike any of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mammo_aln.radiomics.signatures.portable.models import AnyModel, Flags
from mammo_aln.training.data.presence import CLINICAL, InputCount, InputProfile, Kind, Range


@dataclass(frozen=True)
class PatientInputs:
    """Inputs of some patients, a row each.

    Args:
        present: whether each feature has a value, by its name.
        unknown: whether it is a level that no training patient has.
        outside: whether it lies outside the range of training patients.
        clinical: names of the clinical features; the others are of images.
    """

    present: pd.DataFrame
    unknown: pd.DataFrame
    outside: pd.DataFrame
    clinical: frozenset[str]

    @classmethod
    def of(cls, model: AnyModel, patients: pd.DataFrame) -> PatientInputs:
        """Look at the features of a model."""
        clinical = [feature.name for feature in model.clinical]
        present = patients[[*(column.name for column in model.columns), *clinical]].notna()
        unknown, outside = (_frame(flags, patients.index) for flags in model.outside(patients))
        return cls(present, unknown, outside, frozenset(clinical))

    def input_name(self, feature: str) -> str:
        """Name a feature as counts of inputs do."""
        return f"{CLINICAL}{feature}" if feature in self.clinical else feature

    def counts(self, patients: pd.DataFrame) -> tuple[InputCount, ...]:
        """Count by split and centre, as `presence.count_inputs` does for networks."""
        unknown = self.unknown.reindex(columns=self.present.columns, fill_value=False)
        kinds: tuple[tuple[Kind, pd.DataFrame], ...] = (
            ("missing", ~self.present & ~unknown),
            ("unknown_level", self.unknown),
            ("outside_training", self.outside),
        )
        counts = []
        for (split, center), rows in patients.groupby(["split", "center"], sort=True):
            for kind, flags in kinds:
                sums = flags.loc[rows.index].sum()
                counts += [
                    InputCount(str(split), str(center), self.input_name(str(name)), kind, int(n), len(rows))
                    for name, n in sums.items()
                    if n or kind == "missing"
                ]
        return tuple(counts)

    def seen(self) -> tuple[str, ...]:
        """Say for each patient what the model saw, as the column `inputs_seen` does."""
        names = [str(name) for name in self.present.columns]
        kinds = ["clinical" if name in self.clinical else name.partition("_")[0] for name in names]
        texts = []
        for row in self.present.to_numpy(bool):
            words = []
            for kind in dict.fromkeys(kinds):
                own = [number for number, each in enumerate(kinds) if each == kind]
                lacking = [names[number] for number in own if not row[number]]
                if not lacking:
                    words.append(kind)
                elif len(lacking) < len(own):
                    words.append(f"{kind} {len(own) - len(lacking)}/{len(own)} without {', '.join(lacking)}")
            texts.append(";".join(words))
        return tuple(texts)

    def strange(self, patients: pd.DataFrame) -> tuple[str, ...]:
        """Name for each patient the features unlike those of any training patient, levels with their value."""
        texts = []
        for unit in patients.index:
            levels = [f"{name}={patients.at[unit, name]!s}" for name in self.unknown if self.unknown.at[unit, name]]
            texts.append(";".join([*levels, *(str(name) for name in self.outside if self.outside.at[unit, name])]))
        return tuple(texts)

    def strange_lines(self, patients: pd.DataFrame) -> list[str]:
        """Say in a line each split how many patients are unlike those of training, and in which features."""
        flags = pd.concat([self.unknown.add_suffix(" (unknown level)"), self.outside], axis=1)
        lines = []
        for split, rows in patients.groupby("split", sort=True):
            own = flags.loc[rows.index]
            touched = int(own.any(axis=1).sum())
            if touched:
                sums = own.sum()
                named = ", ".join(f"{name} {n}" for name, n in sums[sums > 0].sort_values(ascending=False).items())
                lines.append(
                    f"{split}: {touched} of {len(rows)} patients have a level that no training patient has or a value"
                    f" outside of training's range ({named}); the column outside_training names them"
                )
        return lines


def _frame(flags: Flags, index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({name: each.to_numpy(bool) for name, each in flags.items()}, index=index)


def profile_of(model: AnyModel, training_rows: int) -> InputProfile:
    """Describe the training patients of a saved signature."""
    clinical = {feature.name: feature.kind for feature in model.clinical}
    present: Mapping[str, int] = {
        f"{CLINICAL}{name}" if name in clinical else name: n for name, n in model.present().items()
    }
    ranges = {
        name: Range(*limits) for name, limits in model.ranges().items() if clinical.get(name) in (None, "continuous")
    }
    return InputProfile(training_rows, present, {}, ranges)
