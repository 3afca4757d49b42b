"""Images that no crop is asked of, and why, in words for the terminal and the proof sheet."""

from __future__ import annotations

from collections import Counter

from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.build import CropSet
from mammo_aln.crops.requests import WHOLE_IMAGE


def unused_words(cohort: Cohort, crops: CropSet) -> str:
    """Count the images of `images.csv` that gave no crop and were asked for none; empty where there is none."""
    aside = set(crops.exclusions.loc[crops.exclusions["region"] == WHOLE_IMAGE, "image_id"])
    asked = {*crops.table["image_id"], *crops.uncropped["image_id"], *crops.exclusions["image_id"]} - aside
    rest = cohort.images[~cohort.images["image_id"].isin(asked)]
    if rest.empty:
        return ""
    eligible = set(cohort.patients.loc[cohort.patients["eligible"], "patient_id"].astype(str))
    boxed = set(cohort.regions["image_id"].astype(str))
    needs_box = crops.job.crop.strategy not in ("whole_breast", "all")
    counts: Counter[str] = Counter()
    for image_id, patient_id in rest[["image_id", "patient_id"]].astype(str).itertuples(index=False):
        if image_id in aside:
            counts["set aside, with the reason in exclusions.csv"] += 1
        elif patient_id not in eligible:
            counts["of patients who are not eligible"] += 1
        elif needs_box and image_id not in boxed:
            counts[f"without a box, which crop.strategy = {crops.job.crop.strategy} needs"] += 1
        else:
            counts["of a breast or region that is not asked for"] += 1
    reasons = "; ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return f"not used: {len(rest)} of the {len(cohort.images)} images in images.csv: {reasons}"
