"""The treated axillae that a model reads, and the regions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from mammo_aln.cohort.tables import Cohort
from mammo_aln.cohort.values.reasons import shared_reasons
from mammo_aln.crops.regions import FOUND_BY_RULE, auxiliary_names
from mammo_aln.crops.requests import WHOLE_IMAGE
from mammo_aln.errors import InputError
from mammo_aln.progress import say_once
from mammo_aln.settings import CropConfig

if TYPE_CHECKING:
    from mammo_aln.crops.build import CropSet


def resolve_regions(cohort: Cohort, crop: CropConfig, inputs: Sequence[str]) -> tuple[str, ...]:
    """`primary` and the auxiliary names in order, `annotated` replaced by the names that stand in regions.csv."""
    if "auxiliary" not in inputs:
        return ("primary",)
    names = auxiliary_names(cohort, crop)
    if not names:
        raise InputError("model.inputs holds auxiliary, yet crop.auxiliary names no region that regions.csv holds")
    return ("primary", *names)


def present_regions(cohort: Cohort, regions: Sequence[str]) -> list[str]:
    """Auxiliary names of a model that this cohort can hold: those of its regions.csv and those found by rule."""
    return [
        name
        for name in regions
        if name != "primary" and (name in FOUND_BY_RULE or name in set(cohort.regions["region"]))
    ]


def usable_units(patients: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Eligible rows of the given splits; of training and validation only those whose status is known."""
    labelled = patients["aln_status"].notna() | ~patients["split"].isin(["train", "val"])
    return patients[patients["eligible"] & patients["split"].isin(splits) & labelled].reset_index(drop=True)


@dataclass(frozen=True)
class FlowStep:
    """A step of the cohort flow: rows that are left, and, by reason, those that were not."""

    step: str
    n: int
    excluded: Mapping[str, int] | None = None

    def to_json(self) -> Mapping[str, object]:
        """Plain values; `excluded` only where rows were left out."""
        return {name: value for name, value in vars(self).items() if value is not None}


def cohort_flow(
    patients: pd.DataFrame, splits: Sequence[str], read: pd.DataFrame, crops: CropSet | None = None
) -> tuple[FlowStep, ...]:
    """Steps from the table to the rows that were scored, each with its number and why rows were left out.

    Args:
        patients: the whole patients table.
        splits: splits that were asked for.
        read: rows that the model scored.
        crops: crops of these rows; their step counts the images read, and those set aside. None: no image is read.
    """
    steps = [FlowStep("treated axillae in patients.csv", len(patients))]
    asked = patients[patients["split"].isin(splits)]
    steps.append(FlowStep(f"in split {', '.join(splits)}", len(asked)))
    barred = asked[~asked["eligible"]]
    if len(barred):
        reasons = (
            shared_reasons(barred["exclusion_reason"], barred["patient_id"], "patients.csv")
            if "exclusion_reason" in barred
            else pd.Series("not eligible", index=barred.index)
        )
        counts = reasons.fillna("no reason given").replace("", "no reason given").value_counts()
        excluded = {str(reason): int(count) for reason, count in counts.items()}
        steps.append(FlowStep("eligible", len(asked) - len(barred), excluded))
    usable = usable_units(patients, splits)
    unknown = len(asked) - len(barred) - len(usable)
    if unknown:
        steps.append(FlowStep("with known status", len(usable), {"status unknown": unknown}))
    if len(usable) != len(read):
        steps.append(FlowStep("with an input to read", len(read), {"no crop": len(usable) - len(read)}))
    return (*steps, *_image_step(usable, crops), FlowStep("scored", len(read)))


def _image_step(usable: pd.DataFrame, crops: CropSet | None) -> list[FlowStep]:
    """Images of the usable rows, where some were set aside as a whole (after NAT, a second one of a view ...)."""
    if crops is None:
        return []
    people = set(usable["patient_id"])
    lost = crops.exclusions[(crops.exclusions["region"] == WHOLE_IMAGE) & crops.exclusions["patient_id"].isin(people)]
    if lost.empty:
        return []
    images = crops.table.loc[crops.table["patient_id"].isin(people), "image_id"].nunique()
    counts = {str(reason): int(count) for reason, count in lost["reason"].value_counts().items()}
    return [FlowStep("images read of them", images, counts)]


def require_both_classes(patients: pd.DataFrame, split: str) -> None:
    """`InputError` unless a split holds both outcomes."""
    labels = patients.loc[patients["split"] == split, "aln_status"].dropna()
    if labels.nunique() < 2:
        outcomes = "no patient" if labels.empty else f"only aln_status = {int(labels.iloc[0])} ({len(labels)} rows)"
        raise InputError(f"patients.csv, split = {split!r}: {outcomes}; both 0 and 1 are needed")


def say_whole_batch(patients: pd.DataFrame, batch_size: int) -> None:
    """Say where a step would hold more than there are to train on, so that an epoch is one step of all of them."""
    count = int((patients["split"] == "train").sum())
    if batch_size > count:
        say_once(
            f"note: data.batch_size = {batch_size}, and there are {count} to train on: each epoch is one step, of all"
        )


def require_one_each(patients: pd.DataFrame, split: str, ranks: int) -> None:
    """`InputError` where a split has fewer patients than there are devices: each must have one at least."""
    count = int((patients["split"] == split).sum())
    if count < ranks:
        raise InputError(
            f"patients.csv, split = {split!r}: {count} patients for {ranks} devices; expected one each at least:"
            f" trainer.devices x trainer.num_nodes of at most {count}"
        )
