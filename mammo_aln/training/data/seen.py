"""Inputs of a data module's patients: those that the tables promise, and those whose crops were built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mammo_aln.crops.regions import plan_crops
from mammo_aln.training.data.presence import (
    InputCount,
    InputProfile,
    count_inputs,
    inputs_seen,
    presence,
    profile_of,
)

if TYPE_CHECKING:
    from mammo_aln.cohort.clinical import ClinicalEncoder
    from mammo_aln.training.data.datamodule import MammoDataModule


def planned_crops(data: MammoDataModule) -> pd.DataFrame:
    """Name `unit_id`, `region` and `view` of each crop that the tables ask for; no pixel is read."""
    images = plan_crops(data.cohort, data.crop).images if data.reads_images else ()
    rows = [(request.unit_id, request.region, image.view) for image in images for request in image.requests]
    return pd.DataFrame(rows, columns=["unit_id", "region", "view"])


def presence_of(data: MammoDataModule, patients: pd.DataFrame, crops: pd.DataFrame | None = None) -> pd.DataFrame:
    """Tell for each row which inputs the model sees, see `presence`; of the built crops, or of those given."""
    if not data.reads_images:
        crops = None
    elif crops is None:
        crops = data.readable_crops()
    return presence(patients, read_regions(data), crops, _encoder(data))


def seen_in_words(data: MammoDataModule, patients: pd.DataFrame) -> tuple[str, ...]:
    """Name for each row the inputs that the model sees, see `presence.inputs_seen`."""
    return inputs_seen(presence_of(data, patients), read_regions(data))


def counts_of(
    data: MammoDataModule, patients: pd.DataFrame, crops: pd.DataFrame | None = None
) -> tuple[InputCount, ...]:
    """Count rows by split and centre that lack an input, or bring a value that training did not have."""
    return count_inputs(patients, presence_of(data, patients, crops), _encoder(data), data.profile)


def training_profile(data: MammoDataModule) -> InputProfile:
    """Describe the inputs of a module's own training patients."""
    patients = data.patients("train")
    crops = data.readable_crops() if data.reads_images else None
    return profile_of(patients, presence_of(data, patients), crops, _encoder(data))


def read_regions(data: MammoDataModule) -> tuple[str, ...]:
    """Regions whose crops the model reads, in its order."""
    return tuple(name for name in data.regions if ("primary" if name == "primary" else "auxiliary") in data.inputs)


def _encoder(data: MammoDataModule) -> ClinicalEncoder | None:
    return data.fitted_encoder if "clinical" in data.inputs else None
