"""Inputs that a model did not see of the patients that it scores: in words, as JSON, and how many are too many."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby

from mammo_aln.errors import InputError
from mammo_aln.training.data.presence import (
    CLINICAL,
    FEWEST_LACKING,
    MOST_LACKING,
    TABLE_FEATURES,
    InputCount,
    InputProfile,
    Kind,
)

ANY_CLINICAL = "clinical"
"""Input that a patient lacks who has no clinical value at all."""


@dataclass(frozen=True)
class Lack:
    """Patients of one split that lack an input, or bring a value that training did not have.

    Attributes:
        split: of the patients.
        input: a region, `clinical`, or `clinical NAME`.
        kind: see `InputCount`.
        counts: by centre; those of 0 too.
    """

    split: str
    input: str
    kind: Kind
    counts: tuple[InputCount, ...]

    @property
    def n(self) -> int:
        """Number of such patients."""
        return sum(count.n for count in self.counts)

    @property
    def of(self) -> int:
        """Number of the split's patients."""
        return sum(count.of for count in self.counts)

    def in_words(self, profile: InputProfile | None) -> str:
        """Say it in a line: how many of how many, of which centres, and what training had."""
        line = f"{self.split}: {self.n} of {self.of} patients are scored {self._lacking(profile)}"
        touched = [count for count in self.counts if count.n]
        if len(self.counts) > 1:
            line += f" ({', '.join(f'{count.center} {count.n} of {count.of}' for count in touched)})"
        if profile is not None and self.kind == "missing":
            lacked = round(profile.share_lacking(self.input) * profile.rows)
            line += f"; of the {profile.rows} training patients {lacked or 'none'} lacked it"
        return line

    def _lacking(self, profile: InputProfile | None) -> str:
        feature = self.input.removeprefix(CLINICAL)
        if self.kind == "unknown_level":
            return f"with a level of {feature} that no training patient has, read as unknown"
        if self.kind == "outside_training":
            limits = profile.ranges.get(feature) if profile else None
            between = f", {limits.low:g} to {limits.high:g}" if limits else ""
            return f"with {feature} outside of training's range{between}"
        if self.input == ANY_CLINICAL:
            return "without any clinical value"
        if self.input.startswith(CLINICAL):
            return f"without a value of {feature}"
        if self.input.startswith(TABLE_FEATURES):
            return f"without a value of {self.input}"
        return "without a crop of the lesion (primary)" if self.input == "primary" else f"without a crop of {feature}"


@dataclass(frozen=True)
class InputsOfScored:
    """Inputs of the patients that a model scores, beside those of its training patients.

    Attributes:
        profile: of the training patients; None in runs of an earlier version, which did not keep it.
        counts: by split, centre and input.
        allow_missing: whoever scored them accepted inputs that are lacking too often.
    """

    profile: InputProfile | None
    counts: tuple[InputCount, ...]
    allow_missing: bool = False

    def lacks(self) -> Iterator[Lack]:
        """List what is lacking, or outside of training, in any patient."""
        keyed = sorted(self.counts, key=lambda count: (count.split, count.kind != "missing"))
        by_lack: dict[tuple[str, str, Kind], list[InputCount]] = {}
        for count in keyed:
            by_lack.setdefault((count.split, count.input, count.kind), []).append(count)
        sizes = {split: tuple(rows) for split, rows in groupby(keyed, key=lambda count: count.split)}
        for (split, name, kind), counts in by_lack.items():
            if not sum(count.n for count in counts):
                continue
            centers = {count.center: count.of for count in sizes[split]}
            of_center = {count.center: count for count in counts}
            every = [of_center.get(c) or InputCount(split, c, name, kind, 0, of) for c, of in centers.items()]
            yield Lack(split, name, kind, tuple(every))

    def too_often(self, learnt_from: Collection[str] = (), *, whole: bool = False) -> list[Lack]:
        """List the inputs that more than `MOST_LACKING` of a split's patients lack, beyond training's share.

        Fewer than `FEWEST_LACKING` patients are chance, unless they are all of the split.

        Args:
            learnt_from: splits that are the run's own training and validation: they are what training had.
            whole: of the lesion's crop and of all clinical values together alone; whoever scores one patient has the
                rest before their eyes.
        """
        lacking: dict[tuple[str, str], list[Lack]] = {}
        for lack in self.lacks():
            if lack.kind != "outside_training" and lack.split not in learnt_from:
                lacking.setdefault((lack.split, lack.input), []).append(lack)
        return [
            lack
            for (_, name), members in lacking.items()
            if not whole or name in ("primary", ANY_CLINICAL)
            if self._is_too_often(name, sum(lack.n for lack in members), members[0].of)
            for lack in members
        ]

    def _is_too_often(self, name: str, n: int, of: int) -> bool:
        in_training = self.profile.share_lacking(name) if self.profile else 0.0
        return n / of - in_training > MOST_LACKING and n >= min(of, FEWEST_LACKING)

    def lines(self) -> list[str]:
        """Say in a line each what is lacking, or outside of training."""
        return [lack.in_words(self.profile) for lack in self.lacks()]

    def missing_by_split(self) -> Mapping[str, Mapping[str, int]]:
        """Count for each split the patients that lack each input, level unknown or no value; inputs of 0 left out."""
        missing: dict[str, dict[str, int]] = {}
        for lack in self.lacks():
            if lack.kind != "outside_training":
                own = missing.setdefault(lack.split, {})
                own[lack.input] = own.get(lack.input, 0) + lack.n
        return missing

    def to_json(self) -> Mapping[str, object]:
        """Plain values, as the JSON beside predictions keeps them."""
        return {
            "most_lacking": MOST_LACKING,
            "allow_missing": self.allow_missing,
            "training": None if self.profile is None else self.profile.to_state(),
            "counts": [asdict(count) for count in self.counts],
        }


def refuse_lacking(
    inputs: InputsOfScored,
    cohort: str,
    learnt_from: Collection[str] = (),
    *,
    whole: bool = False,
    way: str = "--allow_missing",
) -> None:
    """Refuse to score patients who lack too often what the model was trained with.

    Args:
        inputs: what they have.
        cohort: name for the message.
        learnt_from: see `InputsOfScored.too_often`, as `whole`.
        whole: of the lesion's crop and of all clinical values alone.
        way: how to score them all the same.

    Raises:
        InputError: an input is lacking too often, and this is not allowed; every such input is named.
    """
    lacks = inputs.too_often(learnt_from, whole=whole)
    if lacks and not inputs.allow_missing:
        lines = "\n".join(f"  {lack.in_words(inputs.profile)}" for lack in lacks)
        raise InputError(
            f"{cohort}: more than {MOST_LACKING:.0%} of the patients lack what the run was trained with:\n{lines}\n"
            f"Fill it in; or {way} scores them without it, and predictions, ledger and report say so"
        )
