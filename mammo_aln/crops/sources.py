"""The images that a model's crops are cut from: a report on images speaks of these alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from mammo_aln.crops.regions import FOUND_BY_RULE, plan_crops
from mammo_aln.settings import CropConfig

if TYPE_CHECKING:
    from mammo_aln.cohort.tables import Cohort


def source_images(cohort: Cohort, crop: CropConfig, inputs: Collection[str]) -> list[str]:
    """Identifiers of the images that a model with these inputs reads, in the order of `images.csv`.

    Args:
        cohort: may lack a region that the settings name: no image of it has one, then.
        crop: the model's crop settings.
        inputs: the model's inputs, of `primary`, `auxiliary` and `clinical`.
    """
    names = {*FOUND_BY_RULE, "annotated", *cohort.regions["region"]} if "auxiliary" in inputs else set()
    crop = replace(crop, auxiliary=tuple(name for name in crop.auxiliary if name in names))
    return [
        image.image_id
        for image in plan_crops(cohort, crop).images
        if any(("primary" if request.region == "primary" else "auxiliary") in inputs for request in image.requests)
    ]
